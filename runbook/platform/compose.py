"""docker-compose on a host: which one there is, the platform's project, its services.

A project is always named with ``-p``: under another name compose would make fresh, empty volumes.
The resolved compose file holds passwords and is never put on the record.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

import msgspec
import yaml

from runbook.context import Look
from runbook.errors import ActionFailed, CouldNotLook
from runbook.hosts.base import Completed, Host
from runbook.platform.docker import Container, Engine, Fact, numbers, refuse, text

#: file names compose looks for by itself; the platform's own comes first
FILES = ("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml")
OVERRIDES = tuple(name.replace(".y", ".override.y") for name in FILES)
#: never started during a recovery: it would replace images in the middle of it
WATCHTOWER = "watchtower"


def parse_version(done: Completed) -> str | None:
    """The version ``version --short`` prints; None when there is no such program."""
    found = re.search(r"^v?(\d+\.\d+\S*)\s*$", text(done), re.MULTILINE)
    return found[1] if done.ok and found else None


PLUGIN = Fact(("docker", "compose", "version", "--short"), parse_version)
STANDALONE = Fact(("docker-compose", "version", "--short"), parse_version)


@dataclass(frozen=True)
class Compose:
    """How compose is called here."""

    argv: tuple[str, ...]
    version: str

    @property
    def major(self) -> int:
        return (numbers(self.version) or (0,))[0]

    def __str__(self) -> str:
        return f"{' '.join(self.argv)} {self.version}"


async def detect(host: Host) -> Compose | None:
    """The compose plugin (version 2) before the old program; None: neither is there."""
    for fact in (PLUGIN, STANDALONE):
        if version := await fact.ask(host):
            return Compose(fact.command[:-2], version)
    return None


def misfit(compose: Compose, engine: Engine) -> tuple[bool, str]:
    """(fatal, why) compose 1 and a newer engine do not go together; ("" = they do).

    docker-compose 1.29 speaks up to API 1.38 by its file versions; engine 29 refuses all below 1.44.
    Engines from 25 on (API 1.44) leave out the image's ContainerConfig, which it needs for recreating.
    """
    if compose.major != 1:
        return False, ""
    if engine.least_api > (1, 38):
        least = ".".join(map(str, engine.least_api))
        return (
            True,
            f"engine {engine.version} speaks no API below {least}: docker-compose 1 is too old for it",
        )
    if engine.api >= (1, 44):
        return (
            False,
            f"on engine {engine.version} docker-compose 1 starts new machines, but cannot recreate a "
            "container that is there (ContainerConfig): remove that one first, or install docker compose 2",
        )
    return False, ""


# ── the project ────────────────────────────────────────────────────────────────────────────
class Service(msgspec.Struct, frozen=True):
    """A service of the resolved compose file."""

    image: str = ""
    container_name: str = ""
    profiles: list[str] = msgspec.field(default_factory=list)
    depends_on: list[str] = msgspec.field(default_factory=list)


def parse_config(done: Completed) -> dict[str, Service]:
    """``compose config`` (YAML of both versions) -> services by name."""
    try:
        return _services(text(done))
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, RecursionError):
        raise refuse(done, "docker-compose config") from None


@lru_cache(maxsize=16)
def _services(config: str) -> dict[str, Service]:
    """It is asked again in every step and is mostly the same: reading YAML takes longer than asking.
    (libyaml's reader is quicker, and crashes on what is nested too deeply.)"""
    raw = yaml.safe_load(config)["services"]
    return {
        str(name): Service(
            str(one.get("image") or ""),
            str(one.get("container_name") or ""),
            list(one.get("profiles") or []),
            list(one.get("depends_on") or []),
        )
        for name, one in raw.items()
    }


def parse_hashes(done: Completed) -> dict[str, str]:
    """``compose config --hash=*`` -> hash by service; empty when it does not say."""
    pairs = [line.split() for line in text(done).splitlines()] if done.ok else []
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


CONFIG = Fact((), parse_config, timeout=60.0)
HASHES = Fact((), parse_hashes, timeout=60.0)


@dataclass(frozen=True)
class Project:
    """A compose project on one host. ``folder`` is relative to home; commands run in it."""

    name: str
    folder: str
    files: tuple[str, ...]
    compose: Compose

    def argv(self, *rest: str) -> list[str]:
        files = [part for name in self.files for part in ("-f", name)]
        return [*self.compose.argv, "-p", self.name, *files, *rest]

    async def services(self, host: Host) -> dict[str, Service]:
        return await CONFIG.ask(host, *self.argv("config"), cwd=self.folder)

    async def outdated(self, host: Host, containers: Iterable[Container]) -> list[str]:
        """Services whose container was made from another configuration than today's files."""
        today = await HASHES.ask(host, *self.argv("config", "--hash=*"), cwd=self.folder)
        return sorted(
            {
                one.service
                for one in containers
                if one.config_hash and today.get(one.service, one.config_hash) != one.config_hash
            }
        )


def _names(done: Completed) -> list[str]:
    return text(done).splitlines() if done.ok else []


LISTING = Fact(("ls", "-1A", "--"), _names)


async def find_files(look: Look) -> tuple[str, tuple[str, ...]]:
    """(folder, compose files in the order for -f): where the unpack step put them, else where the
    platform keeps them. Raises CouldNotLook naming what was searched."""
    saved = look.output("compose_dir")
    top = PurePosixPath(look.site.platform.folder)
    folders = [str(saved)] if saved else [str(top / "docker"), str(top)]
    for folder in folders:
        names = await LISTING.ask(look.host, folder)
        base = next((name for name in FILES if name in names), None)
        if base:
            return folder, (base, *[name for name in OVERRIDES if name in names][:1])
    raise CouldNotLook(
        f"{look.host.name}: no compose file. Searched {' and '.join(folders)} for {', '.join(FILES)}.",
        next="Unpack the configuration first, or set platform.folder in runbook.toml.",
    )


async def project_name(look: Look, folder: str) -> str:
    """The site's, else COMPOSE_PROJECT_NAME of the .env, else what compose makes of the folder's name."""
    if look.site.platform.project:
        return look.site.platform.project
    env = await look.host.read_bytes(f"{folder}/.env") or b""
    named = re.search(rb"^COMPOSE_PROJECT_NAME=[\"']?([\w-]+)", env, re.MULTILINE)
    if named:
        return named[1].decode()
    return re.sub(r"[^a-z0-9_-]", "", PurePosixPath(folder).name.lower()) or "default"


async def find_project(look: Look) -> Project:
    """The platform's compose project on ``look.host``. Raises CouldNotLook."""
    (folder, files), compose = await asyncio.gather(find_files(look), detect(look.host))
    if compose is None:
        raise CouldNotLook(
            f"{look.host.name}: neither 'docker compose' nor 'docker-compose' is there.",
            next="Install the compose plugin: sudo apt-get install docker-compose-plugin",
        )
    return Project(await project_name(look, folder), folder, files, compose)


def wanted(known: dict[str, Service], services: Sequence[str], exclude: Iterable[str]) -> tuple[str, ...]:
    """The services meant: those named, else all whose profile is on; without the excluded and
    Watchtower. Raises ActionFailed for a name the compose file does not have."""
    unknown = [name for name in services if name not in known]
    if unknown:
        raise ActionFailed(
            f"The compose file has no service {', '.join(unknown)}; it has {', '.join(sorted(known))}."
            " Nothing was started.",
            next="Correct the step's services, or the compose file.",
        )
    named = services or [name for name, one in known.items() if not one.profiles]
    left_out = {*exclude, WATCHTOWER}
    return tuple(name for name in named if name not in left_out)
