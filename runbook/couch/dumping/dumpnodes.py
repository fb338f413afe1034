"""The nodes that a dump is read from: those that can be reached, by the address of their folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from runbook.context import Look
from runbook.couch import cluster, connect
from runbook.couch.client import Client
from runbook.errors import HostError
from runbook.hosts.base import Machine


class Reached(NamedTuple):
    """``clients``: by the address that names the node's folder in a backup; ``silent``: why others are
    not among them."""

    clients: dict[str, Client]
    silent: list[str]


@asynccontextmanager
async def reached(look: Look) -> AsyncIterator[Reached]:
    """A backup is taken most of all when a machine is gone: one that cannot be reached is left out.
    Closed on leaving, also by a cancel. Raises CouldNotLook, SecretError."""
    machines = connect.machines(look)

    async def open(machine: Machine) -> Client | str:
        try:
            return await connect.node(look, machine)
        except HostError as error:
            return str(error)

    opened = await cluster.each(open, machines)
    internal = [machine.internal for machine in machines]
    found = Reached({}, [one for one in opened if isinstance(one, str)])
    try:
        for machine, one in zip(machines, opened, strict=True):
            if isinstance(one, Client):
                # several nodes may stand at one address, on ports of their own
                own = machine.internal and internal.count(machine.internal) == 1
                found.clients[machine.internal if own else machine.name] = one
        yield found
    finally:
        for client in found.clients.values():
            client.close()
