"""CouchDB's nodes: of the site's production machines through SSH, or at the addresses it names.

The firewall lets nobody from outside to port 5984, so each node is met at the near end of a port
forward: as 127.0.0.1 of its own VM. Where the settings name addresses (``couchdb.urls``), the nodes
are met there, and a node stands under its address in place of a machine's name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from runbook.context import Look
from runbook.couch.client import Client
from runbook.couch.cluster import Member, each, unreachable_name
from runbook.errors import CouldNotLook, HostError
from runbook.hosts.base import Endpoint, Machine


def machines(look: Look) -> list[Machine]:
    """The production machines. Raises CouldNotLook when none is known yet."""
    if look.site.couchdb.urls:
        return [_at(url, index) for index, url in enumerate(look.site.couchdb.urls, 1)]
    found = look.hosts.select("each production")
    if not found:
        raise CouldNotLook("No production machine is known yet.")
    return found


def _at(url: str, index: int) -> Machine:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return Machine(name=parts.netloc, role="production", address=host, internal=host, index=index)


def node_name(look: Look, machine: Machine) -> str:
    """What CouchDB there has to call itself."""
    return f"{look.site.couchdb.node_prefix}@{machine.internal}"


def expected(look: Look) -> dict[str, str]:
    """Machine -> node name: the cluster as it should be."""
    return {machine.name: node_name(look, machine) for machine in machines(look)}


def names(look: Look, found: Mapping[str, Member]) -> dict[str, str]:
    """Machine -> the name its node has to have. At addresses that the settings name, a node may
    call itself as it likes, if others can reach it under that name."""
    wanted = expected(look)
    if look.site.couchdb.urls:
        wanted |= {
            machine: one.name
            for machine, one in found.items()
            if not one.problem and not unreachable_name(one.name)
        }
    return wanted


async def node(look: Look, machine: Machine) -> Client:
    """The client of one machine. Raises HostError when the machine cannot be reached, SecretError."""
    couchdb = look.site.couchdb
    endpoint: Endpoint | str
    if couchdb.urls:
        endpoint = couchdb.urls[machine.index - 1]
    else:
        endpoint = await (await look.hosts.open(machine.name)).forward("127.0.0.1", couchdb.port)
    password = await look.secrets.get(couchdb.password)
    return Client(endpoint, couchdb.user, password, machine.name)


async def nodes(look: Look, silent: dict[str, str] | None = None) -> dict[str, Client]:
    """Machine -> client, in index order. The caller closes them; ``cluster`` does it by itself.
    ``silent``: takes the machines that cannot be reached, with the reason, instead of raising."""

    async def one(machine: Machine) -> Client | None:
        try:
            return await node(look, machine)
        except HostError as error:
            if silent is None:
                raise
            silent[machine.name] = str(error)
            return None

    found = await each(one, machines(look))
    return {client.node: client for client in found if client is not None}


@asynccontextmanager
async def cluster(look: Look, silent: dict[str, str] | None = None) -> AsyncIterator[dict[str, Client]]:
    """``nodes`` for the length of a block: on leaving, also by a cancel, every connection is
    closed, so that no thread goes on unseen."""
    clients = await nodes(look, silent)
    try:
        yield clients
    finally:
        for client in clients.values():
            client.close()
