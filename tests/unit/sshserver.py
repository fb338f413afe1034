"""An SSH server inside the test's own process; its commands are real ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from runbook.hosts.base import Machine
from runbook.hosts.connection import AcceptKey, SshOptions
from runbook.hosts.keys import KnownHosts
from runbook.hosts.ssh import SshHost

ADDRESS = "203.0.113.11"  # TEST-NET-3, mapped to loopback by an ssh_config


class _Server(asyncssh.SSHServer):
    def __init__(self, owner: SshServer) -> None:
        self.owner = owner

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.owner.connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        self.owner.logins.append(username)
        return True

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        if self.owner.forwarding:
            return True
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "not here")


@dataclass
class SshServer:
    folder: Path
    forwarding: bool = True
    commands: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    connections: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        user_key = asyncssh.generate_private_key("ssh-ed25519")
        self.key = self.folder / "id"
        user_key.write_private_key(self.key)
        self.authorized = self.folder / "authorized"
        user_key.write_public_key(self.authorized)
        self.known_hosts = KnownHosts(self.folder / "known_hosts")
        self.ssh_config = self.folder / "ssh_config"
        self.port = 0
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self, host_keys: list[Any] | None = None) -> None:
        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=lambda: _Server(self),
            server_host_keys=host_keys or [self.host_key],
            authorized_client_keys=str(self.authorized),
            process_factory=self._serve,
            encoding=None,
            line_editor=False,
        )
        self.port = self._acceptor.get_port()
        self.ssh_config.write_text(f"Host {ADDRESS}\n  HostName 127.0.0.1\n  Port {self.port}\n")

    async def stop(self) -> None:
        self.cut()
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()
            self._acceptor = None

    def cut(self) -> None:
        """Every connection is lost, as when a line breaks."""
        for connection in self.connections:
            connection.abort()
        self.connections.clear()

    def trust(self) -> None:
        self.known_hosts.trust(ADDRESS, self.host_key.convert_to_public())

    def host(self, accept_key: AcceptKey | None = None, **options: Any) -> SshHost:
        settings: dict[str, Any] = {
            "user": "somebody",
            "known_hosts": self.known_hosts,
            "key": self.key,
            "ssh_config": self.ssh_config,
            "grace": 0.5,
            "connect_timeout": 5,
        }
        machine = Machine(name="vm1", role="production", address=ADDRESS, index=1)
        return SshHost(machine, SshOptions(**(settings | options)), accept_key)

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.commands.append(process.command or "")
        child = await asyncio.create_subprocess_exec(
            *("sh", "-c", process.command or "true"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"]},
            start_new_session=True,
        )
        feeding = asyncio.ensure_future(_copy(process.stdin, child.stdin, eof=True))
        try:
            await asyncio.gather(
                _copy(child.stdout, process.stdout), _copy(child.stderr, process.stderr), child.wait()
            )
            code = child.returncode or 0
            if code < 0:
                process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
            else:
                process.exit(code)
        finally:
            feeding.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            # read to its end: what nobody reads keeps asyncio from seeing that the child is gone
            rest = [pipe.read() for pipe in (child.stdout, child.stderr) if pipe]
            await asyncio.gather(feeding, *rest, child.wait(), return_exceptions=True)


async def _copy(reader: Any, writer: Any, eof: bool = False) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if eof:
            writer.close()


async def until(true: Callable[[], object], limit: float = 20.0) -> None:
    """Poll a condition without blocking the loop."""
    async with asyncio.timeout(limit):
        while not true():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
