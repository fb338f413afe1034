"""Big files over SSH: through one channel into ``NAME.part``, going on where a transfer stopped,
compared by SHA-256, then renamed. The target is the old file or the whole new one, never a mix.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import posixpath
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from runbook.errors import HostError, OutcomeUnknown, TimedOut, Unreachable
from runbook.hosts.base import Tick, Trouble
from runbook.hosts.channel import complaint
from runbook.hosts.files import SUM, absolute, find_sum, script
from runbook.hosts.localfiles import part_of

if TYPE_CHECKING:
    from runbook.hosts.ssh import SshHost

T = TypeVar("T")
#: what one write on a channel moves best (measured)
BLOCK = 256 * 1024
#: seconds without a byte moving
STALL = 300.0
#: seconds for hashing a file there
_HASHING = 3600.0
#: tries in a row in which no byte moved, and seconds after the first (then doubled, up to the longest)
TRIES = 6
PAUSE, LONGEST_PAUSE = 1.0, 30.0

_PREPARE = (
    SUM
    + r"""
umask 077
mkdir -p -- "$2" || exit 1
[ -f "$1" ] || exit 0
wc -c < "$1" && sum < "$1"
"""
)
_RECEIVE = r"""
umask 077
if [ "$2" = 0 ]; then exec cat > "$1"; else exec cat >> "$1"; fi
"""
_SETTLE = (
    SUM
    + r"""
[ "$(sum < "$1" | grep -c "$3")" = 1 ] || { rm -f -- "$1"; echo differs; exit 0; }
chmod "$4" "$1" && mv -f -- "$1" "$2" && echo settled
"""
)
_LOOK = (
    SUM
    + r"""
[ -f "$1" ] || { echo "No such file: $1" >&2; exit 1; }
wc -c < "$1"
[ "$2" = 0 ] || head -c "$2" "$1" | sum
"""
)
_WHOLE = SUM + r"""sum < "$1" """
#: cat moves larger pieces than tail
_SEND = r"""[ "$2" != 1 ] || exec cat -- "$1"; exec tail -c "+$2" -- "$1" """


class Differs(Exception):
    """What came is not what is there: it is tried once more."""


class _Most:
    """Passes a transfer's progress on, and keeps how far it ever was."""

    def __init__(self, tick: Tick | None) -> None:
        self._tick, self.done = tick, 0

    def __call__(self, done: int, total: int) -> None:
        self.done = max(self.done, done)
        if self._tick:
            self._tick(done, total)


async def put_file(host: SshHost, local: Path, remote: str, mode: int, tick: Tick | None) -> None:
    target, most = absolute(remote), _Most(tick)

    async def once() -> None:
        await put_once(host, local, target, f"{target}.part", mode, most)

    kept = f"{remote} is unchanged; what was sent is kept in {remote}.part."
    await resuming(host, once, kept, moved=lambda: most.done)


async def get_file(host: SshHost, remote: str, local: Path, tick: Tick | None) -> None:
    most = _Most(tick)

    async def once() -> None:
        await get_once(host, absolute(remote), local, part_of(local), most)

    kept = f"{local} is unchanged; what came is kept in {part_of(local)}."
    await resuming(host, once, kept, moved=lambda: most.done)


async def resuming(
    host: SshHost,
    once: Callable[[], Awaitable[None]],
    kept: str,
    *,
    moved: Callable[[], int] = lambda: 0,
    trouble: Trouble | None = None,
) -> None:
    """Go on after a lost connection; what is there is looked at anew each time. It is given up after
    TRIES in a row without a byte more (``moved``). Raises HostError."""
    failures, before, differed = 0, 0, False
    while True:
        try:
            await once()
            return
        except (OutcomeUnknown, Unreachable, TimedOut) as error:
            begun, now = bool(before or failures), moved()
            failures, before = (1 if now > before else failures + 1), now
            if failures == TRIES or (not begun and not now and isinstance(error, Unreachable)):
                raise Unreachable(
                    host.name, f"{error.what} {kept}", next="Try again: it goes on there."
                ) from error
            pause = min(PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
            if trouble:
                trouble(f"Connection to {host.name} lost; going on in {pause:g}s. What was moved is kept.")
            await asyncio.sleep(pause)
        except Differs as error:
            if differed:
                raise HostError(
                    host.name,
                    f"{host.name}: {error} after the transfer. The target is unchanged.",
                    next="Is another program writing there? Try again.",
                ) from error
            differed = True
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise HostError(
                host.name,
                f"{host.name}: {error.filename or 'file'}: {error.strerror}. {kept}",
                next="Make room there and try again: it goes on where it stopped." if full else "",
            ) from error


async def put_once(host: SshHost, local: Path, target: str, part: str, mode: int, tick: Tick | None) -> str:
    """One try; what ``part`` holds already is kept when it is right. Its SHA-256."""
    # not in a thread: cancelled meanwhile, nobody would close what it opened
    with _open(host, local) as file:
        return await _put(host, file, target, part, mode, tick)


async def _put(host: SshHost, file: BinaryIO, target: str, part: str, mode: int, tick: Tick | None) -> str:
    total = os.fstat(file.fileno()).st_size
    done = await script(host, _PREPARE, part, posixpath.dirname(target), timeout=_HASHING)
    if not done.ok:
        raise HostError(host.name, f"{host.name}: {part}: {complaint(host.name, done)}. Nothing was sent.")
    there = int(done.stdout.split()[0]) if done.stdout.strip() else 0
    digest = hashlib.sha256()
    if there and (there > total or await _hash(file, there, digest) != find_sum(done.stdout)):
        there, digest = 0, hashlib.sha256()
        file.seek(0)
    sent = there
    argv = ["env", "LC_ALL=C", "sh", "-c", _RECEIVE, "runbook", part, str(there)]
    async with host.command(argv) as channel:
        channel.go(eof=False)
        try:
            while block := await asyncio.to_thread(file.read, BLOCK):
                digest.update(block)
                await moving(host, channel.write(block))
                sent += len(block)
                if tick:
                    tick(sent, total)
        except BrokenPipeError:
            pass  # it ended early; its exit status says why
        channel.write_eof()
        await moving(host, asyncio.shield(channel.closed))
    if channel.exit_status is None:
        raise host.lost(argv)
    if channel.exit_status != 0:
        why = complaint(host.name, channel.errors.completed(channel.exit_status))
        raise HostError(
            host.name,
            f"{host.name}: {part} could not be written: {why}. {target} is unchanged; the part stays.",
            next="Make room there and try again: it goes on where it stopped.",
        )
    args = (part, target, digest.hexdigest(), f"{mode:o}")
    settled = await script(host, _SETTLE, *args, timeout=_HASHING)
    if settled.stdout.strip() == b"differs":
        raise Differs(f"{part} differs from what was sent")
    if settled.stdout.strip() != b"settled":
        raise HostError(
            host.name,
            f"{host.name}: {part} could not be renamed to {target}: {complaint(host.name, settled)}. "
            f"{target} is unchanged.",
        )
    return digest.hexdigest()


async def get_once(host: SshHost, source: str, local: Path, part: Path, tick: Tick | None) -> str:
    """The other way round. The file is hashed there while it comes."""
    await asyncio.to_thread(local.parent.mkdir, parents=True, exist_ok=True)
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b") as file:
        there = os.fstat(file.fileno()).st_size
        looked = await script(host, _LOOK, source, str(there), timeout=_HASHING)
        words = looked.stdout.split(b"\n")
        if not looked.ok or not words[0].strip().isdigit():
            raise HostError(host.name, f"{host.name}: {source}: {complaint(host.name, looked)}.")
        total = int(words[0])
        digest = hashlib.sha256()
        if there and (there > total or await _hash(file, there, digest) != find_sum(words[1])):
            there, digest = 0, hashlib.sha256()
            file.seek(0)
            file.truncate()
        hashing = asyncio.ensure_future(_whole(host, source))
        try:
            there = await _stream(host, source, file, there, total, digest, tick)
            hashed = await hashing
        finally:
            hashing.cancel()
            await asyncio.gather(hashing, return_exceptions=True)
        await asyncio.to_thread(os.fsync, file.fileno())
    if there != total or digest.hexdigest() != hashed:
        part.unlink()
        raise Differs(f"{part} differs from {source}")
    await asyncio.to_thread(part.replace, local)
    return hashed


async def _whole(host: SshHost, source: str) -> str:
    done = await script(host, _WHOLE, source, timeout=_HASHING)
    if not done.ok:
        raise HostError(host.name, f"{host.name}: {source}: {complaint(host.name, done)}.")
    return find_sum(done.stdout)


async def _stream(
    host: SshHost,
    source: str,
    file: BinaryIO,
    begin: int,
    total: int,
    digest: hashlib._Hash,
    tick: Tick | None,
) -> int:
    """From ``begin`` to its end into ``file``; how far it came."""
    there = begin

    def take(block: bytes) -> None:
        file.write(block)
        digest.update(block)

    argv = ["env", "LC_ALL=C", "sh", "-c", _SEND, "runbook", source, str(begin + 1)]
    async with host.command(argv) as channel:
        channel.go()
        while block := await moving(host, channel.read()):
            await asyncio.to_thread(take, block)
            there += len(block)
            if tick:
                tick(there, total)
    if channel.exit_status is None:
        raise host.lost(argv)
    if channel.exit_status != 0:
        why = complaint(host.name, channel.errors.completed(channel.exit_status))
        raise HostError(host.name, f"{host.name}: {source}: {why}. The target is unchanged.")
    return there


def _open(host: SshHost, local: Path) -> BinaryIO:
    try:
        return local.open("rb")
    except OSError as error:
        raise HostError(host.name, f"{local} cannot be read: {error.strerror}. Nothing was sent.") from error


async def _hash(file: BinaryIO, count: int, digest: hashlib._Hash) -> str:
    """The SHA-256 of the first ``count`` bytes; the file is then at that place."""

    def work() -> str:
        left = count
        while left and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
        return digest.hexdigest()

    return await asyncio.to_thread(work)


async def moving(host: SshHost, step: Awaitable[T]) -> T:
    try:
        return await asyncio.wait_for(step, STALL)
    except TimeoutError as error:
        raise TimedOut(
            host.name, f"{host.name}: no byte moved for {STALL:g}s; the transfer was ended.", gone=None
        ) from error
