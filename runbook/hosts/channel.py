"""One command on one SSH channel: begins only when told, is read with bounded memory, and can be
ended and looked at from a second channel.

Nothing else stops a quiet remote process without a terminal: not closing the channel, not
cancelling the task, not an SSH signal (measured).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from signal import Signals
from typing import cast

import asyncssh

from runbook.hosts.base import Completed
from runbook.hosts.collect import Collected
from runbook.hosts.processes import begin_line, end_argv, read_end

#: how much chatter of a login shell is read while waiting for our line
_CHATTER = 64_000
#: unread bytes after which a streaming reader lets the other side wait
_AHEAD = 1 << 20


class NotBegun(Exception):
    """The channel was lost or refused before the command began: nothing was run. ``refused``: the
    server has no session left for us."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(text)


class Channel(asyncssh.SSHClientSession[bytes]):
    """The receiving side. With ``collected`` output goes there as it comes (stdout and stderr in
    the order of arrival); without, stdout waits to be ``read()`` and stderr is kept (bounded)."""

    def __init__(self, nonce: str, collected: Collected | None) -> None:
        loop = asyncio.get_running_loop()
        self._nonce = nonce.encode()
        self._collected = collected
        self._head: bytearray | None = bytearray()  # before our line; None after it
        self._chunks: list[bytes] = []
        self._waiting = 0
        self._whole = False
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.errors = Collected(None, _CHATTER)
        self.begun: asyncio.Future[int] = loop.create_future()
        self.begun.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.closed: asyncio.Future[None] = loop.create_future()
        self.exit_status: int | None = None
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    # ── what asyncssh calls ────────────────────────────────────────────────────────────────
    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        is_stderr = datatype is not None
        if self._head is not None:
            if is_stderr:
                self.errors.add(data, True)
            else:
                self._look_for_our_line(data)
        elif self._collected is not None:
            self._collected.add(data, is_stderr)
        elif is_stderr:
            self.errors.add(data, True)
        else:
            self._chunks.append(data)
            self._waiting += len(data)
            self._more.set()
            if self._waiting > _AHEAD and self._channel:
                self._channel.pause_reading()

    def _look_for_our_line(self, data: bytes) -> None:
        assert self._head is not None
        self._head += data
        at = self._head.find(self._nonce + b" ")
        end = self._head.find(b"\n", at)
        if at < 0 or end < 0:
            del self._head[:-_CHATTER]
            return
        group, rest = bytes(self._head[at + len(self._nonce) + 1 : end]), bytes(self._head[end + 1 :])
        self._head = None
        if not self.begun.done():
            if group.isdigit():
                self.begun.set_result(int(group))
            else:
                self.begun.set_exception(FileNotFoundError())
        if rest:
            self.data_received(rest, None)

    def exit_status_received(self, status: int) -> None:
        self.exit_status = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        number = Signals.__members__.get(f"SIG{signal}")
        self.exit_status = -number if number else -99

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def eof_received(self) -> bool:
        self._whole = True
        return True  # our side stays open until it is closed

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._whole:
            self.exit_status = None  # it may come before the last of the output, which is lost now
        self._writable.set()
        self._more.set()
        if not self.begun.done():
            self.begun.set_exception(NotBegun(str(exc or "the session ended at once")))
        if not self.closed.done():
            self.closed.set_result(None)

    # ── what we call ───────────────────────────────────────────────────────────────────────
    def go(self, stdin: bytes = b"", *, eof: bool = True) -> None:
        """Let the command begin, with this input."""
        try:
            self._wire.write(self._nonce + b"\n")
            if stdin:
                self._wire.write(stdin)
            if eof:
                self._wire.write_eof()
        except OSError:
            pass  # it has ended already; its exit status says how

    async def write(self, data: bytes) -> None:
        """Raises BrokenPipeError when the command has ended."""
        self._wire.write(data)
        await self._writable.wait()
        if self.closed.done():
            raise BrokenPipeError

    def write_eof(self) -> None:
        if not self.closed.done():
            self._wire.write_eof()

    async def read(self) -> bytes:
        """What came of stdout meanwhile, at least a byte; empty at its end."""
        while not self._chunks:
            if self.closed.done():
                return b""
            self._more.clear()
            await self._more.wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._waiting = 0
        if self._channel:
            self._channel.resume_reading()
        return data

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    @property
    def _wire(self) -> asyncssh.SSHClientChannel[bytes]:
        assert self._channel is not None
        return self._channel


async def begin(
    connection: asyncssh.SSHClientConnection,
    argv: Sequence[str],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    collected: Collected | None = None,
) -> tuple[Channel, int]:
    """A channel whose command is ready to ``go()``, and its process group. Raises NotBegun, or
    FileNotFoundError when there is no such ``cwd``."""
    nonce = secrets.token_hex(8)
    try:
        _, session = await connection.create_session(
            lambda: Channel(nonce, collected), begin_line(nonce, argv, cwd=cwd, env=env), encoding=None
        )
    except (OSError, asyncssh.Error) as error:
        raise NotBegun(str(error), refused=isinstance(error, asyncssh.ChannelOpenError)) from error
    channel = cast(Channel, session)
    try:
        return channel, await asyncio.shield(channel.begun)
    except BaseException:
        channel.close()  # it reads the end of its input and goes away
        if not channel.begun.done():
            channel.begun.cancel()
        raise


async def end(connection: asyncssh.SSHClientConnection, group: int, grace: float) -> bool | None:
    """End a process group on a channel of its own and look. None: could not look."""
    if connection.is_closed():
        return None
    collected = Collected(None, 1000)
    try:
        async with asyncio.timeout(grace + 15):
            channel, _ = await begin(connection, end_argv(group, grace), collected=collected)
            channel.go()
            await channel.closed
    except (NotBegun, OSError, TimeoutError):
        return None
    return read_end(collected.completed(channel.exit_status).stdout)


def complaint(host: str, done: Completed) -> str:
    """What a command of ours said went wrong, in one line."""
    text = done.stderr.decode(errors="replace").strip().splitlines()
    causes = [line for line in text if not line.startswith("tar: Exiting with failure")]
    return causes[-1] if causes else f"exit status {done.exit_status} on {host}"
