"""``lab``: a fresh practice lab in a state folder of its own, ended afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from runbook.lab import control
from runbook.lab.layout import SPECS, Layout


class Lab:
    """A running lab, and short ways into it."""

    def __init__(self, state: Path, info: control.LabInfo) -> None:
        self.state, self.info, self.layout = state, info, Layout.of(state)
        self._connections: list[asyncssh.SSHClientConnection] = []

    async def call(self, verb: str, **args: Any) -> Any:
        return await control.call(self.state, verb, **args)

    async def create(self, *names: str) -> None:
        """Make VMs without OpenTofu."""
        for name in names or ("vm1", "vm2", "vm3"):
            await self.call("server_create", name=name)

    async def ssh(self, name: str, user: str = "openedx") -> asyncssh.SSHClientConnection:
        site = self.layout.site
        connection = await asyncssh.connect(
            SPECS[name].public,
            username=user,
            config=str(site / "ssh_config"),
            known_hosts=str(site / "known_hosts"),
            client_keys=[str(site / "id_ed25519")],
            agent_path=None,
        )
        self._connections.append(connection)
        return connection

    async def close(self) -> None:
        for connection in self._connections:
            connection.abort()
            await connection.wait_closed()


async def until(condition: Callable[[], Awaitable[Any]], limit: float = 15.0) -> Any:
    """The first true answer of ``condition``; fails after ``limit`` seconds."""
    end = time.monotonic() + limit
    while True:
        found = await condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {limit} s: {condition}"
        await asyncio.sleep(0.03)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    state = tmp_path / "state"
    running = Lab(state, await control.up(state))
    try:
        yield running
    finally:
        await running.close()
        await control.down(state)
