"""This PC as a host."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from runbook.errors import CouldNotLook, HostError, TimedOut
from runbook.hosts import localfiles
from runbook.hosts.base import Completed, Endpoint, Machine, Sink, Tick, Trouble
from runbook.hosts.collect import Collected
from runbook.hosts.processes import end_argv, from_home, read_end, unhurried

OPERATOR = Machine(name="operator", role="operator", address="127.0.0.1")
#: what ending a process group may take before we say "could not look"
_END_LIMIT = 15.0


class LocalHost:
    """Commands run as children of this program, each in a session of its own.

    ``env`` is merged over this program's environment; secrets are allowed in it only as
    ``TF_VAR_…``. ``cancel_listener`` hears (gone, detail) when a cancelled command was looked at.
    """

    def __init__(self, machine: Machine = OPERATOR, jobs_dir: str | Path = "", *, grace: float = 5.0) -> None:
        self.machine = machine
        self._jobs_dir = str(jobs_dir) or ".local/state/runbook/jobs"
        self._grace = grace
        self.cancel_listener: Callable[[bool | None, str], None] | None = None

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def jobs_dir(self) -> str:
        return self._jobs_dir

    def path(self, path: str) -> Path:
        """``path`` as this PC's file system knows it."""
        return Path.home() / from_home(path)

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
        folder = self.path(cwd or ".")
        if not await asyncio.to_thread(folder.is_dir):
            raise HostError(
                self.name, f"{self.name}: there is no folder {folder}; {argv[0]} was not started."
            )
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=folder,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        except FileNotFoundError:
            return Completed(127, b"", f"{argv[0]}: not found\n".encode())
        except PermissionError:
            return Completed(126, b"", f"{argv[0]}: not permitted to be run\n".encode())
        except (OSError, ValueError) as error:
            raise HostError(self.name, f"{self.name}: {argv[0]} could not be started: {error}") from error
        output = Collected(sink, limit)
        streams = asyncio.gather(
            _feed(process.stdin, stdin),
            _drain(process.stdout, output, False),
            _drain(process.stderr, output, True),
            process.wait(),
        )
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(streams)
        except TimeoutError as error:
            gone = await self._end(process.pid, streams)
            how = {True: "It is stopped.", False: "It is STILL RUNNING.", None: "It could not be looked at."}
            raise TimedOut(
                self.name,
                f"{self.name}: {argv[0]} did not end within {timeout:g}s. {how[gone]}",
                gone=gone,
            ) from error
        except asyncio.CancelledError:
            gone = await unhurried(self._end(process.pid, streams))
            if self.cancel_listener:
                self.cancel_listener(gone, f"{argv[0]} (process group {process.pid})")
            raise
        return output.completed(process.returncode)

    async def _end(self, group: int, streams: asyncio.Future[Any]) -> bool | None:
        """End the process group, look, and let go of the pipes."""
        gone: bool | None = None
        try:
            async with asyncio.timeout(_END_LIMIT + self._grace):
                looker = await asyncio.create_subprocess_exec(
                    *end_argv(group, self._grace),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
                gone = read_end((await looker.communicate())[0])
        except (OSError, TimeoutError):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        # what it still said on the way out; a process that left the group may hold the pipes
        await asyncio.wait([streams], timeout=1)
        streams.cancel()
        await asyncio.gather(streams, return_exceptions=True)
        return gone

    async def forward(self, address: str, port: int) -> Endpoint:
        return Endpoint(address, port)

    async def can_connect(self, address: str, port: int, *, timeout: float = 10.0) -> bool:
        try:
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(address, port)
        except TimeoutError:
            return False
        except OSError as error:
            if isinstance(error, ConnectionError) or error.errno in localfiles.NOT_REACHED:
                return False
            raise CouldNotLook(f"{self.name}: {address}:{port} could not be tried: {error}") from error
        writer.close()
        return True

    def shell_argv(self) -> list[str]:
        return [os.environ.get("SHELL") or "/bin/sh"]

    async def close(self) -> None:
        """Nothing is kept open."""

    # ── files ──────────────────────────────────────────────────────────────────────────────
    async def read_bytes(self, path: str, *, limit: int = 16_000_000) -> bytes | None:
        return await asyncio.to_thread(localfiles.read_bytes, self.name, self.path(path), limit)

    async def write_bytes(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        await asyncio.to_thread(localfiles.write_bytes, self.name, self.path(path), data, mode)

    async def put_file(
        self, local: Path, remote: str, *, mode: int = 0o600, tick: Tick | None = None
    ) -> None:
        await localfiles.copy_file(self.name, local, self.path(remote), mode, tick)

    async def get_file(self, remote: str, local: Path, *, tick: Tick | None = None) -> None:
        await localfiles.copy_file(self.name, self.path(remote), local, 0o600, tick)

    async def get_tree(
        self, remote: str, local: Path, *, tick: Tick | None = None, trouble: Trouble | None = None
    ) -> None:
        await localfiles.copy_tree(self.name, self.path(remote), local, tick)

    async def put_tree(
        self, local: Path, remote: str, *, tick: Tick | None = None, trouble: Trouble | None = None
    ) -> None:
        await localfiles.copy_tree(self.name, local, self.path(remote), tick)


async def _feed(pipe: asyncio.StreamWriter | None, data: bytes) -> None:
    assert pipe is not None
    try:
        pipe.write(data)
        await pipe.drain()
        pipe.close()
        await pipe.wait_closed()
    except OSError:
        pass  # it did not want its input


async def _drain(pipe: asyncio.StreamReader | None, output: Collected, is_stderr: bool) -> None:
    assert pipe is not None
    while chunk := await pipe.read(65536):
        output.add(chunk, is_stderr)
