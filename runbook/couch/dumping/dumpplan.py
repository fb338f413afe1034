"""What a dump would hold: which databases, read of which nodes, how much of it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runbook import units
from runbook.couch import cluster
from runbook.couch.client import Client
from runbook.couch.cluster import Member, each
from runbook.couch.dumping import snapshot
from runbook.couch.dumping.dumpfolder import State
from runbook.errors import ActionFailed

#: never dumped: it changes with every write elsewhere, and is never restored
LEFT_OUT = frozenset({"_global_changes"})
#: what a row has besides its document, bytes
_ROW = 130
ABSENT = (
    "Left out: _local documents (checkpoints of replications), deleted documents, losing revisions of "
    "conflicts, _global_changes."
)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One database to be dumped into the folder of ``node``. ``bytes``: about what its dump takes."""

    node: str
    database: str
    identity: str
    documents: int
    bytes: int

    @property
    def name(self) -> str:
        return f"{self.node}/{self.database}"


class DumpPlan(msgspec.Struct, frozen=True, kw_only=True):
    """``each_node``: every node is dumped by itself; else they are one cluster, which is dumped
    once. ``sources``: the addresses of the nodes that are asked. ``remarks``: what is not as it should
    be, in words."""

    targets: tuple[Target, ...]
    sources: tuple[str, ...]
    each_node: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def documents(self) -> int:
        return sum(one.documents for one in self.targets)

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.targets)

    @property
    def nodes(self) -> list[str]:
        return list(dict.fromkeys(one.node for one in self.targets))

    @property
    def state(self) -> State:
        return State({one.name: one.identity for one in self.targets})

    def lines(self) -> tuple[str, ...]:
        """For a person."""
        names = [one.name if self.each_node else one.database for one in self.targets]
        width = max(map(len, names))
        return (
            *(
                f"{name:<{width}}  {one.documents} documents, about {units.size(one.bytes)}"
                for name, one in zip(names, self.targets, strict=True)
            ),
            *self.remarks,
            ABSENT,
        )


async def planned(
    clients: Mapping[str, Client],
    databases: Sequence[str] = (),
    *,
    each_node: bool = False,
    silent: Sequence[str] = (),
) -> DumpPlan:
    """Look at the nodes. ``clients``: by the address that names a node's folder; ``databases``: only
    these, empty for all; ``silent``: why other nodes are not there. Nodes that do not answer are left
    out, in ``remarks``.

    Raises ActionFailed: no node answers; they are not one cluster; a database is not there.
    """
    found = await cluster.members(clients) if len(clients) > 1 else {}
    silent = [*silent, *(one.problem for one in found.values() if one.problem)]
    there = {name: client for name, client in clients.items() if not found or not found[name].problem}
    if not there:
        raise ActionFailed(f"No node answers. Nothing was dumped. {' '.join(silent)}")
    if not each_node and (strangers := apart({name: found[name] for name in there if found})):
        raise ActionFailed(
            f"These nodes are not one cluster: {'; '.join(strangers)}. Nothing was dumped.",
            next="Form the cluster first, or dump each node by itself.",
        )
    owners = list(there) if each_node else list(there)[:1]
    targets = [one for name in owners for one in await _targets(name, there[name], databases)]
    if not targets:
        raise ActionFailed("There is no database to be dumped.")
    remarks = [f"Done without: {text}" for text in silent]
    return DumpPlan(targets=tuple(targets), sources=tuple(there), each_node=each_node, remarks=tuple(remarks))


def apart(found: Mapping[str, Member]) -> list[str]:
    """Why these nodes are not all of one cluster, in words."""
    names = [one.name for one in found.values()]
    if len(set(names)) < len(names):
        return [f"{machine} calls itself {one.name}" for machine, one in found.items()]
    return [
        f"{machine} does not {'see' if name in one.listed else 'know'} {name}"
        for machine, one in found.items()
        for name in names
        if name not in one.listed & one.connected
    ]


async def _targets(node: str, client: Client, databases: Sequence[str]) -> list[Target]:
    there = [name for name in await client.aneed("_all_dbs") if name not in LEFT_OUT]
    if missing := [name for name in databases if name not in there]:
        raise ActionFailed(f"{client.node} has no database {', '.join(missing)}. Nothing was dumped.")

    async def one(database: str) -> Target:
        info = await client.aneed(database)
        identity = await asyncio.to_thread(snapshot.identity, client, database)
        documents = int(info.get("doc_count", 0))
        size = _size(info) + documents * _ROW
        return Target(node=node, database=database, identity=identity, documents=documents, bytes=size)

    return await each(one, databases or there)


def _size(info: Mapping[str, Any]) -> int:
    sizes = info.get("sizes")
    return int(sizes.get("external") or 0) if isinstance(sizes, dict) else 0


def room(folder: Path, needed: int) -> str:
    """How much is free where ``folder`` would be, in words. Raises ActionFailed when it cannot hold
    ``needed`` bytes."""
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{units.size(free)} free in {place}, about {units.size(needed)} needed"
    if free < needed:
        raise ActionFailed(
            f"The dump does not fit: {text}. Nothing was dumped.",
            next="Make room there, or name another folder.",
        )
    return text
