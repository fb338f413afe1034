"""One SSH connection to a machine: opened when needed, kept, opened anew after a loss.

The settings are measured ones: keepalive is off by default and a frozen peer would hang for
ever; aes128-gcm moves a third more than the default cipher.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import asyncssh

from runbook.errors import HostError, HostKeyChanged, HostKeyUnknown, LoginRefused, RunbookError, Unreachable
from runbook.hosts.keys import KnownHosts, Verifier, fingerprint, lookup

#: asks a person whether this fingerprint is right: (host, fingerprint) -> yes or no
AcceptKey = Callable[[str, str], Awaitable[bool]]


@dataclass(frozen=True)
class SshOptions:
    """How machines of a site are reached. ``key`` None: ssh-agent and the ssh_config's choice."""

    user: str
    known_hosts: KnownHosts
    key: Path | None = None
    ssh_config: Path | None = None
    jobs_dir: str = ".local/state/runbook/jobs"  #: on the machine, from home
    keepalive_interval: float = 15
    keepalive_count_max: int = 4
    connect_timeout: float = 15
    login_timeout: float = 30
    sessions: int = 6  #: sshd allows 10 a connection
    grace: float = 5  #: seconds between TERM and KILL

    @property
    def config(self) -> list[Path]:
        return [self.ssh_config] if self.ssh_config and self.ssh_config.is_file() else []


class Connection:
    """``get()`` gives a live connection to ``address``, or says why there is none."""

    def __init__(self, host: str, address: str, options: SshOptions, accept_key: AcceptKey | None) -> None:
        self.host, self.address, self.options = host, address, options
        self._accept_key = accept_key
        self._connection: asyncssh.SSHClientConnection | None = None
        self._jumps: list[asyncssh.SSHClientConnection] = []
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    async def get(self) -> asyncssh.SSHClientConnection:
        """Raises Unreachable, HostKeyUnknown, HostKeyChanged, LoginRefused: nothing was run."""
        async with self._opening:
            if self._connection is None or self._connection.is_closed():
                await self._drop()
                self._connection = await self._through_jumps()
            return self._connection

    async def close(self) -> None:
        async with self._opening:
            await self._drop()

    async def _drop(self) -> None:
        gone, self._connection = [self._connection, *reversed(self._jumps)], None
        self._jumps = []
        for connection in gone:
            if connection is not None:
                connection.close()
                try:
                    await asyncio.wait_for(connection.wait_closed(), 3)
                except TimeoutError:
                    connection.abort()

    async def _through_jumps(self) -> asyncssh.SSHClientConnection:
        """ProxyJump hops are opened here one by one: asyncssh would check them against other
        known_hosts files than the site's."""
        tunnel: asyncssh.SSHClientConnection | None = None
        try:
            for user, name, port in await self._hops():
                tunnel = await self._verified(f"{self.host} (jump host {name})", name, user, port, tunnel)
                self._jumps.append(tunnel)
            return await self._verified(self.host, self.address, self.options.user, None, tunnel)
        except BaseException:
            await self._drop()
            raise

    async def _hops(self) -> list[tuple[str | None, str, int | None]]:
        def read() -> object:
            options = asyncssh.SSHClientConnectionOptions(
                host=self.address, config=self.options.config, client_keys=None, agent_path=None
            )
            return options.tunnel

        try:
            jump = await asyncio.to_thread(read)
        except (OSError, ValueError) as error:
            raise HostError(
                self.host, f"{self.options.ssh_config}: {error}. {self.host} was not contacted."
            ) from error
        hops: list[tuple[str | None, str, int | None]] = []
        for hop in str(jump).split(",") if jump else []:
            user, _, place = hop.rpartition("@")
            name, _, port = place.rpartition(":") if place.count(":") == 1 else (place, "", "")
            hops.append((user or None, name, int(port) if port else None))
        return hops

    async def _verified(
        self,
        host: str,
        address: str,
        user: str | None,
        port: int | None,
        tunnel: asyncssh.SSHClientConnection | None,
    ) -> asyncssh.SSHClientConnection:
        """Connect; a key that is not known yet is shown to a person between two connections, so
        no login is tried, and no server waits, before its key is trusted."""
        known = self.options.known_hosts
        try:
            return await self._connect(host, address, user, port, tunnel, Verifier())
        except _Unverified as refusal:
            offered = refusal.offered
        if self._accept_key is None:
            raise HostKeyUnknown(host, fingerprint(offered))
        async with known.asking:
            # who waited for the same question finds its answer in the file
            if not any(known.match(address)[0]):
                if not await self._accept_key(host, fingerprint(offered)):
                    raise HostKeyUnknown(host, fingerprint(offered))
                await asyncio.to_thread(known.trust, address, offered)
        try:
            return await self._connect(host, address, user, port, tunnel, Verifier())
        except _Unverified as refusal:
            raise HostKeyUnknown(host, fingerprint(refusal.offered)) from None

    async def _connect(
        self,
        host: str,
        address: str,
        user: str | None,
        port: int | None,
        tunnel: asyncssh.SSHClientConnection | None,
        verifier: Verifier,
    ) -> asyncssh.SSHClientConnection:
        options, known = self.options, self.options.known_hosts
        settings: dict[str, Any] = {
            "tunnel": tunnel,
            "config": options.config,
            "client_factory": lambda: verifier,
            "known_hosts": lookup(known, address, verifier),
            "host_key_alias": address,
            "server_host_key_algs": known.algorithms(address, port),
            "encryption_algs": "^aes128-gcm@openssh.com",
            "client_keys": await _key_files(host, options.key),
            "password_auth": False,
            "kbdint_auth": False,
            "agent_forwarding": False,
            "x11_forwarding": False,
            "request_pty": False,
            "keepalive_interval": options.keepalive_interval,
            "keepalive_count_max": options.keepalive_count_max,
            "connect_timeout": options.connect_timeout,
            "login_timeout": options.login_timeout,
        }
        settings |= {"username": user} if user else {}
        settings |= {"port": port} if port else {}
        if tunnel is not None:
            settings["proxy_command"] = None
        try:
            return await asyncssh.connect(address, **settings)
        except asyncssh.HostKeyNotVerifiable as error:
            _raise_for_key(host, address, known, verifier, str(error))
        except asyncssh.PermissionDenied as error:
            raise LoginRefused(
                host,
                f"{host} ({address}) refused the login of {user or 'the user of your ssh_config'}.",
                next=f"Key: {options.key or 'ssh-agent or ssh_config'}. Is its public half in "
                "~/.ssh/authorized_keys there? A key with a passphrase: ssh-add it first.",
            ) from error
        except RunbookError:
            raise
        except TimeoutError as error:
            reason = f"no answer within {options.connect_timeout:g}s"
            raise _unreachable(host, address, reason) from error
        except socket.gaierror as error:
            raise _unreachable(host, address, f"its name could not be resolved: {error.strerror}") from error
        except (OSError, asyncssh.Error) as error:
            reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
            raise _unreachable(host, address, str(reason)) from error
        except ValueError as error:
            raise HostError(host, f"{options.ssh_config}: {error}. {host} was not contacted.") from error


class _Unverified(Exception):
    def __init__(self, offered: asyncssh.SSHKey) -> None:
        self.offered = offered


def _raise_for_key(host: str, address: str, known: KnownHosts, verifier: Verifier, text: str) -> NoReturn:
    """asyncssh says the same of an unknown and of a changed key; the file tells them apart."""
    match = known.match(address, verifier.port)
    if not any(match) and verifier.offered is not None:
        raise _Unverified(verifier.offered)
    trusted = ", ".join(fingerprint(key) for key in match[0]) or "signed by a known authority"
    offered = fingerprint(verifier.offered) if verifier.offered else f"refused: {text}"
    changed = HostKeyChanged(host, trusted, offered)
    changed.next += f" Only then: ssh-keygen -R '{address}' -f '{known.path}'"
    raise changed


def _unreachable(host: str, address: str, reason: str) -> Unreachable:
    return Unreachable(
        host,
        f"{host} ({address}) cannot be reached over SSH: {reason}. Nothing was run there.",
        next="Is the machine up, and its address and firewall right?",
    )


async def _key_files(host: str, key: Path | None) -> Any:
    """What asyncssh shall log in with; () is its own choice (agent, ssh_config, default keys)."""
    if key is None:
        return ()
    try:
        return [await asyncio.to_thread(asyncssh.read_private_key, key)]
    except asyncssh.KeyEncryptionError:
        return ()  # has a passphrase: only an agent can use it
    except asyncssh.KeyImportError as error:
        if "passphrase" in str(error).lower():
            return ()
        raise LoginRefused(host, f"{key} is no private key: {error}. {host} was not contacted.") from error
    except OSError as error:
        raise LoginRefused(
            host,
            f"The key {key} cannot be read: {error.strerror}. {host} was not contacted.",
            next="Correct machines.key in runbook.toml.",
        ) from error
