"""A host for tests: this PC, its home a folder of the test, further programs first on its PATH."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from runbook.errors import TimedOut
from runbook.hosts.base import Completed, Machine, Sink, Tick, Trouble
from tests.unit.doubles import ScriptedHost, machine


class Here(ScriptedHost):
    """Really runs its commands, with ``home`` as home and as the folder of relative paths."""

    def __init__(self, name: str | Machine, home: Path) -> None:
        super().__init__(machine(name) if isinstance(name, str) else name)
        self.home = home
        self.bin = home / ".bin"
        self.bin.mkdir(parents=True, exist_ok=True)
        #: fails the n-th command from now on, to stand for an interruption at any moment
        self.stop_at: int | None = None

    def program(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def at(self, path: str) -> Path:
        return self.home / path.removeprefix("~/")

    async def _step(self) -> None:
        if self.stop_at is not None:
            self.stop_at -= 1
            if self.stop_at < 0:
                raise asyncio.CancelledError

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
        self.calls.append(list(argv))
        await self._step()
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.at(cwd or "."),
            env={**os.environ, "HOME": str(self.home), "LC_ALL": "C"}
            | {"PATH": f"{self.bin}:{os.environ['PATH']}"}
            | dict(env or {}),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate(stdin)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            raise TimedOut(self.name, f"{argv[0]} took too long", gone=True) from None
        if sink:
            sink(out + err)
        return Completed(process.returncode, out, err)

    async def read_bytes(self, path: str, *, limit: int = 16_000_000) -> bytes | None:
        await self._step()
        file = self.at(path)
        return file.read_bytes() if file.is_file() else None

    async def write_bytes(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        await self._step()
        file = self.at(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(file.name + ".tmp")
        part.write_bytes(data)
        part.chmod(mode)
        part.rename(file)

    async def put_file(
        self, local: Path, remote: str, *, mode: int = 0o600, tick: Tick | None = None
    ) -> None:
        await self.write_bytes(remote, local.read_bytes(), mode=mode)
        if tick:
            tick(1, 1)

    async def get_tree(
        self, remote: str, local: Path, *, tick: Tick | None = None, trouble: Trouble | None = None
    ) -> None:
        await self._step()
        assert not local.exists()
        await self.run(["cp", "-a", "--", remote, str(local)])
        if tick:
            tick(1, 1)
