"""The folder of a backup of ours: built under another name, and nothing but a backup when it has its own.

20261101T020000Z.part/         while it is being made: no tool takes it for a backup
  .runbook-dump/state.json     whose dump this is, for the next call, which goes on with it
  .runbook-dump/node-…/…/      what is needed to go on with each database
  node-10.0.1.10/<database>.json, node-10.0.1.10/beside/…
20261101T020000Z/              when it is whole: the same without .runbook-dump, and
  backup_manifest.json         as the platform's script writes it
  SHA256SUMS                   of every file, for ``sha256sum -c``
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from runbook.backup import manifest
from runbook.couch.dumping import dumpfile
from runbook.errors import ActionFailed, JournalLocked
from runbook.record.lock import Lock, held

#: ``.runbook-…`` belongs to no backup, should it ever be left in one
_WORK, _STATE, _LOCK = ".runbook-dump", "state.json", "lock"
_CHUNK = 1 << 20
#: of what lies in a folder that was begun; another one's cannot be gone on with
_LAYOUT = 1


class State(msgspec.Struct, frozen=True):
    """``node/database`` -> what sets that database apart from others of its name (see
    ``snapshot.identity``)."""

    databases: dict[str, str]
    layout: int = _LAYOUT

    def lost(self, now: State) -> list[str]:
        """What was begun and is there no longer, or was made anew. There may be more than then."""
        return [name for name, identity in self.databases.items() if now.databases.get(name) != identity]


class Place(NamedTuple):
    """Where one database goes."""

    dump: Path
    work: Path


class DumpFolder:
    """``path``: the backup's name in the end."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.part = self.path.with_name(f"{self.path.name}.part")
        self._lock: Lock | None = None

    def open(self, state: State) -> bool:
        """Take it, alone; True when a dump that was begun there is gone on with. Raises ActionFailed."""
        if self.path.exists():
            raise ActionFailed(
                f"{self.path} is already there. Nothing was changed.", next="Name another folder."
            )
        work, begun = self.part / _WORK, _state(self.part)
        if begun is None and self.part.exists() and not work.is_dir():
            raise ActionFailed(
                f"{self.part} is no dump that was begun here. Nothing was changed.",
                next="Name another folder, or move that one away.",
            )
        if begun is not None and begun.layout != _LAYOUT:
            raise ActionFailed(
                f"{self.part} was begun by another version of this program. Nothing was changed.",
                next="Name another folder, or move that one away.",
            )
        if begun is not None and (lost := begun.lost(state)):
            raise ActionFailed(
                f"{self.part} holds a dump that was begun of other databases: {', '.join(lost[:10])} "
                "no longer there, made anew since, or not asked for now. Nothing was changed.",
                next="Name another folder; what was read then stays where it is.",
            )
        for folder in (self.part, work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._lock = Lock(work / _LOCK)
        except JournalLocked:
            raise ActionFailed(
                f"{self.path} is being made by another process just now. Nothing was changed.",
                next="Wait for its end, or name another folder.",
            ) from None
        dumpfile.replace(work / _STATE, msgspec.json.encode(state))
        return begun is not None

    def close(self) -> None:
        if self._lock:
            self._lock.release()
            self._lock = None

    def place(self, node: str, database: str) -> Place:
        name = database.replace("/", "%2F")
        folder = self.part / f"node-{node}"
        folder.mkdir(mode=0o700, exist_ok=True)
        return Place(folder / f"{name}.json", self.part / _WORK / folder.name / name)

    def finish(self, nodes: Iterable[str], made: datetime, beat: Callable[[], None]) -> None:
        """Manifest, sums, and the name of a backup. Raises OSError."""
        files = sorted(path for path in self.part.glob("node-*/**/*") if path.is_file())
        names = [str(path.relative_to(self.part)) for path in files]
        sums = {name: _hashes(path, beat) for name, path in zip(names, files, strict=True)}
        found = manifest.Manifest(
            backup_date=made.astimezone(UTC).isoformat(timespec="seconds"),
            backup_type="manual",
            nodes=tuple(nodes),
            checksum=manifest.checksum({name: md5 for name, (md5, _) in sums.items()}, str(self.path)),
            folder=str(self.path),
        )
        target = self.part / manifest.NAME
        dumpfile.replace(target, msgspec.json.format(msgspec.json.encode(found)) + b"\n")
        lines = {manifest.NAME: _hashes(target, beat)[1]} | {name: sha for name, (_, sha) in sums.items()}
        text = "".join(f"{sha}  {name}\n" for name, sha in lines.items())
        dumpfile.replace(self.part / manifest.SUMS, text.encode())
        if self.path.exists():
            raise ActionFailed(f"{self.path} came into being meanwhile; the dump is whole in {self.part}.")
        for folder in {path.parent for path in files} | {self.part}:
            _sync(folder)
        self.part.rename(self.path)
        _sync(self.path.parent)
        self.close()
        shutil.rmtree(self.path / _WORK)


def unfinished(root: Path, state: State) -> Path | None:
    """A dump below ``root`` that was begun of these databases and can be gone on with, by the name it
    will have: the newest one that nobody is at."""
    for part in sorted(root.expanduser().glob("*.part"), reverse=True):
        begun = _state(part)
        if begun and begun.layout == _LAYOUT and not begun.lost(state) and not held(part / _WORK / _LOCK):
            return part.with_name(part.name.removesuffix(".part"))
    return None


def _state(part: Path) -> State | None:
    try:
        return msgspec.json.decode((part / _WORK / _STATE).read_bytes(), type=State)
    except (OSError, ValueError):
        return None


def _hashes(path: Path, beat: Callable[[], None]) -> tuple[str, str]:
    """MD5 and SHA-256."""
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            md5.update(block)
            sha.update(block)
            beat()
    return md5.hexdigest(), sha.hexdigest()


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
