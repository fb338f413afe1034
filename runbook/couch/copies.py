"""The copies of every shard, looked at on the node that should hold each.

A database's shard map lists nodes that are down, and a backlog of 0 proves nothing (the jobs may
not be known yet): only the copies themselves, counted one by one, show what is where.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from runbook.couch.client import Client, RequestRefused
from runbook.couch.cluster import each
from runbook.errors import ActionFailed


class Copy(msgspec.Struct, frozen=True):
    """One copy of one shard range; ``documents`` None: it is not there, ``deleted`` likewise."""

    range: str
    node: str
    documents: int | None
    deleted: int | None


async def create(client: Client, database: str, *, q: int, n: int) -> bool:
    """Make a database; False when it is there already. Raises ActionFailed."""
    reply = await client.aput(database, q=q, n=n)
    if reply.status == 412:
        return False
    if not reply.ok:
        raise ActionFailed(f"{database} could not be created on {client.node}: {reply.error}.")
    return True


async def shards(client: Client, database: str) -> dict[str, list[str]] | None:
    """Range -> nodes that should hold it; None when there is no such database."""
    reply = await client.aget(database, "_shards")
    if reply.status == 404:
        return None
    if not reply.ok:
        raise RequestRefused(client.node, f"show the shards of {database}", reply)
    return {str(range): list(map(str, nodes)) for range, nodes in reply.body["shards"].items()}


def suffix(client: Client, database: str) -> str:
    """What sets this database apart from any other of its name (``.1795448439``). Blocks."""
    points = client.need("_node", "_local", "_dbs", database).get("shard_suffix", [])
    return points if isinstance(points, str) else "".join(map(chr, points))


async def copies(client: Client, database: str) -> list[Copy]:
    """Every copy of every range, looked at on the node that should hold it (through ``client``).
    A node that is down has no copy to show. Raises ActionFailed when there is no such database."""
    ranges = await shards(client, database)
    if ranges is None:
        raise ActionFailed(f"There is no database {database} on {client.node}.")
    end = await asyncio.to_thread(suffix, client, database)
    places = [(range, node) for range, nodes in sorted(ranges.items()) for node in sorted(nodes)]

    async def copy(place: tuple[str, str]) -> Copy:
        range, node = place
        reply = await client.aget("_node", node, f"shards/{range}/{database}{end}")
        if not reply.ok:
            return Copy(range, node, None, None)
        return Copy(range, node, int(reply.body["doc_count"]), int(reply.body["doc_del_count"]))

    return await each(copy, places)


def misplaced(found: Iterable[Copy], nodes: Iterable[str], n: int) -> list[str]:
    """Ranges without ``n`` copies on the ``nodes`` of this cluster, in words."""
    known, by_range = set(nodes), _by_range(found)
    problems = []
    for range, group in by_range.items():
        there = [copy for copy in group if copy.documents is not None and copy.node in known]
        if len(there) != n:
            gone = ", ".join(copy.node for copy in group if copy not in there)
            problems.append(
                f"{range}: {len(there)} of {n} copies" + (f", none to be seen on {gone}" if gone else "")
            )
    return problems


def unequal(found: Iterable[Copy]) -> list[str]:
    """Copies that hold less than their sisters, in words."""
    problems = []
    for range, group in _by_range(found).items():
        most = max((copy.documents or 0, copy.deleted or 0) for copy in group)
        for copy in group:
            if copy.documents is None:
                problems.append(f"There is no copy of {range} on {copy.node}.")
            elif (copy.documents, copy.deleted) != most:
                problems.append(
                    f"Replica {range} on {copy.node} has {copy.documents} of {most[0]} documents."
                )
    return problems


class Copies(msgspec.Struct, frozen=True):
    """A database's copies in numbers: ``copies`` is the fewest that any of its ``ranges`` has,
    ``documents`` what the fullest copy of each holds, added up."""

    database: str
    ranges: int
    copies: int
    documents: int
    equal: bool


async def counted(client: Client, database: str) -> Copies:
    """Looks at every copy. Raises ActionFailed when there is no such database."""
    found = await copies(client, database)
    groups = _by_range(found).values()
    return Copies(
        database=database,
        ranges=len(groups),
        copies=min((sum(copy.documents is not None for copy in group) for group in groups), default=0),
        documents=sum(max(copy.documents or 0 for copy in group) for group in groups),
        equal=not unequal(found),
    )


def _by_range(found: Iterable[Copy]) -> dict[str, list[Copy]]:
    groups: dict[str, list[Copy]] = {}
    for copy in found:
        groups.setdefault(copy.range, []).append(copy)
    return groups


async def settled(clients: Mapping[str, Client], databases: Iterable[str], pause: float = 1.0) -> list[str]:
    """Are all copies of these databases equal, at rest? Looks twice, ``pause`` seconds apart, with
    no backlog on any node; the differences in words, empty when there are none."""
    names, first = list(databases), next(iter(clients.values()))
    for turn in (1, 2):
        waiting = [
            f"{node} has {jobs} replication jobs to do"
            for node, jobs in (await backlog(clients)).items()
            if jobs
        ]
        if waiting:
            return waiting
        for name in names:
            if problems := unequal(await copies(first, name)):
                return [f"{name}: {problem}" for problem in problems]
        if turn == 1:
            await asyncio.sleep(pause)
    return []


async def backlog(clients: Mapping[str, Client]) -> dict[str, int]:
    """Internal replication jobs of every node. 0 alone proves nothing: jobs may not be known yet."""
    found = await each(_jobs, clients.values())
    return dict(zip(clients, found, strict=True))


async def _jobs(client: Client) -> int:
    return int((await client.aneed("_node", "_local", "_system")).get("internal_replication_jobs", 0))
