"""Local ends of connections that go out from a machine.

The listener is ours, not the SSH connection's: after a loss its port stays the same and the next
connection through it opens SSH anew, so a client that holds the address keeps working.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import asyncssh

from runbook.errors import RunbookError
from runbook.hosts.base import Endpoint
from runbook.hosts.connection import Connection

_OPEN_LIMIT = 30.0


class Forwards:
    def __init__(self, link: Connection) -> None:
        self._link = link
        self._open: dict[tuple[str, int], asyncio.Server] = {}
        self._pumps: set[asyncio.Task[Any]] = set()
        self._lock = asyncio.Lock()

    async def open(self, address: str, port: int) -> Endpoint:
        async with self._lock:
            server = self._open.get((address, port))
            if server is None:

                async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                    task = asyncio.current_task()
                    assert task is not None
                    self._pumps.add(task)
                    task.add_done_callback(self._pumps.discard)
                    with suppress(asyncio.CancelledError):
                        await self._serve(address, port, reader, writer)

                server = await asyncio.start_server(serve, "127.0.0.1", 0)
                self._open[address, port] = server
        return Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        for server in self._open.values():
            server.close()
        self._open.clear()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(
        self, address: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection. When the far side refuses, ours is reset: nobody waits for an answer."""
        try:
            async with asyncio.timeout(_OPEN_LIMIT):
                far_reader, far_writer = await self._far_side(address, port)
        except (OSError, TimeoutError, asyncssh.Error, RunbookError):
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        except (OSError, asyncssh.Error):
            writer.transport.abort()
            far_writer.close()
        except asyncio.CancelledError:
            writer.transport.abort()
            far_writer.close()
            raise
        else:
            writer.close()
            far_writer.close()

    async def _far_side(self, address: str, port: int) -> tuple[Any, Any]:
        connection = await self._link.get()
        try:
            return await connection.open_connection(address, port, encoding=None)
        except (OSError, asyncssh.Error):
            await asyncio.sleep(0)  # a loss is noticed with the next event
            if not connection.is_closed():
                raise
        connection = await self._link.get()
        return await connection.open_connection(address, port, encoding=None)


async def _pump(reader: Any, writer: Any) -> None:
    """Bytes one way until the end, which is handed on (the other way stays open)."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
