"""A machine over SSH as a host."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh

from runbook.errors import CouldNotLook, HostError, OutcomeUnknown, TimedOut, Unreachable
from runbook.hosts import files, transfer, trees
from runbook.hosts.base import Completed, Endpoint, Machine, Sink, Tick, Trouble
from runbook.hosts.channel import Channel, NotBegun, begin, end
from runbook.hosts.collect import Collected
from runbook.hosts.connection import AcceptKey, Connection, SshOptions
from runbook.hosts.forward import Forwards
from runbook.hosts.processes import unhurried

_STATE = {True: "is stopped", False: "is STILL RUNNING", None: "could not be looked at"}
#: seconds for a shell on the machine to come up before the command begins
_BEGIN_LIMIT = 45.0
#: how often a session is asked for while the server refuses it (over two seconds)
_REFUSALS = 7


class SshHost:
    """Opened when first used; after a loss the next use opens a new connection.

    ``accept_key`` is asked about keys that are not known yet; without it they are refused.
    ``cancel_listener`` hears (gone, detail) when a cancelled command was looked at: True the
    process is stopped, False STILL RUNNING, None could not look.
    """

    def __init__(self, machine: Machine, options: SshOptions, accept_key: AcceptKey | None = None) -> None:
        self.machine, self.options = machine, options
        self.cancel_listener: Callable[[bool | None, str], None] | None = None
        self.link = Connection(machine.name, machine.address, options, accept_key)
        self._sessions = asyncio.Semaphore(options.sessions)
        self._forwards = Forwards(self.link)

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def jobs_dir(self) -> str:
        return self.options.jobs_dir

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        sink: Sink | None = None,
        limit: int = 4_000_000,
    ) -> Completed:
        output = Collected(sink, limit)
        async with self.command(argv, cwd=cwd, env=env, collected=output) as channel:
            channel.go(stdin)
            try:
                async with asyncio.timeout(timeout) as clock:
                    await asyncio.shield(channel.closed)
            except TimeoutError:
                if not clock.expired():
                    raise
                raise _Overdue(timeout) from None
            if channel.exit_status is None:
                raise self.lost(argv)
        return output.completed(channel.exit_status)

    @asynccontextmanager
    async def command(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        collected: Collected | None = None,
    ) -> AsyncIterator[Channel]:
        """A channel whose command waits for ``go()``. Leaving the block while the command runs
        (cancelled, failed, timed out) ends its process group and looks whether it is gone."""
        async with self._sessions:
            connection, channel, group = await self._begin(argv, cwd, env, collected)
            try:
                yield channel
            except BaseException as error:
                gone = await unhurried(self._end(connection, channel, group))
                if isinstance(error, _Overdue):
                    raise TimedOut(
                        self.name,
                        f"{self.name}: {argv[0]} did not end within {error.limit:g}s; on {self.name} "
                        f"the process {_STATE[gone]}.",
                        gone=gone,
                    ) from None
                if isinstance(error, asyncio.CancelledError) and self.cancel_listener:
                    self.cancel_listener(gone, f"{argv[0]} (process group {group})")
                raise
            await unhurried(self._end(connection, channel, group))

    async def _begin(
        self,
        argv: Sequence[str],
        cwd: str | None,
        env: Mapping[str, str] | None,
        collected: Collected | None,
    ) -> tuple[asyncssh.SSHClientConnection, Channel, int]:
        """Nothing has run when this fails, so a connection found dead is opened once again, and a
        refused session is asked for again: sshd counts those that are just ending."""
        reason, lost, refused = "", 0, 0
        while lost < 2 and refused < _REFUSALS:
            connection = await self.link.get()
            try:
                async with asyncio.timeout(_BEGIN_LIMIT):
                    begun = await begin(connection, argv, cwd=cwd, env=env, collected=collected)
                return connection, *begun
            except NotBegun as error:
                reason = str(error)
                if connection.is_closed():
                    lost += 1
                elif error.refused:
                    refused += 1
                    await asyncio.sleep(0.1 * refused)
                else:
                    break
            except TimeoutError:
                lost += 1
                reason = f"no answer within {_BEGIN_LIMIT:g}s"
                connection.abort()
            except FileNotFoundError:
                raise HostError(
                    self.name, f"{self.name}: there is no folder {cwd}; {argv[0]} was not started."
                ) from None
        raise Unreachable(
            self.name, f"{self.name}: {argv[0]} could not be started: {reason}. Nothing was run there."
        )

    async def _end(
        self, connection: asyncssh.SSHClientConnection, channel: Channel, group: int
    ) -> bool | None:
        if channel.closed.done() and channel.exit_status is not None:
            return True
        gone = await end(connection, group, self.options.grace)
        await asyncio.wait([channel.closed], timeout=1)
        channel.close()
        return gone

    def lost(self, argv: Sequence[str]) -> OutcomeUnknown:
        command = shlex.join(argv[:3])[:80]
        return OutcomeUnknown(
            self.name,
            f"Connection to {self.name} lost; outcome of {command} unknown.",
            next="Nothing was run again. Look at what the checks say before repeating it.",
        )

    # ── connections through it ─────────────────────────────────────────────────────────────
    async def forward(self, address: str, port: int) -> Endpoint:
        await self.link.get()
        return await self._forwards.open(address, port)

    async def can_connect(self, address: str, port: int, *, timeout: float = 10.0) -> bool:
        connection = await self.link.get()
        try:
            async with asyncio.timeout(timeout):
                _, writer = await connection.open_connection(address, port, encoding=None)
        except asyncssh.ChannelOpenError as error:
            if connection.is_closed():
                raise Unreachable(self.name, f"Connection to {self.name} lost while looking.") from error
            if error.code == asyncssh.OPEN_CONNECT_FAILED:
                return False
            raise CouldNotLook(
                f"{self.name} does not let us try {address}:{port}: {error.reason or 'no reason given'}.",
                next="Its sshd must allow TCP forwarding (AllowTcpForwarding).",
            ) from error
        except TimeoutError:
            await self.run(["true"], timeout=timeout)  # is it that port, or the machine?
            return False
        except (OSError, asyncssh.Error) as error:
            raise Unreachable(self.name, f"Connection to {self.name} lost while looking.") from error
        writer.close()
        return True

    def shell_argv(self) -> list[str]:
        options = self.options
        argv = ["ssh", *(["-F", str(options.config[0])] if options.config else [])]
        argv += ["-i", str(options.key)] if options.key else []
        argv += ["-o", f'UserKnownHostsFile="{options.known_hosts.path}"']
        argv += ["-o", f"HostKeyAlias={self.machine.address}", "-o", "StrictHostKeyChecking=yes"]
        return [*argv, "-t", "-l", options.user, "--", self.machine.address]

    async def close(self) -> None:
        await self._forwards.close()
        await self.link.close()

    # ── files ──────────────────────────────────────────────────────────────────────────────
    async def read_bytes(self, path: str, *, limit: int = 16_000_000) -> bytes | None:
        return await files.read_bytes(self, path, limit)

    async def write_bytes(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        await files.write_bytes(self, path, data, mode)

    async def put_file(
        self, local: Path, remote: str, *, mode: int = 0o600, tick: Tick | None = None
    ) -> None:
        await transfer.put_file(self, local, remote, mode, tick)

    async def get_file(self, remote: str, local: Path, *, tick: Tick | None = None) -> None:
        await transfer.get_file(self, remote, local, tick)

    async def get_tree(
        self, remote: str, local: Path, *, tick: Tick | None = None, trouble: Trouble | None = None
    ) -> None:
        await trees.get_tree(self, remote, local, tick, trouble)

    async def put_tree(
        self, local: Path, remote: str, *, tick: Tick | None = None, trouble: Trouble | None = None
    ) -> None:
        await trees.put_tree(self, local, remote, tick, trouble)


class _Overdue(Exception):
    def __init__(self, limit: float) -> None:
        self.limit = limit


__all__ = ["SshHost", "SshOptions"]
