"""A CouchDB cluster as its nodes see it: members, settings, databases, copies of shards.

CouchDB's replies to set-up requests prove nothing: ``add_node`` says ok with a wrong password,
a database's shard map lists nodes that are down. So these functions look at every node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from runbook.couch.client import Client, RequestRefused
from runbook.errors import ActionFailed, RunbookError

A = TypeVar("A")
T = TypeVar("T")
#: a node's default when nothing is configured, in bytes
DEFAULT_LIMIT = 8_000_000
#: databases that servers or LMS may have made without anybody's data in them
SYSTEM = frozenset({"_users", "_replicator", "_global_changes"})


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What one node says. ``listed``: who should be there; ``connected``: who is. ``problem``:
    why it could not be asked."""

    name: str = ""
    connected: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    problem: str = ""


class Copy(msgspec.Struct, frozen=True):
    """One copy of one shard range; ``documents`` None: it is not there, ``deleted`` likewise."""

    range: str
    node: str
    documents: int | None
    deleted: int | None


async def each(function: Callable[[A], Awaitable[T]], items: Iterable[A], limit: int = 8) -> list[T]:
    """``function`` of every item, at most ``limit`` at once; results in order. The first error
    ends the others."""
    gate = asyncio.Semaphore(limit)

    async def one(item: A) -> T:
        async with gate:
            return await function(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


# ── members ────────────────────────────────────────────────────────────────────────────────
async def member(client: Client) -> Member:
    """Never raises for a node that cannot be asked: that is an answer too."""
    try:
        name = (await client.aneed("_node", "_local"))["name"]
        body = await client.aneed("_membership")
        return Member(
            name=str(name),
            connected=frozenset(map(str, body["all_nodes"])),
            listed=frozenset(map(str, body["cluster_nodes"])),
        )
    except RunbookError as error:
        return Member(problem=str(error))
    except (KeyError, TypeError):
        return Member(problem=f"{client.node} does not answer like a CouchDB node.")


async def members(clients: Mapping[str, Client]) -> dict[str, Member]:
    found = await each(member, clients.values())
    return dict(zip(clients, found, strict=True))


def unjoined(found: Mapping[str, Member], expected: Mapping[str, str]) -> list[str]:
    """Why this is not yet one cluster of exactly ``expected`` (machine -> node name), in words;
    empty when every node sees all of them, listed and connected."""
    wanted, problems = set(expected.values()), []
    for machine, one in found.items():
        if one.problem:
            problems.append(one.problem)
            continue
        for node in sorted(wanted - one.listed):
            problems.append(
                f"{machine} does not list {node}: the server may have said ok, but the node did not join; "
                "check its password."
            )
        for node in sorted((wanted & one.listed) - one.connected):
            problems.append(
                f"{machine} lists {node}, but it is not connected: check the cookie, ports 4369 and 9100, "
                "and its name."
            )
        for node in sorted(one.listed - wanted):
            problems.append(f"{machine} lists {node}, which is no machine of this site.")
    return problems


def misnamed(found: Mapping[str, Member], expected: Mapping[str, str]) -> list[str]:
    """Nodes whose name the others could never reach."""
    return [
        f"CouchDB on {machine} calls itself {one.name}, not {expected[machine]}"
        for machine, one in found.items()
        if not one.problem and one.name != expected[machine]
    ]


async def setup_state(client: Client) -> str:
    """``cluster_finished`` when the set-up is complete on that node."""
    return str((await client.aneed("_cluster_setup")).get("state"))


async def setup(client: Client, action: str, **fields: Any) -> None:
    """One step of the set-up; that it was done before is success. Raises ActionFailed."""
    reply = await client.apost("_cluster_setup", body={"action": action, **fields}, timeout=90.0)
    reason = str(reply.body.get("reason")) if isinstance(reply.body, dict) else ""
    if reply.ok or (action == "add_node" and reply.status == 409) or "is already" in reason:
        return
    raise ActionFailed(
        f"CouchDB on {client.node} refused {action} {fields.get('host', '')}: {reply.error}.",
        next="Check from that VM that the other one's port 5984 answers, and 4369 and 9100 are open.",
    )


# ── settings and work of each node ─────────────────────────────────────────────────────────
async def document_limit(client: Client) -> int:
    """max_document_size of that node, bytes."""
    reply = await client.aget("_node", "_local", "_config", "couchdb", "max_document_size")
    if reply.status == 404:
        return DEFAULT_LIMIT
    if not reply.ok:
        raise RequestRefused(client.node, "show max_document_size", reply)
    try:
        return int(str(reply.body))
    except ValueError:
        raise ActionFailed(f"max_document_size on {client.node} is {reply.body!r}, not a number.") from None


async def document_limits(clients: Mapping[str, Client]) -> dict[str, int]:
    found = await each(document_limit, clients.values())
    return dict(zip(clients, found, strict=True))


async def backlog(clients: Mapping[str, Client]) -> dict[str, int]:
    """Internal replication jobs of every node. 0 alone proves nothing: jobs may not be known yet."""
    found = await each(_jobs, clients.values())
    return dict(zip(clients, found, strict=True))


async def _jobs(client: Client) -> int:
    return int((await client.aneed("_node", "_local", "_system")).get("internal_replication_jobs", 0))


async def own_databases(client: Client) -> list[str]:
    """Databases on that node besides the system's."""
    return [name for name in await client.aneed("_all_dbs") if name not in SYSTEM]


# ── databases and the copies of their shards ───────────────────────────────────────────────
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
