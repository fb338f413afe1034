"""`docker-compose` 1.29 and `docker compose` 2.x look-alikes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from runbook.lab import compose
from runbook.lab.cliwords import Send, options, ports_text, status_text
from runbook.lab.container import Container
from runbook.lab.engine import Engine, EngineError

VERSIONS = {1: "1.29.2", 2: "2.29.7"}
_GLOBAL = {"-p", "--project-name", "-f", "--file", "--env-file", "--project-directory", "--profile", "--ansi", "--progress", "--parallel"}  # fmt: skip
_VALUED = {"-t", "--timeout", "--tail", "-n", "--format", "--pull", "--scale", "--since", "--filter", "--status", "--wait-timeout", "--exit-code-from"}  # fmt: skip


class ComposeCli:
    def __init__(self, engine: Engine, version: int) -> None:
        self._engine, self._version = engine, version

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
        local, rest = options(words, _VALUED)
        if verb == "version":
            self._print_version(local, send)
            return 0
        act = getattr(self, f"_{verb}", None)
        if act is None:
            send({"err": f"unknown docker command: \"compose {verb}\"\n" if self._version == 2 else f"No such command: {verb}\n"})  # fmt: skip
            return 1
        try:
            project = self._load(found, cwd, environment)
        except compose.ComposeError as error:
            send({"err": f"{error}\n"})
            return 14 if self._version == 2 else 1
        for name in project.warnings:
            send({"err": f'time="2026-01-01T00:00:00Z" level=warning msg="The \\"{name}\\" variable is not set. Defaulting to a blank string."\n'
                  if self._version == 2 else f"The {name} variable is not set. Defaulting to a blank string.\n"})  # fmt: skip
        profiles = [*found.get("--profile", []), *environment.get("COMPOSE_PROFILES", "").split(",")]
        self._profiles = frozenset(filter(None, profiles))
        try:
            unknown = [name for name in rest if name not in project.services]
            if unknown:
                send(
                    {
                        "err": f"no such service: {unknown[0]}\n"
                        if self._version == 2
                        else f"No such service: {unknown[0]}\n"
                    }
                )
                return 1
            status: int = await act(project, local, rest, send)
            return status
        except EngineError as error:
            prefix = "" if self._version == 2 else "ERROR: "
            send({"err": f"{prefix}{error}\n"})
            return 1

    def _load(
        self, found: dict[str, list[str]], cwd: Path, environment: Mapping[str, str]
    ) -> compose.Project:
        named = [*found.get("-f", []), *found.get("--file", [])]
        folder = cwd / (found.get("--project-directory") or ["."])[0]
        files = [cwd / name for name in named] or compose.find(folder, self._version)
        project = [*found.get("-p", []), *found.get("--project-name", [])]
        return compose.load(files, project[0] if project else "", environment, self._version)

    def _print_version(self, local: dict[str, list[str]], send: Send) -> None:
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
            "com.docker.compose.project.config_files": ",".join(str(f) for f in project.files),
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

    async def _up(
        self, project: compose.Project, local: dict[str, list[str]], names: list[str], send: Send
    ) -> int:
        if "-d" not in local and "--detach" not in local and "--wait" not in local:
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
                send({"err": self._failed(service, str(error))})
                status = 1
                if self._version == 2:
                    break
        if status and self._version == 1:
            send({"err": "ERROR: Encountered errors while bringing up the project.\n"})
        return status

    async def _bring_up(
        self, project: compose.Project, service: compose.Service, local: dict[str, list[str]], send: Send
    ) -> None:
        known = next((c for c in self._engine.of(project.name) if c.service.name == service.name), None)
        if known is not None and (known.service != service or "--force-recreate" in local):
            self._say(send, "Recreating", service)
            await self._engine.remove(known)
            known = None
        if known is None:
            known = self._engine.create(project, service, self._labels(project, service))
            verb = "Creating"
        elif known.up:
            if self._version == 1:
                send({"err": f"{known.name} is up-to-date\n"})
            else:
                send({"err": f" Container {known.name}  Running\n"})
            return
        else:
            verb = "Starting"
        await self._engine.start(known)
        self._say(send, verb, service)

    def _say(self, send: Send, verb: str, service: compose.Service) -> None:
        if self._version == 1:
            send(
                {
                    "err": f"{verb} {service.container_name} ... \r\n{verb} {service.container_name} ... done\r\n"
                }
            )
        else:
            past = {"Creating": "Started", "Starting": "Started", "Stopping": "Stopped", "Removing": "Removed", "Recreating": "Recreated"}  # fmt: skip
            send(
                {
                    "err": f" Container {service.container_name}  {verb}\n Container {service.container_name}  {past[verb]}\n"
                }
            )

    def _failed(self, service: compose.Service, text: str) -> str:
        if self._version == 2:
            return f" Container {service.container_name}  Starting\n{text}\n"
        cause = text.removeprefix("Error response from daemon: ")
        return f"\nERROR: for {service.name}  Cannot start service {service.name}: {cause}\n"

    async def _stop(
        self, project: compose.Project, local: dict[str, list[str]], names: list[str], send: Send
    ) -> int:
        for container in self._chosen(project, names):
            if container.up:
                await self._engine.stop(container)
                self._say(send, "Stopping", container.service)
        return 0

    _kill = _stop

    async def _start(
        self, project: compose.Project, local: dict[str, list[str]], names: list[str], send: Send
    ) -> int:
        for container in self._chosen(project, names):
            await self._engine.start(container)
            self._say(send, "Starting", container.service)
        return 0

    async def _restart(
        self, project: compose.Project, local: dict[str, list[str]], names: list[str], send: Send
    ) -> int:
        await self._stop(project, local, names, send)
        return await self._start(project, local, names, send)

    async def _rm(
        self, project: compose.Project, local: dict[str, list[str]], names: list[str], send: Send
    ) -> int:
        for container in self._chosen(project, names):
            if not container.up or "-s" in local or "--stop" in local:
                await self._engine.remove(container)
                self._say(send, "Removing", container.service)
        return 0

    async def _down(
        self, project: compose.Project, local: dict[str, list[str]], names: list[str], send: Send
    ) -> int:
        if "-v" in local or "--volumes" in local:
            send({"err": "the practice lab does not remove volumes with down -v\n"})
            return 1
        return await self._rm(project, {**local, "-s": [""]}, names, send)

    async def _pull(
        self, project: compose.Project, local: dict[str, list[str]], names: list[str], send: Send
    ) -> int:
        for name in names or project.enabled(self._profiles):
            send({"err": f"Pulling {name} ... done\n" if self._version == 1 else f" {name} Pulled \n"})
        return 0

    # -- looking ---------------------------------------------------------------------------

    def _chosen(self, project: compose.Project, names: list[str]) -> list[Container]:
        return [c for c in self._engine.of(project.name) if not names or c.service.name in names]

    async def _ps(
        self, project: compose.Project, local: dict[str, list[str]], names: list[str], send: Send
    ) -> int:
        shown = self._chosen(project, names)
        if self._version == 2 and "-a" not in local and "--all" not in local:
            shown = [c for c in shown if c.up]
        if "--services" in local:
            send({"out": "".join(f"{c.service.name}\n" for c in shown)})
        elif "-q" in local or "--quiet" in local:
            send({"out": "".join(f"{c.id}\n" for c in shown)})
        elif "--format" in local:
            if self._version == 1:
                send({"err": "Usage: ps [options] [--] [SERVICE...]\n"})
                return 1
            for c in shown:  # JSON lines, as since 2.21
                row: dict[str, Any] = {"ID": c.id[:12], "Name": c.name, "Service": c.service.name, "State": c.status,
                    "Project": project.name, "Status": status_text(c), "Health": c.health() or "", "ExitCode": c.exit_code}  # fmt: skip
                send({"out": json.dumps(row) + "\n"})
        else:
            head = "  Name      Command      State      Ports\n" + "-" * 45 + "\n" if self._version == 1 else "NAME   IMAGE   SERVICE   STATUS   PORTS\n"  # fmt: skip
            word = {"running": "Up", "restarting": "Up", "created": "Exit 128"}
            rows = (
                f"{c.name:<14}{'/docker-entrypoint.sh':<24}{word.get(c.status, f'Exit {c.exit_code}'):<10}{ports_text(c)}\n"
                if self._version == 1
                else f"{c.name:<14}{c.service.image:<30}{c.service.name:<14}{status_text(c):<26}{ports_text(c)}\n"
                for c in shown
            )
            send({"out": head + "".join(rows)})
        return 0

    async def _config(
        self, project: compose.Project, local: dict[str, list[str]], names: list[str], send: Send
    ) -> int:
        if "-q" in local or "--quiet" in local:
            return 0
        if "--services" in local:
            send({"out": "".join(f"{name}\n" for name in project.enabled(self._profiles))})
            return 0
        model = json.loads(json.dumps(project.model, default=lambda reset: reset.value))
        shown = {"name": project.name, **model} if self._version == 2 else model
        if local.get("--format") == ["json"]:
            send({"out": json.dumps(shown, indent=2) + "\n"})
        else:
            send({"out": yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)})
        return 0

    async def _logs(
        self, project: compose.Project, local: dict[str, list[str]], names: list[str], send: Send
    ) -> int:
        tail = (local.get("--tail") or local.get("-n") or ["all"])[0]
        for container in self._chosen(project, names):
            lines = container.lines()
            first = 0 if tail == "all" else max(0, len(lines) - int(tail))
            send({"out": "".join(f"{container.name}  | {line}\n" for line in lines[first:])})
        return 0
