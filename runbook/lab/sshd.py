"""One VM's SSH server: commands really run, as children of the lab's daemon, in the VM's folder."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import asyncssh

from runbook.lab import processes
from runbook.lab.layout import Spec

CHUNK = 128 * 1024
#: resolves an address as a VM sees it to a loopback port; None when it refuses
Route = Callable[[str, int], int | None]


class Surroundings(Protocol):
    """What a command of one user meets: its home and its environment."""

    def home(self, user: str) -> Path: ...

    def environment(self, user: str) -> dict[str, str]: ...


class Sshd:
    """Listens on a loopback port of its own (``port``) while started."""

    def __init__(self, spec: Spec, root: Path, around: Surroundings, authorized: Path, route: Route) -> None:
        self._spec, self._root, self._around = spec, root, around
        self._authorized, self._route = authorized, route
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self.port = 0

    async def start(self, host_key: Path) -> None:
        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _Login(self._spec, self._connections, self._route),
            server_host_keys=[str(host_key)],
            authorized_client_keys=str(self._authorized),
            process_factory=self._process,
            sftp_factory=self._sftp,
            encoding=None,
            line_editor=False,
            allow_scp=True,
            agent_forwarding=False,
            # the same cipher the client prefers: twice as fast as the negotiated default
            encryption_algs=["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"],
            compression_algs=None,
            keepalive_interval=0,
        )
        self.port = self._acceptor.get_port()

    async def stop(self) -> None:
        """Close the listener and every connection; their commands end, detached jobs stay."""
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        for connection in list(self._connections):
            connection.abort()

    def _sftp(self, channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        user = channel.get_connection().get_extra_info("username")
        return _Files(channel, self._root, self._around.home(user))

    async def _process(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        user = process.get_extra_info("username")
        shell = os.environ.get("RUNBOOK_LAB_SHELL", "/bin/sh")
        argv = ["/bin/sh", "-c", process.command] if process.command is not None else [shell]
        environment = self._around.environment(user) | {
            name: value
            for name, value in process.env.items()
            if name in ("LANG", "TERM") or name[:3] == "LC_"
        }
        home = self._around.home(user)
        try:
            if process.term_type is not None:
                if process.command is None:
                    argv.append("-i")
                await processes.on_terminal(process, argv, home, environment | {"TERM": process.term_type})
            else:
                await processes.on_pipes(process, argv, home, environment)
        except OSError as error:  # the VM's folder is gone, or no process could be made
            process.stderr.write(f"{error}\n".encode())
            process.exit(255)


class _Login(asyncssh.SSHServer):
    def __init__(self, spec: Spec, connections: set[asyncssh.SSHServerConnection], route: Route) -> None:
        self._spec, self._connections, self._route = spec, connections, route
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)

    async def begin_auth(self, username: str) -> bool:
        if username not in self._spec.users and self._connection is not None:
            self._connection.set_authorized_keys(asyncssh.import_authorized_keys(""))
        return True

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        """The lab's remap: 10.0.1.10:5984 as this VM sees it is a stand-in's loopback port."""
        port = self._route(dest_host, dest_port)
        if port is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "Connection refused")
        assert self._connection is not None
        connected: Awaitable[Any] = self._connection.forward_connection("127.0.0.1", port)
        return connected


class _Files(asyncssh.SFTPServer):
    """SFTP as on a real VM: relative paths from the user's home, absolute ones as they are, but
    nothing outside the VM's own folder."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], root: Path, home: Path) -> None:
        super().__init__(channel)
        self._root, self._home = os.fsencode(root), os.fsencode(home)

    def map_path(self, path: bytes) -> bytes:
        wanted = os.path.normpath(os.path.join(self._home, path))  # noqa: PTH118 - bytes
        if wanted != self._root and not wanted.startswith(self._root + b"/"):
            raise asyncssh.SFTPPermissionDenied("outside of this practice VM's folder")
        return wanted
