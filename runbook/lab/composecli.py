"""`docker-compose` 1.29 and `docker compose` 2.x look-alikes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from runbook.lab import compose
from runbook.lab.cliwords import Send, options
from runbook.lab.composewords import VERSIONS, Words, json_row
from runbook.lab.container import Container
from runbook.lab.engine import Engine, EngineError

Local = dict[str, list[str]]
_GLOBAL = {
    "-p", "--project-name", "-f", "--file", "--env-file", "--project-directory", "--profile", "--ansi",
    "--progress", "--parallel",
}  # fmt: skip
_VALUED = {
    "-t", "--timeout", "--tail", "-n", "--format", "--pull", "--scale", "--since", "--filter", "--status",
    "--wait-timeout", "--exit-code-from",
}  # fmt: skip


class ComposeCli:
    def __init__(self, engine: Engine, version: int) -> None:
        self._engine, self._version = engine, version
        self._words = Words(version)
        self._profiles: frozenset[str] = frozenset()

    async def run(self, argv: list[str], cwd: Path, environment: Mapping[str, str], send: Send) -> int:
        before: list[str] = []
        words = list(argv)
        while words and words[0].startswith("-"):
            before.append(words.pop(0))
            if before[-1] in _GLOBAL and words:
                before.append(words.pop(0))
        found, _ = options(before, _GLOBAL)
        if "--version" in found or "-v" in found:
            words = ["version"]
        verb = words.pop(0) if words else "help"
        local, names = options(words, _VALUED)
        if verb == "version":
            self._print_version(local, send)
            return 0
        act = getattr(self, f"_{verb}", None)
        if act is None or verb not in _VERBS:
            send({"err": self._words.unknown_verb(verb)})
            return 1
        try:
            project = self._load(found, cwd, environment)
        except compose.ComposeError as error:
            send({"err": f"{error}\n"})
            return 14 if self._version == 2 else 1
        for name in project.warnings:
            send({"err": self._words.unset(name)})
        profiles = [*found.get("--profile", []), *environment.get("COMPOSE_PROFILES", "").split(",")]
        self._profiles = frozenset(filter(None, profiles))
        unknown = [name for name in names if name not in project.services]
        if unknown:
            send({"err": self._words.unknown_service(unknown[0])})
            return 1
        try:
            async with self._engine.lock if verb in _CHANGING else nullcontext():
                status: int = await act(project, local, names, send)
            return status
        except EngineError as error:
            send({"err": f"{error}\n" if self._version == 2 else f"ERROR: {error}\n"})
            return 1

    def _load(self, found: Local, cwd: Path, environment: Mapping[str, str]) -> compose.Project:
        named = [*found.get("-f", []), *found.get("--file", [])]
        folder = cwd / (found.get("--project-directory") or ["."])[0]
        files = [cwd / name for name in named] or compose.find(folder, self._version)
        project = [*found.get("-p", []), *found.get("--project-name", [])]
        return compose.load(files, project[0] if project else "", environment, self._version)

    def _print_version(self, local: Local, send: Send) -> None:
        number = VERSIONS[self._version]
        if "--short" in local:
            send({"out": f"{number}\n"})
        elif self._version == 1:
            send({"out": f"docker-compose version {number}, build practice-lab\n"})
        elif local.get("--format") == ["json"]:
            send({"out": json.dumps({"version": f"v{number}"}) + "\n"})
        else:
            send({"out": f"Docker Compose version v{number}\n"})

    # -- changing --------------------------------------------------------------------------

    def _labels(self, project: compose.Project, service: compose.Service) -> dict[str, str]:
        return {
            "com.docker.compose.project": project.name,
            "com.docker.compose.service": service.name,
            "com.docker.compose.container-number": "1",
            "com.docker.compose.oneoff": "False",
            "com.docker.compose.project.config_files": ",".join(str(file) for file in project.files),
            "com.docker.compose.project.working_dir": str(project.folder),
            "com.docker.compose.version": VERSIONS[self._version],
            **service.labels,
        }

    def _wanted(self, project: compose.Project, names: list[str], *, dependencies: bool) -> list[str]:
        """In the order of starting: what a service depends on comes first."""
        order: list[str] = []

        def add(name: str) -> None:
            if name in order:
                return
            if dependencies and name in project.services:
                for needed in project.services[name].depends_on:
                    add(needed)
            order.append(name)

        for name in names or project.enabled(self._profiles):
            add(name)
        return order

    async def _up(self, project: compose.Project, local: Local, names: list[str], send: Send) -> int:
        if not {"-d", "--detach", "--wait"} & set(local):
            send({"err": "the practice lab starts services only with -d\n"})
            return 1
        if self._version == 1 and "--wait" in local:
            send({"err": "Usage: up [options] [--scale SERVICE=NUM...] [--] [SERVICE...]\n"})
            return 1
        status = 0
        for name in self._wanted(project, names, dependencies="--no-deps" not in local):
            service = project.services[name]
            try:
                await self._bring_up(project, service, local, send)
            except EngineError as error:
                send({"err": self._words.failed(name, service.container_name, str(error))})
                status = 1
                if self._version == 2:
                    break
        if status and self._version == 1:
            send({"err": "ERROR: Encountered errors while bringing up the project.\n"})
        return status

    async def _bring_up(
        self, project: compose.Project, service: compose.Service, local: Local, send: Send
    ) -> None:
        known = next((c for c in self._engine.of(project.name) if c.service.name == service.name), None)
        if known is not None and (known.service != service or "--force-recreate" in local):
            send({"err": self._words.did("Recreating", service.container_name)})
            await self._engine.remove(known)
            known = None
        if known is None:
            known = self._engine.create(project, service, self._labels(project, service))
            verb = "Creating"
        elif known.up:
            send({"err": self._words.up_to_date(known.name)})
            return
        else:
            verb = "Starting"
        await self._engine.start(known)
        send({"err": self._words.did(verb, service.container_name)})

    async def _stop(self, project: compose.Project, local: Local, names: list[str], send: Send) -> int:
        for container in self._chosen(project, names):
            if container.up:
                await self._engine.stop(container)
                send({"err": self._words.did("Stopping", container.name)})
        return 0

    _kill = _stop

    async def _start(self, project: compose.Project, local: Local, names: list[str], send: Send) -> int:
        for container in self._chosen(project, names):
            await self._engine.start(container)
            send({"err": self._words.did("Starting", container.name)})
        return 0

    async def _restart(self, project: compose.Project, local: Local, names: list[str], send: Send) -> int:
        await self._stop(project, local, names, send)
        return await self._start(project, local, names, send)

    async def _rm(self, project: compose.Project, local: Local, names: list[str], send: Send) -> int:
        for container in self._chosen(project, names):
            if not container.up or {"-s", "--stop"} & set(local):
                await self._engine.remove(container)
                send({"err": self._words.did("Removing", container.name)})
        return 0

    async def _down(self, project: compose.Project, local: Local, names: list[str], send: Send) -> int:
        if {"-v", "--volumes"} & set(local):
            send({"err": "the practice lab does not remove volumes with down -v\n"})
            return 1
        return await self._rm(project, {**local, "-s": [""]}, names, send)

    async def _pull(self, project: compose.Project, local: Local, names: list[str], send: Send) -> int:
        for name in names or project.enabled(self._profiles):
            send({"err": self._words.pulled(name)})
        return 0

    # -- looking ---------------------------------------------------------------------------

    def _chosen(self, project: compose.Project, names: list[str]) -> list[Container]:
        return [c for c in self._engine.of(project.name) if not names or c.service.name in names]

    async def _ps(self, project: compose.Project, local: Local, names: list[str], send: Send) -> int:
        shown = self._chosen(project, names)
        if self._version == 2 and not {"-a", "--all"} & set(local):
            shown = [container for container in shown if container.up]
        if "--services" in local:
            text = "".join(f"{container.service.name}\n" for container in shown)
        elif {"-q", "--quiet"} & set(local):
            text = "".join(f"{container.id}\n" for container in shown)
        elif "--format" not in local:
            text = self._words.table(shown)
        elif self._version == 1:
            send({"err": "Usage: ps [options] [--] [SERVICE...]\n"})
            return 1
        else:
            text = "".join(json_row(container) for container in shown)
        send({"out": text})
        return 0

    async def _config(self, project: compose.Project, local: Local, names: list[str], send: Send) -> int:
        if {"-q", "--quiet"} & set(local):
            return 0
        if "--services" in local:
            send({"out": "".join(f"{name}\n" for name in project.enabled(self._profiles))})
            return 0
        model = json.loads(json.dumps(project.model, default=lambda reset: reset.value))
        shown = {"name": project.name, **model} if self._version == 2 else model
        if local.get("--format") == ["json"]:
            send({"out": json.dumps(shown, indent=2) + "\n"})
        else:
            send({"out": compose.text(shown)})
        return 0

    async def _logs(self, project: compose.Project, local: Local, names: list[str], send: Send) -> int:
        tail = (local.get("--tail") or local.get("-n") or ["all"])[0]
        for container in self._chosen(project, names):
            lines = container.lines()
            first = 0 if tail == "all" else max(0, len(lines) - int(tail))
            send({"out": "".join(f"{container.name}  | {line}\n" for line in lines[first:])})
        return 0


_CHANGING = frozenset({"up", "stop", "kill", "start", "restart", "rm", "down"})
_VERBS = _CHANGING | {"pull", "ps", "config", "logs"}
