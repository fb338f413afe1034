"""Where backups lie and what one holds, by names and sizes alone (nothing is read but the manifest).

    20261101/
      backup_manifest.json
      node-10.0.1.10/  openedx_1.json  _users.json …  config.tar.gz  logs.tar.gz
      node-10.0.1.11/  …

On the backup VM they are below ``daily/``, ``weekly/``, ``monthly/`` and ``pinned/``; on the
operator's PC side by side in one folder, and so in further folders with copies. A backup may also be
a single ``<id>.tar.gz``: what is in it is not known from names and sizes.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from runbook.backup.ledger import NAME as LEDGER
from runbook.backup.manifest import LARGEST, Manifest
from runbook.backup.manifest import NAME as MANIFEST
from runbook.backup.manifest import parse as parse_manifest
from runbook.backup.manifest import read as read_manifest
from runbook.errors import CouldNotLook, HostError
from runbook.hosts.base import Host
from runbook.together import together

Place = Literal["backup", "operator"]
TIERS = ("daily", "weekly", "monthly", "pinned")
#: of the operator's PC: its own folder, further ones
HERE = ("local", "copy")
NODE = "node-"
ARCHIVE = ".tar.gz"
#: names of archives that are not a node's configuration
LOGS = "logs.tar.gz"
CONFIG = "config.tar.gz"


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """One backup as found. ``problems`` empty: complete, as far as names and sizes tell."""

    id: str
    place: Place
    #: daily, weekly, monthly, pinned; on the operator's PC "local", in a further folder "copy"
    tier: str
    path: str  #: absolute, on the machine of ``place``
    made: datetime | None  #: from the manifest, else from the id; None: neither tells
    nodes: dict[str, tuple[str, ...]]  #: node address -> names of the databases dumped there
    files: dict[str, int]  #: path below the folder -> bytes
    manifest: Manifest | None
    problems: tuple[str, ...]
    archive: bool = False  #: a single tar.gz; its nodes and manifest are in it

    @property
    def complete(self) -> bool:
        return not self.problems

    @property
    def bytes(self) -> int:
        return sum(self.files.values())

    @property
    def title(self) -> str:
        return f"{self.id} ({'this PC' if self.tier == 'local' else self.tier})"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is below one folder. ``complaints``: what could not be read there, in words."""

    backups: tuple[Backup, ...]
    ledgers: tuple[str, ...] = ()  #: paths of verification ledgers
    complaints: tuple[str, ...] = ()


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
    if files.get(MANIFEST, 0) > LARGEST:
        problems.append(f"{MANIFEST} is larger than 4 MB, which no manifest is; it was not read")
    elif manifest is None and MANIFEST in files:
        problems.append(f"{MANIFEST} cannot be read")
    elif manifest is None:
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


def describe_archive(id: str, place: Place, tier: str, path: str, size: int) -> Backup:
    """A backup that is a single tar.gz. Never complete: nothing can be restored from it as it is."""
    problem = f"is one archive: to restore from it, unpack it into a folder {id!r} beside it"
    return Backup(
        id=id,
        place=place,
        tier=tier,
        path=path,
        made=made_by_id(id),
        nodes={},
        files={path.rpartition("/")[2]: size},
        manifest=None,
        problems=(problem if size else "is an empty file",),
        archive=True,
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
    """Path -> bytes of every regular file below; links are not followed. Raises OSError: a folder that
    cannot be read must not pass for an empty one."""

    def refused(error: OSError) -> None:
        raise error

    found = {}
    for at, _, names in os.walk(folder, onerror=refused):
        for name in names:
            path = Path(at, name)
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(folder))] = path.lstat().st_size
    return dict(sorted(found.items()))


def describe_local(folder: Path, expected: Iterable[str] = (), tier: str = "local") -> Backup:
    """The backup in a folder of this PC (an absolute path in the result). Blocking."""
    folder = folder.expanduser().resolve()
    manifest = folder / MANIFEST
    raw = read_manifest(manifest) if manifest.is_file() else None
    return describe(folder.name, "operator", tier, str(folder), sizes(folder), raw, expected)


def find_local(root: Path, expected: Iterable[str] = ()) -> list[Backup]:
    """Every backup below the local folder, newest first; other folders are passed over. Blocking."""
    try:
        return list(look_local(root, expected).backups)
    except FileNotFoundError:
        return []


def look_local(root: Path, expected: Iterable[str] = (), tier: str = "local") -> Found:
    """The same with what could not be read. Blocking. Raises OSError: FileNotFoundError when there is
    no such folder."""
    root = root.expanduser()
    if not root.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(root))
    found: list[Backup] = []
    complaints: list[str] = []
    wanted = tuple(expected)
    for one in sorted(root.iterdir()):
        try:
            if one.is_dir() and _is_backup(one):
                found.append(describe_local(one, wanted, tier))
            elif _is_archive(one.name) and one.is_file():
                id, size = one.name.removesuffix(ARCHIVE), one.stat().st_size
                found.append(describe_archive(id, "operator", tier, str(one.resolve()), size))
        except OSError as error:
            complaints.append(f"{one} cannot be read: {error.strerror}")
    ledger = root / LEDGER
    ledgers = (str(ledger),) if ledger.is_file() else ()
    return Found(backups=tuple(newest_first(found)), ledgers=ledgers, complaints=tuple(complaints))


def _is_backup(folder: Path) -> bool:
    if set_aside(folder.name):
        return False
    # listed, not globbed: a folder that cannot be read must not look like one that is none
    names = os.listdir(folder)  # noqa: PTH208
    return MANIFEST in names or any(name.startswith(NODE) for name in names)


def _is_archive(name: str) -> bool:
    return name.endswith(ARCHIVE) and name != ARCHIVE and not set_aside(name.removesuffix(ARCHIVE))


def set_aside(name: str) -> bool:
    """Is a folder of that name not a backup's, but half made, kept from before, found damaged, or hidden?"""
    return name.endswith(".part") or ".before-" in name or ".damaged-" in name or name.startswith(".")


async def find_remote(host: Host, root: str, expected: Iterable[str] = ()) -> list[Backup]:
    """Every backup on the backup VM, newest first. Raises HostError, CouldNotLook."""
    return list((await look_remote(host, root, expected)).backups)


async def look_remote(host: Host, root: str, expected: Iterable[str] = ()) -> Found:
    """The same with what could not be read. Raises HostError, CouldNotLook."""
    root = root.rstrip("/")
    # one look over all tiers; names may hold anything but NUL; the blank path follows a link to a volume
    done = await host.run(
        ["find", f"{root}/", "-mindepth", "2", "-maxdepth", "7", "(", "-type", "f", "-o", "-type", "d", ")",
         "-printf", "%y %s %P\\0"],
        timeout=120,
        limit=32_000_000,
    )  # fmt: skip
    if not done.ok and not done.stdout:
        text = done.stderr.decode(errors="replace").strip()
        raise CouldNotLook(f"The backups below {root} on {host.name} cannot be listed: {text}")
    if done.truncated:
        raise CouldNotLook(f"{root} on {host.name} holds too many files to list.")
    folders: dict[tuple[str, str], dict[str, int]] = {}
    archives: dict[tuple[str, str], int] = {}
    ledgers: list[str] = []
    for entry in done.stdout.decode(errors="surrogateescape").split("\0"):
        kind, _, rest = entry.partition(" ")
        size, _, path = rest.partition(" ")
        tier, _, below = path.partition("/")
        id, _, name = below.partition("/")
        if tier not in TIERS or not id:
            continue
        if kind == "f" and below == LEDGER:
            ledgers.append(f"{root}/{path}")
        elif set_aside(id):
            continue
        elif kind == "d" or name:
            files = folders.setdefault((tier, id), {})
            if kind == "f":
                files[name] = int(size)
        elif _is_archive(id):
            archives[tier, id] = int(size)
    wanted = tuple(expected)

    async def one(tier: str, id: str, files: dict[str, int]) -> Backup:
        path = f"{root}/{tier}/{id}"
        raw = None
        if 0 <= files.get(MANIFEST, -1) <= LARGEST:
            try:
                raw = await host.read_bytes(f"{path}/{MANIFEST}")
            except HostError as error:
                if type(error) is not HostError:
                    raise  # the host itself could not be used
        return describe(id, "backup", tier, path, files, raw, wanted)

    found = await together(one(tier, id, files) for (tier, id), files in folders.items())
    found += [
        describe_archive(name.removesuffix(ARCHIVE), "backup", tier, f"{root}/{tier}/{name}", size)
        for (tier, name), size in archives.items()
    ]
    complaints = tuple(done.stderr.decode(errors="replace").splitlines()) if not done.ok else ()
    return Found(backups=tuple(newest_first(found)), ledgers=tuple(ledgers), complaints=complaints)


def newest_first(backups: Iterable[Backup]) -> list[Backup]:
    """By the time they were made; of the same time the daily before its weekly and monthly copies."""
    oldest = datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=1)
    order = (*TIERS, *HERE)
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
