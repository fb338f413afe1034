"""Small files and links over SSH as one tar stream through one channel: measured ten times faster than
SFTP, and more so at a distance. tarfile works in a thread, the channel on the event loop.
"""

from __future__ import annotations

import asyncio
import os
import posixpath
import tarfile
from collections.abc import Callable, Collection, Coroutine, Iterable
from concurrent.futures import CancelledError as ThreadCancelled
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

from runbook.errors import HostError
from runbook.hosts.channel import Channel, complaint
from runbook.hosts.pieces import Count
from runbook.hosts.transfer import BLOCK, moving

if TYPE_CHECKING:
    from runbook.hosts.ssh import SshHost

#: one archive after another, as many as the names need
_SEND = 'cd -- "$1" && shift && exec xargs -0 tar "$@" -cf -'


async def get_links(host: SshHost, source: str, names: Collection[str], folder: Path, count: Count) -> None:
    """Those links of ``source`` there, into ``folder``, which holds everything else already. Raises
    HostError, OutcomeUnknown, OSError, tarfile.TarError."""
    given = b"".join(os.fsencode(f"./{name}") + b"\0" for name in names)
    # GNU tar takes a backslash for the beginning of something unless it is told not to; others do not
    plain = ["--no-unquote"] if any("\\" in name for name in names) else []
    argv = ["env", "LC_ALL=C", "sh", "-c", _SEND, "runbook", source, *plain]
    wanted = frozenset(names)
    await _stream(host, argv, lambda wire: unpack_links(wire, folder, host.name, wanted), count, given)


async def put(host: SshHost, folder: Path, names: Iterable[str], target: str, count: Count) -> None:
    """Those files and links of ``folder``, into one there. Raises likewise."""
    argv = ["env", "LC_ALL=C", "tar", "-C", target, "-xof", "-"]
    await _stream(host, argv, lambda wire: _pack(wire, folder, names, host.name), count)


class _Wire:
    """What tarfile reads from or writes to; blocks its thread, never the loop."""

    def __init__(self, host: SshHost, channel: Channel, count: Count) -> None:
        self._host, self._channel, self._count = host, channel, count
        self._loop = asyncio.get_running_loop()
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (data := self._wait(self._channel.read())):
            self._rest += data
            self._loop.call_soon_threadsafe(self._count, len(data))
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def write(self, data: bytes) -> int:
        self._wait(self._channel.write(data))
        self._loop.call_soon_threadsafe(self._count, len(data))
        return len(data)

    def _wait(self, step: Coroutine[Any, Any, Any]) -> Any:
        try:
            return asyncio.run_coroutine_threadsafe(moving(self._host, step), self._loop).result()
        except ThreadCancelled as error:
            raise BrokenPipeError from error


async def _stream(
    host: SshHost,
    argv: list[str],
    work: Callable[[IO[bytes]], None],
    count: Count,
    given: bytes | None = None,
) -> None:
    thread: asyncio.Future[None] | None = None
    try:
        async with host.command(argv) as channel:
            channel.go(given or b"", eof=given is not None)
            wire = cast("IO[bytes]", _Wire(host, channel, count))
            thread = asyncio.ensure_future(asyncio.to_thread(work, wire))
            failed: Exception | None = None
            try:
                await asyncio.shield(thread)
            except (BrokenPipeError, tarfile.ReadError) as error:
                failed = error  # most likely because tar ended there: it says why
            if given is None:
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


def unpack_links(wire: IO[bytes], folder: Path, host: str, names: Collection[str]) -> None:
    """One archive or several into ``folder``. Raises HostError for what leads out of it, or is no link
    among ``names``."""
    links: dict[str, str] = {}
    with tarfile.open(fileobj=wire, mode="r|", bufsize=BLOCK, errorlevel=2, ignore_zeros=True) as archive:
        for member in archive:
            refuse_unsafe(member, host)
            name = member.name.removeprefix("./")
            if name not in names or not member.issym():
                raise HostError(host, f"Archive refused: member {member.name} was not asked for.")
            links[name] = member.linkname
    while wire.read(BLOCK):
        pass
    for name, target in links.items():
        (folder / name).symlink_to(target)
    root = folder.resolve()
    for name in links:  # each alone stays inside; one through another might not
        if not (folder / name).resolve().is_relative_to(root):
            (folder / name).unlink()
            raise HostError(host, f"Archive refused: member {name} (link out). The target was not made.")


def _pack(wire: IO[bytes], folder: Path, names: Iterable[str], host: str) -> None:
    def clean(member: tarfile.TarInfo) -> tarfile.TarInfo:
        refuse_unsafe(member, host)
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(fileobj=wire, mode="w|", bufsize=BLOCK, format=tarfile.GNU_FORMAT) as archive:
        for name in names:
            archive.add(folder / name, arcname=f"./{name}", recursive=False, filter=clean)


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
