"""`docker …` and `docker-compose …` on a practice VM: the parts of their command lines in use."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runbook.lab.cliwords import Send, options, ports_text, status_text
from runbook.lab.composecli import ComposeCli
from runbook.lab.container import Container, image_id
from runbook.lab.engine import Engine, EngineError

_FIELD = re.compile(r"\{\{\s*(json\s+)?\.?([\w.]*)\s*\}\}")
_VALUED = {
    "--filter",
    "-f",
    "--format",
    "--tail",
    "-n",
    "--since",
    "--until",
    "-t",
    "--time",
    "-s",
    "--signal",
    "--type",
}


class Usage(Exception):
    """Wrong use: message and exit status."""

    def __init__(self, text: str, status: int = 125) -> None:
        super().__init__(text)
        self.status = status


class DockerCli:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def run(
        self, program: str, argv: list[str], cwd: Path, environment: Mapping[str, str], send: Send
    ) -> int:
        """Output goes to ``send`` as {"out": …} or {"err": …}; returns the exit status."""
        try:
            if program == "docker-compose":
                return await ComposeCli(self._engine, 1).run(argv, cwd, environment, send)
            if argv[:1] == ["compose"] and self._engine.compose == 2:
                return await ComposeCli(self._engine, 2).run(argv[1:], cwd, environment, send)
            verb = getattr(self, f"_{argv[0].replace('-', '_')}", None) if argv else None
            if argv[:1] == ["container"]:
                return await self.run(program, argv[1:], cwd, environment, send)
            if argv[:1] in (["--version"], ["-v"]):
                send({"out": "Docker version 27.3.1, build ce12230 (practice lab)\n"})
                return 0
            if verb is None:
                word = argv[0] if argv else ""
                raise Usage(f"docker: '{word}' is not a docker command.\nSee 'docker --help'", 1)
            status: int = await verb(argv[1:], send)
            return status
        except EngineError as error:
            send({"err": f"{error}\n"})
            return 1
        except Usage as error:
            send({"err": f"{error}\n"})
            return error.status

    # -- looking ---------------------------------------------------------------------------

    async def _version(self, argv: list[str], send: Send) -> int:
        found, _ = options(argv, _VALUED)
        parts = {"Version": "27.3.1", "ApiVersion": "1.47", "MinAPIVersion": "1.24", "Os": "linux"}
        facts = {"Client": parts, "Server": parts}
        send(
            {
                "out": _formatted(facts, found)
                or "Client:\n Version: 27.3.1\nServer: Docker Engine (practice lab)\n Version: 27.3.1\n"
            }
        )
        return 0

    async def _info(self, argv: list[str], send: Send) -> int:
        found, _ = options(argv, _VALUED)
        containers = list(self._engine.containers.values())
        facts = {
            "ServerVersion": "27.3.1",
            "Containers": len(containers),
            "ContainersRunning": sum(c.up for c in containers),
            "Driver": "overlay2",
            "OperatingSystem": "practice lab",
        }
        send(
            {"out": _formatted(facts, found) or "".join(f"{key}: {value}\n" for key, value in facts.items())}
        )
        return 0

    async def _ps(self, argv: list[str], send: Send) -> int:
        found, _ = options(argv, _VALUED)
        shown = [c for c in self._engine.containers.values() if "-a" in found or "--all" in found or c.up]
        for wanted in [*found.get("--filter", []), *found.get("-f", [])]:
            shown = [c for c in shown if _matches(c, wanted)]
        if "-q" in found or "--quiet" in found:
            full = "--no-trunc" in found
            send({"out": "".join(f"{c.id if full else c.id[:12]}\n" for c in shown)})
        elif "--format" in found:
            for container in shown:
                send({"out": _formatted(_row(container), found)})
        else:
            head = f"{'CONTAINER ID':<15}{'IMAGE':<34}{'STATUS':<30}{'PORTS':<44}NAMES\n"
            rows = (_row(c) for c in shown)
            send(
                {
                    "out": head
                    + "".join(
                        f"{r['ID']:<15}{r['Image']:<34}{r['Status']:<30}{r['Ports']:<44}{r['Names']}\n"
                        for r in rows
                    )
                }
            )
        return 0

    async def _inspect(self, argv: list[str], send: Send) -> int:
        found, names = options(argv, _VALUED)
        if not names:
            raise Usage('"docker inspect" requires at least 1 argument.', 1)
        shown, status = [], 0
        for name in names:
            try:
                shown.append(self._engine.find(name).inspect())
            except EngineError as error:
                send({"err": f"{error}\n"})
                status = 1
        if "--format" in found or "-f" in found:
            for facts in shown:
                send({"out": _formatted(facts, found)})
        else:
            send({"out": json.dumps(shown, indent=4, ensure_ascii=False) + "\n"})
        return status

    async def _logs(self, argv: list[str], send: Send) -> int:
        found, names = options(argv, _VALUED)
        container = self._engine.find(names[0] if names else "")
        tail = (found.get("--tail") or found.get("-n") or ["all"])[0]
        lines = container.lines()
        shown = len(lines)
        first = 0 if tail == "all" else max(0, shown - int(tail))
        send({"out": "".join(f"{line}\n" for line in lines[first:])})
        while "-f" in found or "--follow" in found:
            await asyncio.sleep(0.2)
            lines = container.lines()
            if len(lines) > shown:
                send({"out": "".join(f"{line}\n" for line in lines[shown:])})
                shown = len(lines)
            if not container.up:
                break
        return 0

    async def _image(self, argv: list[str], send: Send) -> int:
        """Every image is there: pulling is not what a practice run is about."""
        found, names = options(argv[1:], _VALUED)
        if argv[:1] != ["inspect"] or not names:
            raise Usage("the practice lab knows only `docker image inspect IMAGE`", 1)
        shown = [image_facts(name) for name in names]
        if "--format" in found or "-f" in found:
            for facts in shown:
                send({"out": _formatted(facts, found)})
        else:
            send({"out": json.dumps(shown, indent=4) + "\n"})
        return 0

    async def _volume(self, argv: list[str], send: Send) -> int:
        names = sorted(
            {m.source for c in self._engine.containers.values() for m in c.service.mounts if not m.bind}
        )
        if argv[:1] == ["ls"]:
            send({"out": "".join(f"{name}\n" for name in names)})
            return 0
        raise Usage("the practice lab knows only `docker volume ls`", 1)

    # -- changing --------------------------------------------------------------------------

    async def _each(self, argv: list[str], send: Send, act: Callable[[Container], Any]) -> int:
        status = 0
        for name in options(argv, _VALUED)[1]:
            try:
                await act(self._engine.find(name))
                send({"out": f"{name}\n"})
            except EngineError as error:
                send({"err": f"{error}\n"})
                status = 1
        return status

    async def _start(self, argv: list[str], send: Send) -> int:
        return await self._each(argv, send, self._engine.start)

    async def _stop(self, argv: list[str], send: Send) -> int:
        return await self._each(argv, send, self._engine.stop)

    _kill = _stop

    async def _restart(self, argv: list[str], send: Send) -> int:
        async def again(container: Container) -> None:
            await self._engine.stop(container)
            await self._engine.start(container)

        return await self._each(argv, send, again)

    async def _rm(self, argv: list[str], send: Send) -> int:
        return await self._each(argv, send, self._engine.remove)

    async def _update(self, argv: list[str], send: Send) -> int:
        found, _ = options(argv, {"--restart"})

        async def policy(container: Container) -> None:
            container.restart_policy = found.get("--restart", [container.restart_policy])[0]

        return await self._each([a for a in argv if not a.startswith("--restart")], send, policy)

    async def _pull(self, argv: list[str], send: Send) -> int:
        send({"out": f"Status: Image is up to date for {argv[-1]} (practice lab)\n"})
        return 0


def image_facts(name: str) -> dict[str, Any]:
    identifier = image_id(name)
    repository = name.rpartition(":")[0] or name
    return {
        "Id": identifier,
        "RepoTags": [name],
        "RepoDigests": [f"{repository}@{image_id(identifier)}"],
        "Created": "2026-01-01T00:00:00Z",
        "Architecture": "amd64",
        "Os": "linux",
        "Size": 200_000_000,
    }


def _matches(container: Container, wanted: str) -> bool:
    kind, _, value = wanted.partition("=")
    if kind == "label":
        key, sign, text = value.partition("=")
        return key in container.labels and (not sign or container.labels[key] == text)
    if kind == "name":
        return re.search(value, container.name) is not None
    if kind == "status":
        return container.status == value
    if kind == "id":
        return container.id.startswith(value)
    raise Usage(f"Error response from daemon: invalid filter '{kind}'", 1)


def _row(container: Container) -> dict[str, str]:
    return {
        "ID": container.id[:12],
        "Image": container.service.image,
        "Names": container.name,
        "State": container.status,
        "Status": status_text(container),
        "Ports": ports_text(container),
        "Labels": ",".join(f"{key}={value}" for key, value in container.labels.items()),
        "CreatedAt": container.created,
    }


def _formatted(facts: dict[str, Any], found: dict[str, list[str]]) -> str:
    """A Go template as far as it is made of ``{{.Field.Field}}`` and ``{{json .Field}}``."""
    templates = [*found.get("--format", []), *found.get("-f", [])]
    if not templates:
        return ""
    if templates[0] == "json":
        return json.dumps(facts) + "\n"

    def one(match: re.Match[str]) -> str:
        value: Any = facts
        for part in filter(None, match[2].split(".")):
            value = value.get(part) if isinstance(value, dict) else None
        if match[1]:
            return json.dumps(value)
        if isinstance(value, bool):
            return str(value).lower()
        return "<no value>" if value is None else str(value)

    text = templates[0].removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    return _FIELD.sub(one, text) + "\n"
