"""A backup's files, wherever they lie: a folder, or one tar.gz that is read as a stream."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from runbook.backup import layout, manifest
from runbook.backup.verifying import configuration
from runbook.backup.verifying.configuration import Configuration
from runbook.backup.verifying.examine import Examined, Wish, examine, kind_of
from runbook.backup.verifying.feed import Came, Feed
from runbook.backup.verifying.pool import Pool
from runbook.couch.reading.reader import database_name
from runbook.couch.reading.selection import NEVER
from runbook.errors import CouldNotLook, RunbookError, UseError
from runbook.platform import archive
from runbook.platform.archive import Member

#: a tar.gz that unpacks to more than this, and this many times its size, is a bomb
_LEAST_BOMB, _BOMB = 1_000_000_000, 200
#: files of one backup
_MOST_FILES = 200_000
_NODE_NUMBER = re.compile(r"openedx_(\d+)")
_OWN = re.compile(
    rf"(?P<top>(?:.*?/)?)(?:node-[^/]+/.*|{re.escape(manifest.NAME)}|{manifest.SUMS})", re.DOTALL
)
_PACKED = (".tar.gz", ".tgz")


class Content(msgspec.Struct, kw_only=True):
    """What was read. ``folder``: where it lies as files; None: in a tar.gz. ``beside``: the folder that
    holds it, and other backups. ``sums``: SHA-256 of its parts by their path from ``beside``."""

    id: str
    path: Path
    folder: Path | None
    beside: Path
    files: dict[str, int]
    examined: dict[str, Examined]
    sums: dict[str, str]
    problems: list[str] = []
    remarks: list[str] = []
    #: settings that lie in a tar.gz unpacked
    loose: Configuration | None = None

    @property
    def ours(self) -> bool:
        """Was it made by this program, which dumps databases and nothing else?"""
        return manifest.SUMS in self.examined

    def dumps(self) -> dict[str, dict[str, Examined]]:
        """database -> node -> its dump"""
        found: dict[str, dict[str, Examined]] = {}
        for one in self.examined.values():
            if one.kind == "dump" and one.dump:
                node = one.name.partition("/")[0].removeprefix(layout.NODE)
                copies = found.setdefault(one.dump.database, {})
                copies[f"{node} (gz)" if node in copies else node] = one
        return dict(sorted(found.items()))


def locate(path: Path) -> Path:
    """The backup meant, as an absolute path without links. Raises UseError."""
    try:
        found = path.expanduser().resolve(strict=True)
    except FileNotFoundError:
        raise UseError(f"{path} does not exist.", next="runbook backup list shows which there are.") from None
    except (OSError, RuntimeError) as error:  # a loop of links
        why = (isinstance(error, OSError) and error.strerror) or "its links lead in a circle"
        raise UseError(f"{path} cannot be opened: {why}.") from None
    if found.is_dir() or (found.is_file() and found.name.endswith(_PACKED)):
        return found
    raise UseError(f"{path} is neither a folder nor a .tar.gz.", next="Name a backup's folder or archive.")


# ── a folder ───────────────────────────────────────────────────────────────────────────────
def scan(folder: Path) -> tuple[dict[str, int], list[str], list[str]]:
    """(path below -> bytes of every regular file, problems, remarks); links are not followed."""
    files: dict[str, int] = {}
    problems: list[str] = []
    others: list[str] = []

    def unreadable(error: OSError) -> None:
        problems.append(f"the folder {error.filename} cannot be listed: {error.strerror}")

    for top, folders, names in os.walk(folder, onerror=unreadable):
        for name in sorted((*names, *(f for f in folders if os.path.islink(os.path.join(top, f))))):  # noqa: PTH114, PTH118
            path = os.path.join(top, name)  # noqa: PTH118
            below = os.path.relpath(path, folder)
            try:
                status = os.lstat(path)
            except OSError as error:
                problems.append(f"{below}: cannot be looked at: {error.strerror}")
                continue
            if stat.S_ISREG(status.st_mode):
                files[below] = status.st_size
            else:
                others.append(below)
        if len(files) > _MOST_FILES:
            raise UseError(f"{folder} holds more than {_MOST_FILES} files: it is no backup. It was not read.")
    remarks = [
        f"{name} is a link or a special file: it was not followed, and is in no checksum" for name in others
    ]
    return files, problems, remarks


def read_folder(
    folder: Path, limit: int, base: str, scanned: tuple[dict[str, int], list[str], list[str]], pool: Pool
) -> Content:
    files, problems, remarks = scanned
    related = _related(files, base)
    # the largest first, so that none is left alone at the end
    order = sorted(files, key=lambda name: -files[name])
    wishes = [(name, Wish(limit=limit, relate=name in related, path=str(folder / name))) for name in order]
    found = {one.name: one for one in pool.map(_examine_file, wishes)}
    return Content(
        id=folder.name,
        path=folder,
        folder=folder,
        beside=folder.parent,
        files=files,
        examined={name: found[name] for name in sorted(found)},
        sums={f"{folder.name}/{name}": one.sha256 for name, one in found.items() if one.sha256},
        problems=problems,
        remarks=remarks,
    )


def _examine_file(wish: tuple[str, Wish], came: Came) -> Examined:
    name, wanted = wish
    try:
        # no link that came since is followed, and nothing waits for a pipe
        handle = os.open(wanted.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb", buffering=0) as file:
            before = os.fstat(handle)
            found = examine(file, name, wanted, came)
            after = os.fstat(handle)
    except InterruptedError:
        raise
    except OSError as error:
        return Examined(name=name, kind=kind_of(name), damage=f"{name} cannot be read: {error.strerror}")
    found.stamp = (before.st_size, before.st_mtime_ns)
    if found.stamp != (after.st_size, after.st_mtime_ns):
        found.damage = found.damage or f"{name} changed while it was read"
    return found


def _related(files: Mapping[str, int], base: str) -> set[str]:
    """Of each database the dump whose documents are looked at for what they refer to: openedx_<n> of
    node n, the others of the first node."""
    head, _, last = base.rpartition(".")
    chosen: dict[str, str] = {}
    for name in sorted(files):
        if kind_of(name) != "dump" or (database := database_name(Path(name))) in NEVER:
            continue
        number = _NODE_NUMBER.fullmatch(database)
        home = f"{head}.{int(last) + int(number[1]) - 1}" if number and last.isdigit() else ""
        if database not in chosen or name.startswith(f"{layout.NODE}{home}/"):
            chosen[database] = name
    return set(chosen.values())


# ── one tar.gz ─────────────────────────────────────────────────────────────────────────────
def read_archive(path: Path, limit: int, pool: Pool) -> Content:
    """As a stream, by this process alone; nothing is written anywhere."""
    try:
        (content,) = pool.map(_unpack, [(path, limit)])
    except InterruptedError:
        raise
    except OSError as error:
        raise CouldNotLook(f"{path} cannot be read: {error.strerror}.") from None
    return content


def _unpack(wish: tuple[Path, int], came: Came) -> Content:
    path, limit = wish
    passing, problems = _Passing(limit), []
    with path.open("rb", buffering=0) as source:
        feed = Feed(source, came)
        file = feed.buffered()
        most = _LEAST_BOMB + _BOMB * path.stat().st_size
        try:
            archive.list_members(file, path.name, passing.take, most)
        except RunbookError as error:
            problems.append(error.what)
        feed.rest(file)
    top = passing.top or ""
    examined = {one.name: one for one in passing.found}
    id = PurePosixPath(top).name
    return Content(
        id=id if layout.made_by_id(id) else path.name.removesuffix(".tgz").removesuffix(".tar.gz"),
        path=path,
        folder=None,
        beside=path.parent,
        files={name: one.size for name, one in examined.items()},
        examined=examined,
        sums={path.name: feed.sha256},
        problems=problems,
        loose=_loose(examined),
    )


class _Passing:
    """Looks at each file of the archive as it passes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.found = limit, list[Examined]()
        self.top: str | None = None
        self._related = set(NEVER)

    def take(self, member: Member, content: IO[bytes]) -> str:
        own = _OWN.fullmatch(member.name)
        if own and self.top is None:
            self.top = own["top"]
            for one in self.found:
                one.name = one.name.removeprefix(self.top)
        name = member.name.removeprefix(self.top or "")
        database = database_name(Path(name)) if kind_of(name) == "dump" else ""
        relate = bool(database) and database not in self._related
        self._related.add(database)
        wish = Wish(limit=self.limit, relate=relate, keep=configuration.wanted(member))
        self.found.append(examine(content, name, wish))
        return self.found[-1].sha256


def _loose(examined: Mapping[str, Examined]) -> Configuration | None:
    """The settings, where the archive holds them as files (``openedx-ha/docker/…``)."""
    others = [
        one for one in examined.values() if one.kind == "other" and not one.name.startswith(layout.NODE)
    ]
    texts = {one.name: one.text.decode("utf-8", "replace") for one in others if one.text}
    if not texts:
        return None
    return Configuration(
        files=tuple(one.name for one in others), bytes=sum(one.size for one in others), texts=texts
    )
