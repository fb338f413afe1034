"""What docker says on a host: facts as command + parse pairs.

A fact is a read-only command and the pure function that reads its result; the parse functions are
tested from canned outputs. Facts are asked through ``host.run``, never on the record: ``docker
inspect`` holds passwords.

A container's state comes from ``docker inspect``: that is the same for compose 1 and 2, which the
``ps`` formats are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from runbook.errors import CouldNotLook
from runbook.hosts.base import Completed, Host
from runbook.platform.troubles import explain, last_lines

T = TypeVar("T")


@dataclass(frozen=True)
class Fact(Generic[T]):
    """``command`` asks, ``parse`` reads; parse raises CouldNotLook when the answer is none."""

    command: tuple[str, ...]
    parse: Callable[[Completed], T]
    timeout: float = 30.0

    async def ask(self, host: Host, *more: str, cwd: str | None = None) -> T:
        done = await host.run([*self.command, *more], cwd=cwd, timeout=self.timeout)
        try:
            return self.parse(done)
        except CouldNotLook as error:
            raise CouldNotLook(f"{host.name}: {error.what}", next=error.next) from None


def text(done: Completed) -> str:
    return done.stdout.decode(errors="replace")


def refuse(done: Completed, asked: str) -> CouldNotLook:
    said = (done.stderr + done.stdout).decode(errors="replace")
    trouble = explain(said)
    if trouble:
        return CouldNotLook(trouble.what, next=trouble.next)
    if done.exit_status is None:
        return CouldNotLook(f"{asked}: the connection went before it answered.")
    if done.exit_status == 127:
        return CouldNotLook(
            f"{asked}: there is no such program.", next="Install Docker and its compose plugin."
        )
    return CouldNotLook(f"{asked} ended with {done.exit_status}: {last_lines(said, 2) or 'it said nothing'}")


# ── versions ───────────────────────────────────────────────────────────────────────────────
class Engine(msgspec.Struct, frozen=True):
    """The Docker daemon. ``least_api`` is the oldest API version it still speaks."""

    version: str
    api: tuple[int, ...]
    least_api: tuple[int, ...]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def parse_engine(done: Completed) -> Engine:
    try:
        server = msgspec.json.decode(done.stdout)["Server"]
        return Engine(server["Version"], numbers(server["ApiVersion"]), numbers(server["MinAPIVersion"]))
    except (msgspec.DecodeError, KeyError, TypeError):
        raise refuse(done, "docker version") from None


ENGINE = Fact(("docker", "version", "--format", "{{json .}}"), parse_engine)


# ── containers ─────────────────────────────────────────────────────────────────────────────
class Container(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of ``docker inspect``. ``health`` "" means: it has no health check.
    ``restarts`` counts restarts by Docker's policy since it was last started by hand."""

    id: str
    name: str
    service: str
    project: str
    folder: str
    image: str
    status: str
    exit_code: int
    restarts: int
    started: str
    error: str = ""
    health: str = ""
    health_says: str = ""
    oom: bool = False
    config_hash: str = ""  #: what compose made it from; compare with ``compose config --hash``


_LABEL = "com.docker.compose."


def _container(raw: dict[str, Any]) -> Container | None:
    state, config = raw["State"], raw["Config"]
    labels = config.get("Labels") or {}
    if labels.get(_LABEL + "oneoff") == "True":  # docker-compose run: not the service
        return None
    health = state.get("Health") or {}
    log = health.get("Log") or [{}]
    return Container(
        id=raw["Id"][:12],
        name=raw["Name"].lstrip("/"),
        service=labels.get(_LABEL + "service", ""),
        project=labels.get(_LABEL + "project", ""),
        folder=labels.get(_LABEL + "project.working_dir", ""),
        image=config.get("Image", ""),
        status=state["Status"],
        exit_code=state.get("ExitCode", 0),
        restarts=raw.get("RestartCount", 0),
        started=state.get("StartedAt", ""),
        error=state.get("Error") or "",
        health="" if health.get("Status") in (None, "none") else health["Status"],
        health_says=(log[-1].get("Output") or "").strip(),
        oom=bool(state.get("OOMKilled")),
        config_hash=labels.get(_LABEL + "config-hash", ""),
    )


def parse_containers(done: Completed) -> list[Container]:
    """Nothing when there are none. One that was removed since it was listed makes inspect exit 1: the
    others count."""
    if done.ok and not done.stdout.strip():
        return []
    try:
        found = [_container(raw) for raw in msgspec.json.decode(done.stdout)]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        raise refuse(done, "docker inspect") from None
    return [one for one in found if one]


#: FILTER…: in one go, as services that are watched are looked at every other second
_INSPECT = 'ids=$(docker ps -aq "$@") || exit; [ -z "$ids" ] || exec docker inspect $ids'
INSPECT = Fact(("sh", "-c", _INSPECT, "docker-inspect"), parse_containers)


async def containers(host: Host, project: str | None) -> list[Container]:
    """The containers of a project; of the whole host when ``project`` is None."""
    which = [] if project is None else ["--filter", f"label={_LABEL}project={project}"]
    return await INSPECT.ask(host, *which)


def parse_logs(done: Completed) -> str:
    return (done.stdout + done.stderr).decode(errors="replace")


#: docker logs --tail 20 CONTAINER
LOGS = Fact(("docker", "logs", "--tail", "20"), parse_logs)


def parse_image(done: Completed) -> bool | None:
    """Is the image on this host? None: could not tell."""
    if done.ok:
        return True
    return False if "no such image" in done.stderr.decode(errors="replace").lower() else None


IMAGE = Fact(("docker", "image", "inspect"), parse_image)
