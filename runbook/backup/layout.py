"""Where backups lie and what one holds, by names and sizes alone (nothing is read but the manifest).

    20261101/
      backup_manifest.json
      node-10.0.1.10/  openedx_1.json  _users.json …  config.tar.gz  logs.tar.gz
      node-10.0.1.11/  …

On the backup VM they are below ``daily/``, ``weekly/``, ``monthly/`` and ``pinned/``; on the
operator's PC side by side in one folder.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from runbook.backup.manifest import NAME as MANIFEST
from runbook.backup.manifest import Manifest
from runbook.backup.manifest import parse as parse_manifest
from runbook.errors import CouldNotLook
from runbook.hosts.base import Host

Place = Literal["backup", "operator"]
TIERS = ("daily", "weekly", "monthly", "pinned")
NODE = "node-"
#: names of archives that are not a node's configuration
LOGS = "logs.tar.gz"
CONFIG = "config.tar.gz"


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """One backup as found. ``problems`` empty: complete, as far as names and sizes tell."""

    id: str
    place: Place
    tier: str  #: daily, weekly, monthly, pinned; "local" on the operator's PC
    path: str  #: absolute, on the machine of ``place``
    made: datetime | None  #: from the manifest, else from the id; None: neither tells
    nodes: dict[str, tuple[str, ...]]  #: node address -> names of the databases dumped there
    files: dict[str, int]  #: path below the folder -> bytes
    manifest: Manifest | None
    problems: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.problems

    @property
    def bytes(self) -> int:
        return sum(self.files.values())

    @property
    def title(self) -> str:
        return f"{self.id} ({self.tier})" if self.tier != "local" else f"{self.id} (this PC)"


def describe(
    id: str,
    place: Place,
    tier: str,
    path: str,
    files: Mapping[str, int],
    manifest: bytes | None,
    expected: Iterable[str] = (),
) -> Backup:
    """A backup from the sizes of its files and its manifest's bytes.

    ``expected``: databases every node must have; empty: those that any node has.
    """
    problems: list[str] = []
    parsed: Manifest | None = None
    if manifest is None:
        problems.append(f"{MANIFEST} is missing: it is written last, so the backup did not end")
    else:
        try:
            parsed = parse_manifest(manifest)
        except ValueError as error:
            problems.append(f"{MANIFEST} {error}")
    nodes = _databases(files)
    for node in parsed.nodes if parsed else ():
        nodes.setdefault(node, ())
    if not nodes:
        problems.append("no node folder (node-<address>) in it")
    # _replicator and _global_changes exist only where they were used: not every node has them
    wanted = set(expected) or {name for names in nodes.values() for name in names if _everywhere(name)}
    for node, names in sorted(nodes.items()):
        if not names:
            problems.append(f"node {node}: no database in it")
            continue
        if missing := sorted(wanted - set(names)):
            problems.append(f"node {node}: lacks {', '.join(missing)}")
        problems += [
            f"node {node}: {name}.json is empty"
            for name in names
            if not files.get(f"{NODE}{node}/{name}.json")
        ]
    return Backup(
        id=id,
        place=place,
        tier=tier,
        path=path,
        made=(parsed.made() if parsed else None) or made_by_id(id),
        nodes=nodes,
        files=dict(files),
        manifest=parsed,
        problems=tuple(problems),
    )


def is_dump(name: str) -> bool:
    """Is the file of that path below a backup's folder a dump of a database?"""
    return name.startswith(NODE) and name.count("/") == 1 and name.endswith(".json")


def _everywhere(database: str) -> bool:
    return database not in ("_replicator", "_global_changes")


def _databases(files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    nodes: dict[str, list[str]] = {}
    for name in files:
        folder, _, rest = name.partition("/")
        if folder.startswith(NODE) and rest:
            found = nodes.setdefault(folder.removeprefix(NODE), [])
            if "/" not in rest and rest.endswith(".json"):
                found.append(rest.removesuffix(".json"))
    return {node: tuple(sorted(names)) for node, names in nodes.items()}


def made_by_id(id: str) -> datetime | None:
    """The day an id stands for: 20261101, 2026-week45 (its Sunday), 2026-11 (its first)."""
    try:
        if match := re.fullmatch(r"(\d{4})(\d{2})(\d{2})", id):
            day = date(*map(int, match.groups()))
        elif match := re.fullmatch(r"(\d{4})-week(\d{1,2})", id):
            day = date.fromisocalendar(int(match[1]), int(match[2]), 7)
        elif match := re.fullmatch(r"(\d{4})-(\d{2})", id):
            day = date(int(match[1]), int(match[2]), 1)
        else:
            return None
    except ValueError:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def sizes(folder: Path) -> dict[str, int]:
    """Path -> bytes of every regular file below; links are not followed."""
    return {
        str(path.relative_to(folder)): path.lstat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def describe_local(folder: Path, expected: Iterable[str] = ()) -> Backup:
    """The backup in a folder of this PC (an absolute path in the result). Blocking."""
    folder = folder.expanduser().resolve()
    manifest = folder / MANIFEST
    raw = manifest.read_bytes() if manifest.is_file() else None
    return describe(folder.name, "operator", "local", str(folder), sizes(folder), raw, expected)


def find_local(root: Path, expected: Iterable[str] = ()) -> list[Backup]:
    """Every backup below the local folder, newest first; other folders are passed over. Blocking."""
    root = root.expanduser()
    if not root.is_dir():
        return []
    folders = [one for one in root.iterdir() if one.is_dir() and _is_backup(one)]
    return newest_first(describe_local(one, expected) for one in folders)


def _is_backup(folder: Path) -> bool:
    if _set_aside(folder.name):
        return False
    return (folder / MANIFEST).is_file() or any(folder.glob(f"{NODE}*"))


def _set_aside(name: str) -> bool:
    return name.endswith(".part") or ".before-" in name


async def find_remote(host: Host, root: str, expected: Iterable[str] = ()) -> list[Backup]:
    """Every backup on the backup VM, newest first. Raises HostError, CouldNotLook."""
    root = root.rstrip("/")
    # one look over all tiers; names may hold anything but NUL
    done = await host.run(
        ["find", root, "-mindepth", "2", "-maxdepth", "7", "(", "-type", "f", "-o", "-type", "d", ")",
         "-printf", "%y %s %P\\0"],
        timeout=120,
        limit=32_000_000,
    )  # fmt: skip
    if not done.ok and not done.stdout:
        text = done.stderr.decode(errors="replace").strip()
        raise CouldNotLook(f"The backups below {root} on {host.name} cannot be listed: {text}")
    if done.truncated:
        raise CouldNotLook(f"{root} on {host.name} holds too many files to list.")
    found: dict[tuple[str, str], dict[str, int]] = {}
    for entry in done.stdout.decode(errors="surrogateescape").split("\0"):
        kind, _, rest = entry.partition(" ")
        size, _, path = rest.partition(" ")
        tier, _, below = path.partition("/")
        id, _, name = below.partition("/")
        if tier not in TIERS or not id or _set_aside(id):
            continue
        files = found.setdefault((tier, id), {}) if kind == "d" or name else {}
        if kind == "f" and name:
            files[name] = int(size)
    wanted = tuple(expected)

    async def one(tier: str, id: str, files: dict[str, int]) -> Backup:
        path = f"{root}/{tier}/{id}"
        raw = await host.read_bytes(f"{path}/{MANIFEST}") if MANIFEST in files else None
        return describe(id, "backup", tier, path, files, raw, wanted)

    return newest_first(await asyncio.gather(*(one(tier, id, files) for (tier, id), files in found.items())))


def newest_first(backups: Iterable[Backup]) -> list[Backup]:
    """By the time they were made; of the same time the daily before its weekly and monthly copies."""
    oldest = datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=1)
    order = (*TIERS, "local")
    return sorted(
        sorted(backups, key=lambda one: (order.index(one.tier), one.id)),
        key=lambda one: one.made or oldest,
        reverse=True,
    )


def config_archive(folder: Path, node: str) -> Path | None:
    """The configuration archive for a node: its own, else any node's, else one at the top
    (``config.tar.gz``, ``backup_file.tar.gz`` or the only ``*.tar.gz``). Blocking."""
    loose = [one for one in sorted(folder.glob("*.tar.gz")) if one.name != LOGS]
    candidates = [
        folder / f"{NODE}{node}" / CONFIG,
        *sorted(folder.glob(f"{NODE}*/{CONFIG}")),
        folder / CONFIG,
        folder / "backup_file.tar.gz",
        *(loose if len(loose) == 1 else ()),
    ]
    return next((one for one in candidates if one.is_file()), None)
