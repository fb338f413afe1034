"""Folders over SSH: one tar stream through one channel (measured ten times faster than SFTP, and
more so at a distance), into ``NAME.part``, compared file by file by SHA-256, then renamed.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import shutil
import tarfile
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError as ThreadCancelled
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

from runbook.errors import HostError
from runbook.hosts.base import Tick
from runbook.hosts.channel import Channel, complaint
from runbook.hosts.files import absolute, find_sum, script
from runbook.hosts.localfiles import first_difference, manifest, part_of
from runbook.hosts.transfer import BLOCK, moving

if TYPE_CHECKING:
    from runbook.hosts.ssh import SshHost

_LONG = 4 * 3600.0
_MANIFEST_LIMIT = 256_000_000
#: names apart from sums, so that no name can be taken for anything else: for each batch the names
#: (each ended by NUL), an empty name, the sums as lines, NUL
_MANIFEST = r"""
cd -- "$1" && exec find . -type f -exec sh -c '
  printf "%s\0" "$@"; printf "\0"
  if command -v sha256sum >/dev/null 2>&1; then sha256sum -- "$@"; else openssl dgst -sha256 -r -- "$@"; fi |
    cut -c1-65
  printf "\0"' runbook {} +
"""
_RECEIVE = 'rm -rf -- "$1" && (umask 077; mkdir -p -- "$2" && mkdir -- "$1") && exec tar -xof - -C "$1"'
_SETTLE = 'if [ -e "$2" ] || [ -L "$2" ]; then echo "$2 is there by now" >&2; exit 1; fi; mv -- "$1" "$2"'


async def get_tree(host: SshHost, remote: str, local: Path, tick: Tick | None) -> None:
    source, part = absolute(remote), part_of(local)
    if await asyncio.to_thread(os.path.lexists, local):
        raise HostError(host.name, f"{local} is already there; nothing was copied.")
    size = await script(host, 'test -d "$1" && du -sk -- "$1"', source, timeout=_LONG)
    if not size.ok:
        raise HostError(
            host.name, f"{host.name}: {remote} is no folder that can be read; nothing was copied."
        )
    total = int(size.stdout.split()[0]) * 1024
    try:
        await asyncio.to_thread(_fresh, part)
        argv = ["env", "LC_ALL=C", "tar", "-C", source, "-cf", "-", "."]
        await _stream(host, argv, lambda wire: _unpack(wire, part, host.name), total, tick)
        want = await remote_manifest(host, source)
        have = await asyncio.to_thread(manifest, part)
        if difference := first_difference(want, have):
            await asyncio.to_thread(shutil.rmtree, part)
            raise HostError(
                host.name,
                f"{host.name}: {remote} and its copy are not the same: {difference}. {local} was not made.",
                next="Is something writing there? Try again.",
            )
        await asyncio.to_thread(part.rename, local)
    except (OSError, tarfile.TarError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise HostError(
            host.name,
            f"{host.name}: {remote} could not be copied to {local}: {reason}. What came is in {part}.",
        ) from error


async def put_tree(host: SshHost, local: Path, remote: str, tick: Tick | None) -> None:
    target = absolute(remote)
    part = f"{target}.part"
    there = await script(host, '[ -e "$1" ] || [ -L "$1" ]', target)
    if there.ok:
        raise HostError(host.name, f"{host.name}: {remote} is already there; nothing was copied.")
    try:
        want = await asyncio.to_thread(manifest, local)
        total = sum((local / name).stat().st_size for name in want)
        argv = ["env", "LC_ALL=C", "sh", "-c", _RECEIVE, "runbook", part, posixpath.dirname(target)]
        await _stream(host, argv, lambda wire: _pack(wire, local, host.name), total, tick)
    except (OSError, tarfile.TarError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise HostError(host.name, f"{local} could not be sent to {host.name}: {reason}.") from error
    if difference := first_difference(want, await remote_manifest(host, part)):
        raise HostError(
            host.name,
            f"{host.name}: the copy of {local} is not the same: {difference}. {remote} was not made.",
            next=f"{part} stays there; the next try begins afresh.",
        )
    settled = await script(host, _SETTLE, part, target)
    if not settled.ok:
        raise HostError(host.name, f"{host.name}: {complaint(host.name, settled)}. {remote} was not made.")


async def remote_manifest(host: SshHost, folder: str) -> dict[str, str]:
    """SHA-256 of every regular file below ``folder`` there, by its path from it."""
    done = await script(host, _MANIFEST, folder, timeout=_LONG, limit=_MANIFEST_LIMIT)
    if not done.ok or done.truncated:
        raise HostError(host.name, f"{host.name}: {folder} could not be read: {complaint(host.name, done)}.")
    try:
        return parse_manifest(done.stdout)
    except ValueError as error:
        why = f"{error}; {complaint(host.name, done)}" if done.stderr else str(error)
        raise HostError(host.name, f"{host.name}: {folder} could not be compared: {why}.") from error


def parse_manifest(raw: bytes) -> dict[str, str]:
    """Raises ValueError when names and sums do not go together one by one."""
    found: dict[str, str] = {}
    pieces = iter(raw.split(b"\0"))
    names: list[bytes] = []
    for piece in pieces:
        if piece:
            names.append(piece)
        elif names:
            sums = [find_sum(line) for line in next(pieces, b"").splitlines()]
            if len(sums) != len(names) or not all(sums):
                raise ValueError("a file changed or could not be read")
            for name, digest in zip(names, sums, strict=True):
                found[os.fsdecode(name.removeprefix(b"./"))] = digest
            names = []
    if names:
        raise ValueError("the list of files is cut off")
    return found


# ── the stream: tarfile works in a thread, the channel on the event loop ────────────────────
class _Wire:
    """What tarfile reads from or writes to; blocks its thread, never the loop."""

    def __init__(self, host: SshHost, channel: Channel, total: int, tick: Tick | None) -> None:
        self._host, self._channel, self._total, self._tick = host, channel, total, tick
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._done = 0

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (data := self._wait(self._channel.read())):
            self._rest += data
            self._count(len(data))
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def write(self, data: bytes) -> int:
        self._wait(self._channel.write(data))
        self._count(len(data))
        return len(data)

    def _wait(self, step: Coroutine[Any, Any, Any]) -> Any:
        try:
            return asyncio.run_coroutine_threadsafe(moving(self._host, step), self._loop).result()
        except ThreadCancelled as error:
            raise BrokenPipeError from error

    def _count(self, count: int) -> None:
        self._done += count
        if self._tick:
            self._loop.call_soon_threadsafe(self._tick, min(self._done, self._total), self._total)


async def _stream(
    host: SshHost, argv: list[str], work: Callable[[IO[bytes]], None], total: int, tick: Tick | None
) -> None:
    thread: asyncio.Future[None] | None = None
    try:
        async with host.command(argv) as channel:
            channel.go(eof=False)
            wire = cast("IO[bytes]", _Wire(host, channel, total, tick))
            thread = asyncio.ensure_future(asyncio.to_thread(work, wire))
            failed: Exception | None = None
            try:
                await asyncio.shield(thread)
            except (BrokenPipeError, tarfile.ReadError) as error:
                failed = error  # most likely because tar ended there: it says why
            channel.write_eof()
            await moving(host, asyncio.shield(channel.closed))
    finally:
        if thread is not None:
            await asyncio.gather(thread, return_exceptions=True)
    if channel.exit_status is None:
        raise host.lost(argv[2:])
    if channel.exit_status != 0:
        why = complaint(host.name, channel.errors.completed(channel.exit_status))
        raise HostError(host.name, f"{host.name}: the copy ended early: {why}. The target was not made.")
    if failed:
        raise failed


def _unpack(wire: IO[bytes], folder: Path, host: str) -> None:
    with tarfile.open(fileobj=wire, mode="r|", bufsize=BLOCK, errorlevel=2) as archive:
        for member in archive:
            refuse_unsafe(member, host)
            archive.extract(member, folder, filter="data")
    while wire.read(BLOCK):
        pass


def _pack(wire: IO[bytes], folder: Path, host: str) -> None:
    def clean(member: tarfile.TarInfo) -> tarfile.TarInfo:
        refuse_unsafe(member, host)
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(fileobj=wire, mode="w|", bufsize=BLOCK, format=tarfile.GNU_FORMAT) as archive:
        archive.add(folder, arcname=".", filter=clean)


def refuse_unsafe(member: tarfile.TarInfo, host: str) -> None:
    """Raises HostError for what could leave its folder or gain rights there."""
    path = PurePosixPath(member.name)
    reason = ""
    if path.is_absolute():
        reason = "absolute"
    elif ".." in path.parts:
        reason = "'..'"
    elif member.issym() or member.islnk():
        start = path.parent if member.issym() else PurePosixPath()
        inside = posixpath.normpath(str(start / member.linkname))
        if PurePosixPath(member.linkname).is_absolute() or inside.split("/")[0] == "..":
            reason = "link out"
    elif not (member.isfile() or member.isdir()):
        reason = "device"
    if not reason and member.isfile() and member.mode & 0o6000:
        reason = "setuid"
    if reason:
        raise HostError(host, f"Archive refused: member {member.name} ({reason}). The target was not made.")


def _fresh(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, mode=0o700)
