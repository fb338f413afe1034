"""Folders over SSH, resumably: many small files as one tar stream, each large one from where it
stopped, into ``NAME.part``; compared file by file by SHA-256, then renamed. What ``NAME.part`` holds
from before is taken for whole by its size, and found to be by its SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import posixpath
import stat
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.errors import HostError
from runbook.hosts import listing, pieces, tarstream
from runbook.hosts.base import Tick, Trouble
from runbook.hosts.channel import complaint
from runbook.hosts.files import absolute, script
from runbook.hosts.listing import Entry
from runbook.hosts.localfiles import part_of, sha256
from runbook.hosts.transfer import Differs, get_once, put_once, resuming
from runbook.together import together

if TYPE_CHECKING:
    from runbook.hosts.ssh import SshHost

#: bytes of a file up to which it goes with others in one stream
SMALL = 4_000_000
#: large files under way at once: one is hashed there while another one comes
AT_ONCE = 2
#: a large file under way has this name and a hash of its own, at the top: no other can have it
_PARTIAL = ".runbook-partial-"
_MKDIR = (
    'umask 077; mkdir -p -- "$1" && cd -- "$1" && '
    "exec xargs -0 sh -c '[ $# = 0 ] || mkdir -p -- \"$@\"' runbook"
)
_REMOVE = 'cd -- "$1" && exec xargs -0 sh -c \'[ $# = 0 ] || rm -rf -- "$@"\' runbook'
_SETTLE = 'if [ -e "$2" ] || [ -L "$2" ]; then echo "$2 is there by now" >&2; exit 1; fi; mv -- "$1" "$2"'


async def get_tree(
    host: SshHost, remote: str, local: Path, tick: Tick | None, trouble: Trouble | None = None
) -> None:
    part = part_of(local)
    if await asyncio.to_thread(os.path.lexists, local):
        raise HostError(host.name, f"{local} is already there; nothing was copied.")
    copy = _Get(host, absolute(remote), part, tick)
    kept = f"{local} was not made; what came is kept in {part}."
    await resuming(host, copy.once, kept, moved=lambda: copy.moved, trouble=trouble)
    try:
        await asyncio.to_thread(part.rename, local)
    except OSError as error:
        text = f"{host.name}: {part} could not be renamed to {local}: {error.strerror}."
        raise HostError(host.name, text) from error


async def put_tree(
    host: SshHost, local: Path, remote: str, tick: Tick | None, trouble: Trouble | None = None
) -> None:
    target = absolute(remote)
    part = f"{target}.part"
    there = await script(host, '[ -e "$1" ] || [ -L "$1" ]', target)
    if there.ok:
        raise HostError(host.name, f"{host.name}: {remote} is already there; nothing was copied.")
    copy = _Put(host, part, local, tick)
    kept = f"{remote} was not made; what was sent is kept in {remote}.part."
    await resuming(host, copy.once, kept, moved=lambda: copy.moved, trouble=trouble)
    settled = await script(host, _SETTLE, part, target)
    if not settled.ok:
        raise HostError(host.name, f"{host.name}: {complaint(host.name, settled)}. {remote} was not made.")


class _Copy(ABC):
    """A folder on its way between ``there`` and ``here``. ``moved``: bytes that came or went, in all."""

    def __init__(self, host: SshHost, there: str, here: Path, tick: Tick | None) -> None:
        self.host, self.there, self.here = host, there, here
        self.moved = 0
        self._tick = tick
        self._proven: set[str] = set()  # files whose SHA-256s were the same on both sides

    async def once(self) -> None:
        """One try, from the first look to the last. Raises Differs beside what transfers raise."""
        try:
            want = await self._wanted()
            self._refuse(want)
            self._total = sum(one.size for one in want.values())
            files = {name for name, one in want.items() if one.kind == "file"}
            had = await self._prepare(want)
            self._proven &= had
            self._done = sum(want[name].size for name in had)
            large = {name for name in files if want[name].size > SMALL}
            small = {name: want[name].size for name in sorted(files - large - had)}
            gate = asyncio.Semaphore(AT_ONCE)
            coming = [self._large(name, gate) for name in sorted(large - had)]
            await together([self._small(small, sorted(files - large - self._proven)), *coming])
            whole = sorted((files & large) - self._proven)
            await self._compare(whole, await listing.sums(self.host, self.there, whole, large=True), {})
            if links := [name for name, one in want.items() if one.kind == "link"]:
                await self._links(links)
            if change := listing.first_change(want, await self._wanted()):
                raise Differs(f"{change} meanwhile; {self._source} differs from its copy")
        except Differs:
            self._proven.clear()
            raise
        except tarfile.TarError as error:
            text = f"{self.host.name}: {self._source} could not be copied: {error}. The target was not made."
            raise HostError(self.host.name, text) from error

    def _refuse(self, want: Mapping[str, Entry]) -> None:
        if bad := next((name for name in sorted(want) if want[name].kind == "other"), None):
            raise HostError(
                self.host.name,
                f"{self.host.name}: {self._source} refused: {bad} is a device, a pipe, or setuid. "
                "The target was not made.",
            )

    async def _large(self, name: str, gate: asyncio.Semaphore) -> None:
        seen: int | None = None

        def tick(done: int, total: int) -> None:
            nonlocal seen
            # what a part held already is not moved again
            self._count(done if seen is None else done - seen, new=seen is not None)
            seen = done

        async with gate:
            await self._one(name, _partial(name), tick)
        self._proven.add(name)

    def _count(self, count: int, new: bool = True) -> None:
        self.moved += count if new else 0
        self._done += count
        if self._tick:
            self._tick(min(self._done, self._total), self._total)

    async def _compare(
        self, names: Collection[str], theirs: Mapping[str, str], came: Mapping[str, str]
    ) -> None:
        """``came``: SHA-256s known from writing."""
        ours = await asyncio.to_thread(
            lambda: {name: came.get(name) or sha256(self.here / name) for name in names}
        )
        if bad := [name for name in names if ours[name] != theirs.get(name)]:
            await self._remove(bad)
            more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise Differs(f"{bad[0]!r} differs{more}: {self._source} and its copy are not the same")
        self._proven.update(names)

    @property
    @abstractmethod
    def _source(self) -> str: ...

    @abstractmethod
    async def _wanted(self) -> dict[str, Entry]:
        """What the source holds now."""

    @abstractmethod
    async def _prepare(self, want: Mapping[str, Entry]) -> set[str]:
        """Make the target's folders, take away what does not belong there; files that have their size."""

    @abstractmethod
    async def _small(self, sizes: Mapping[str, int], compared: Collection[str]) -> None:
        """Send those files in one stream, and compare these (which were there in part)."""

    @abstractmethod
    async def _links(self, names: Collection[str]) -> None: ...

    @abstractmethod
    async def _one(self, name: str, partial: str, tick: Tick) -> None: ...

    @abstractmethod
    async def _remove(self, names: Collection[str]) -> None:
        """From the target."""


def _partial(name: str) -> str:
    return _PARTIAL + hashlib.sha256(os.fsencode(name)).hexdigest()[:24]


def _strays(want: Mapping[str, Entry], have: Mapping[str, Entry]) -> list[str]:
    """What is in the target and not wanted there, the deepest first: other kinds, other sizes, links."""
    partial = {_partial(name) for name in want}
    kept = {name for name, one in have.items() if one.kind in ("file", "folder") and want.get(name) == one}
    kept |= {name for name, one in have.items() if one.kind == "file" and name in partial}
    return sorted(have.keys() - kept, reverse=True)


class _Get(_Copy):
    @property
    def _source(self) -> str:
        return self.there

    async def _wanted(self) -> dict[str, Entry]:
        return await listing.there(self.host, self.there)

    async def _prepare(self, want: Mapping[str, Entry]) -> set[str]:
        return await asyncio.to_thread(self._prepared, want)

    def _prepared(self, want: Mapping[str, Entry]) -> set[str]:
        if os.path.lexists(self.here) and (self.here.is_symlink() or not self.here.is_dir()):
            self.here.unlink()
        self.here.mkdir(parents=True, mode=0o700, exist_ok=True)
        have = listing.here(self.here)
        _take_away(self.here, _strays(want, have), have)
        for name in sorted(name for name, one in want.items() if one.kind == "folder"):
            (self.here / name).mkdir(mode=0o700, exist_ok=True)
        return {name for name, one in have.items() if one.kind == "file" and want.get(name) == one}

    async def _small(self, sizes: Mapping[str, int], compared: Collection[str]) -> None:
        theirs, came = await together(
            [
                listing.sums(self.host, self.there, compared),  # read there while it comes
                pieces.get(self.host, self.there, sizes, self.here, self._count),
            ]
        )
        await self._compare(compared, theirs, came)

    async def _links(self, names: Collection[str]) -> None:
        await tarstream.get_links(self.host, self.there, names, self.here, self._count)

    async def _one(self, name: str, partial: str, tick: Tick) -> None:
        await get_once(self.host, f"{self.there}/{name}", self.here / name, self.here / partial, tick)

    async def _remove(self, names: Collection[str]) -> None:
        def remove() -> None:
            for name in names:
                (self.here / name).unlink(missing_ok=True)

        await asyncio.to_thread(remove)


def _take_away(folder: Path, names: Collection[str], have: Mapping[str, Entry]) -> None:
    for name in names:
        if have[name].kind == "folder":
            (folder / name).rmdir()
        else:
            (folder / name).unlink()


class _Put(_Copy):
    @property
    def _source(self) -> str:
        return str(self.here)

    async def _wanted(self) -> dict[str, Entry]:
        return await asyncio.to_thread(listing.here, self.here)

    async def _prepare(self, want: Mapping[str, Entry]) -> set[str]:
        await self._there(_MKDIR, ())
        have = await listing.there(self.host, self.there)
        await self._there(_REMOVE, _strays(want, have))
        await self._there(_MKDIR, sorted(name for name, one in want.items() if one.kind == "folder"))
        return {name for name, one in have.items() if one.kind == "file" and want.get(name) == one}

    async def _small(self, sizes: Mapping[str, int], compared: Collection[str]) -> None:
        if sizes:
            await tarstream.put(self.host, self.here, sizes, self.there, self._count)
        await self._compare(compared, await listing.sums(self.host, self.there, compared), {})

    async def _links(self, names: Collection[str]) -> None:
        await tarstream.put(self.host, self.here, names, self.there, self._count)

    async def _one(self, name: str, partial: str, tick: Tick) -> None:
        local, target = self.here / name, f"{self.there}/{name}"
        mode = stat.S_IMODE(local.lstat().st_mode) & 0o755
        await put_once(self.host, local, target, f"{self.there}/{partial}", mode, tick)

    async def _remove(self, names: Collection[str]) -> None:
        await self._there(_REMOVE, names)

    async def _there(self, text: str, names: Collection[str]) -> None:
        given = b"".join(os.fsencode(f"./{name}") + b"\0" for name in names)
        done = await script(self.host, text, self.there, stdin=given, timeout=600)
        if not done.ok:
            why = complaint(self.host.name, done)
            raise HostError(
                self.host.name, f"{self.host.name}: {posixpath.dirname(self.there)}: {why}. Nothing was sent."
            )
