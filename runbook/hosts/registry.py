"""The machines of a site, as far as they are known, and one host for each, opened when first used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.errors import CouldNotLook
from runbook.hosts.base import Host, Machine
from runbook.hosts.local import OPERATOR, LocalHost
from runbook.site.model import Site

if TYPE_CHECKING:  # asyncssh takes a fifth of a second to import: only when a machine is used
    from runbook.hosts.connection import AcceptKey, SshOptions
    from runbook.hosts.keys import KnownHosts
    from runbook.hosts.ssh import SshHost

#: what steps saved so far, by output name: {"production_ips": […], "backup_ip": "…"}
Saved = Callable[[], Mapping[str, Any]]
#: asks the world for the same (``tofu output -json``); may raise, then nothing is known
AskOutputs = Callable[[], Awaitable[Mapping[str, Any]]]


class SiteHosts:
    """Paths in ``site`` are absolute (the loader makes them so).

    The listed machines of the site count first, then what steps saved, then what ``learn()`` got
    from ``ask_outputs``. When a machine's address changes, its old connection is dropped.
    """

    def __init__(
        self,
        site: Site,
        saved: Saved = dict,
        *,
        jobs_dir: Path,
        accept_key: AcceptKey | None = None,
        ask_outputs: AskOutputs | None = None,
    ) -> None:
        self.site = site
        self._saved, self._ask_outputs = saved, ask_outputs
        self._accept_key = accept_key
        self._known_hosts_file = _path(site.machines.known_hosts) or jobs_dir.parent / "known_hosts"
        self._operator = LocalHost(OPERATOR, jobs_dir)
        self._open: dict[str, SshHost] = {}
        self._learnt: Mapping[str, Any] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @cached_property
    def known_hosts(self) -> KnownHosts:
        """The site's host keys; one object, so that two machines' questions do not cross."""
        from runbook.hosts.keys import KnownHosts

        return KnownHosts(self._known_hosts_file)

    # ── which machines there are ───────────────────────────────────────────────────────────
    def machines(self) -> list[Machine]:
        machines = self.site.machines
        found: list[Machine] = []
        listed = [(item.name, item.address, item.internal) for item in machines.production]
        if not listed:
            addresses = self._output(machines.production_output)
            if isinstance(addresses, str):
                addresses = [addresses]
            listed = [("", str(address), "") for address in addresses or () if address]
        for index, (name, address, internal) in enumerate(listed, 1):
            found.append(
                Machine(
                    name=name or f"vm{index}",
                    role="production",
                    address=address,
                    internal=internal or self._internal(index),
                    index=index,
                )
            )
        backup = machines.backup
        place = backup.address if backup else self._output(machines.backup_output)
        if isinstance(place, list | tuple):
            place = place[0] if place else None
        if place:
            found.append(
                Machine(
                    name=(backup.name if backup else "") or "backup",
                    role="backup",
                    address=str(place),
                    internal=(backup.internal if backup else "") or machines.backup_internal,
                )
            )
        return found

    def select(self, target: str) -> list[Machine]:
        known = self.machines()
        production = [machine for machine in known if machine.role == "production"]
        match target:
            case "operator":
                return [OPERATOR]
            case "first production":
                found = production[:1]
            case "each production":
                found = production
            case "backup":
                found = [machine for machine in known if machine.role == "backup"]
            case "each machine":
                found = known
            case _:
                name = target.removeprefix("host:")
                found = [machine for machine in [OPERATOR, *known] if machine.name == name]
        if not found:
            names = ", ".join(machine.name for machine in known) or "none"
            raise CouldNotLook(
                f"The site knows no machine for {target!r} yet (known: {names}).",
                next="They come from [machines] in runbook.toml or from the step that creates them.",
            )
        return found

    async def learn(self) -> None:
        """Ask the world for the outputs that no step has saved (once; until something is known)."""
        if self._ask_outputs is not None and not self._learnt:
            self._learnt = await self._ask_outputs()

    def _output(self, name: str) -> Any:
        saved = self._saved().get(name)
        return saved if saved is not None else self._learnt.get(name)

    def _internal(self, index: int) -> str:
        base = self.site.machines.internal_base
        return str(ip_address(base) + index - 1) if base else ""

    # ── their hosts ────────────────────────────────────────────────────────────────────────
    async def open(self, name: str) -> Host:
        """Connects with the first thing asked of it, so that a check can say what is wrong."""
        if name == OPERATOR.name:
            return self._operator
        if not any(machine.name == name for machine in self.machines()):
            await self.learn()
        return self._host(name)

    def shell_argv(self, name: str) -> list[str]:
        """The command that opens a shell there; [] when no such machine is known yet."""
        if name == OPERATOR.name:
            return self._operator.shell_argv()
        return self._host(name).shell_argv() if self._knows(name) else []

    async def close(self) -> None:
        hosts, self._open = list(self._open.values()), {}
        await asyncio.gather(*(host.close() for host in hosts), *self._closing)

    def _knows(self, name: str) -> bool:
        return any(machine.name == name for machine in self.machines())

    def _host(self, name: str) -> SshHost:
        from runbook.hosts.ssh import SshHost

        (machine,) = self.select(f"host:{name}")
        host = self._open.get(name)
        if host is not None and host.machine != machine:
            task = asyncio.ensure_future(self._open.pop(name).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            host = None
        if host is None:
            host = self._open[name] = SshHost(machine, self._options(machine), self._accept_key)
        return host

    def _options(self, machine: Machine) -> SshOptions:
        from runbook.hosts.connection import SshOptions

        machines = self.site.machines
        return SshOptions(
            user=machines.backup_user if machine.role == "backup" else machines.user,
            known_hosts=self.known_hosts,
            key=_path(machines.key),
            ssh_config=_path(machines.ssh_config),
        )


def _path(path: str) -> Path | None:
    return Path(path).expanduser() if path else None
