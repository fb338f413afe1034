"""The nodes of this run's cluster, looked at for the replacement of one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from runbook.context import Look
from runbook.couch import connect
from runbook.couch.client import Client
from runbook.couch.joining import lostnode, replacement
from runbook.couch.joining.lostnode import Evidence
from runbook.couch.joining.replacement import Scene
from runbook.errors import UseError
from runbook.hosts.base import Machine


class At(NamedTuple):
    """``machine``: of the replacement; ``others``: the survivors'; ``clients``: of those that take
    part, the survivors and the fresh one."""

    machine: Machine
    others: list[Machine]
    found: Scene
    clients: dict[str, Client]


@asynccontextmanager
async def seen(look: Look, name: str) -> AsyncIterator[At]:
    """``name``: the replaced machine. Raises UseError when there is none of that name."""
    machines = {machine.name: machine for machine in connect.machines(look)}
    if name not in machines:
        raise UseError(f"There is no production machine {name!r}.", next=f"There are {', '.join(machines)}.")
    expected = {} if look.site.couchdb.urls else connect.expected(look)
    silent: dict[str, str] = {}
    async with connect.cluster(look, silent) as clients:
        found = await replacement.scene(clients, name, expected, look.secrets.learn, silent)
        some = {one: clients[one] for one in found.machines if one in clients}
        yield At(machines[name], [machines[one.machine] for one in found.others], found, some)


async def evidence(look: Look, at: At, given: str = "") -> list[Evidence]:
    """Is the lost node off? ``given``: its former public address."""
    fresh = None if at.found.fresh.problem else at.found.fresh
    former = lostnode.former_address(look, at.machine, given)
    return [
        *await lostnode.connected(at.clients, at.found.others, at.found.name, fresh),
        await lostnode.address(look, at.machine, former, at.others),
    ]
