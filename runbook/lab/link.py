"""The wire between the operator's PC and one VM: a TCP relay that can be slow or cut."""

from __future__ import annotations

import asyncio
import socket

CHUNK = 256 * 1024


def reserve(port: int = 0) -> socket.socket:
    """A loopback port that is ours but refuses connections: bound, not listening. (With the
    protocol named, asyncio sets TCP_NODELAY: else each command takes 40 ms longer.)"""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held


class Link:
    """``port`` stays the same over cuts. ``rate`` is in bytes a second and ``delay`` in seconds
    each way; 0 means as fast as it goes."""

    def __init__(self) -> None:
        self._held: socket.socket | None = reserve()
        self.port: int = self._held.getsockname()[1]
        self.rate = 0.0
        self.delay = 0.0
        self._target = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def up(self) -> bool:
        return self._server is not None

    async def open(self, target: int) -> None:
        """Let connections through to ``target``, a loopback port."""
        self._target = target
        if self._server is not None:
            return
        held, self._held = self._held or reserve(self.port), None
        self._server = await asyncio.start_server(self._accept, sock=held, limit=2 * CHUNK)

    async def cut(self) -> None:
        """Refuse new connections and drop those there are."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._held is None:
            self._held = reserve(self.port)

    async def close(self) -> None:
        await self.cut()
        if self._held is not None:
            self._held.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            back, far = await asyncio.open_connection("127.0.0.1", self._target, limit=2 * CHUNK)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far))
                both.create_task(self._pump(back, writer))
            writer.close()  # sends what is left
            far.close()
        except* (OSError, asyncio.CancelledError):
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK if not self.rate else 16 * 1024):
            if self.delay or self.rate:
                await asyncio.sleep(self.delay + (len(data) / self.rate if self.rate else 0))
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
