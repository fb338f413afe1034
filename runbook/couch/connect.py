"""CouchDB of the site's production machines, reached through SSH.

The firewall lets nobody from outside to port 5984, so each node is met at the near end of a port
forward: as 127.0.0.1 of its own VM.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runbook.context import Look
from runbook.couch.client import Client
from runbook.couch.cluster import each
from runbook.errors import CouldNotLook
from runbook.hosts.base import Machine


def machines(look: Look) -> list[Machine]:
    """The production machines. Raises CouldNotLook when none is known yet."""
    found = look.hosts.select("each production")
    if not found:
        raise CouldNotLook("No production machine is known yet.")
    return found


def node_name(look: Look, machine: Machine) -> str:
    """What CouchDB there has to call itself."""
    return f"{look.site.couchdb.node_prefix}@{machine.internal}"


def expected(look: Look) -> dict[str, str]:
    """Machine -> node name: the cluster as it should be."""
    return {machine.name: node_name(look, machine) for machine in machines(look)}


async def node(look: Look, machine: Machine) -> Client:
    """The client of one machine. Raises HostError when the machine cannot be reached, SecretError."""
    host = await look.hosts.open(machine.name)
    endpoint = await host.forward("127.0.0.1", look.site.couchdb.port)
    password = await look.secrets.get(look.site.couchdb.password)
    return Client(endpoint, look.site.couchdb.user, password, machine.name)


async def nodes(look: Look) -> dict[str, Client]:
    """Machine -> client, in index order. The caller closes them; ``cluster`` does it by itself."""
    found = await each(lambda machine: node(look, machine), machines(look))
    return {client.node: client for client in found}


@asynccontextmanager
async def cluster(look: Look) -> AsyncIterator[dict[str, Client]]:
    """``nodes`` for the length of a block: on leaving, also by a cancel, every connection is
    closed, so that no thread goes on unseen."""
    clients = await nodes(look)
    try:
        yield clients
    finally:
        for client in clients.values():
            client.close()
