"""The copies of every shard, looked at on the node that should hold each.

A database's shard map lists nodes that are down, and a backlog of 0 proves nothing (the jobs may
not be known yet): only the copies themselves, counted one by one, show what is where.

200 databases have 4,800 copies, so each node is asked for its own, over several connections.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from runbook.couch.client import Client, RequestRefused
from runbook.couch.cluster import Member, each, members, veteran
from runbook.errors import ActionFailed, HostError, LoginRefused

#: connections to each node, and how many copies are worth one of their own
_LANES, _WORTH = 8, 20


class Copy(msgspec.Struct, frozen=True):
    """One copy of one shard range; ``documents`` None: it is not there (``deleted`` likewise), or
    could not be looked at: then ``why``."""

    range: str
    node: str
    documents: int | None
    deleted: int | None
    why: str = ""


class ShardMap(msgspec.Struct, frozen=True):
    """Where a database's copies should be: range -> nodes. ``suffix`` sets it apart from any other
    of its name (``.1795448439``)."""

    database: str
    suffix: str
    ranges: dict[str, tuple[str, ...]]

    def file(self, range: str) -> str:
        return f"shards/{range}/{self.database}{self.suffix}"


async def create(client: Client, database: str, *, q: int, n: int, partitioned: bool = False) -> bool:
    """Make a database; False when it is there already. Raises ActionFailed."""
    more = {"partitioned": True} if partitioned else {}
    reply = await client.aput(database, q=q, n=n, **more)
    if reply.status == 412:
        return False
    if not reply.ok:
        raise ActionFailed(f"{database} could not be created on {client.node}: {reply.error}.")
    return True


def suffix(client: Client, database: str) -> str:
    """What sets this database apart from any other of its name (``.1795448439``). Blocks."""
    return _suffix(client.need("_node", "_local", "_dbs", database))


def _suffix(document: Mapping[str, object]) -> str:
    points = document.get("shard_suffix", [])
    return points if isinstance(points, str) else "".join(map(chr, points))  # type: ignore[call-overload]


# ── looking ────────────────────────────────────────────────────────────────────────────────
async def maps(client: Client, databases: Iterable[str] | None = None) -> list[ShardMap]:
    """The shard maps that node knows, of all databases when none are named. Raises ActionFailed
    when a named one does not exist."""

    async def one(name: str) -> ShardMap | None:
        reply = await client.aget("_node", "_local", "_dbs", name)
        if reply.status == 404:
            if databases is None:  # deleted since it was listed
                return None
            raise ActionFailed(f"There is no database {name} on {client.node}.")
        if not reply.ok:
            raise RequestRefused(client.node, f"show the shard map of {name}", reply)
        ranges = {str(range): tuple(map(str, nodes)) for range, nodes in reply.body["by_range"].items()}
        return ShardMap(name, _suffix(reply.body), dict(sorted(ranges.items())))

    names = list(databases) if databases is not None else await client.aneed("_all_dbs")
    return [found for found in await each(one, names) if found is not None]


_Place = tuple[int, str, str, str]  #: number, node, range, file


async def look(
    clients: Mapping[str, Client],
    databases: Iterable[str] | None = None,
    *,
    found: Mapping[str, Member] | None = None,
) -> dict[str, list[Copy]]:
    """Database -> its copies, each looked at on the node that should hold it: by that node's own
    client where there is one, else through a node that knows the cluster. ``found``: its members,
    when they were asked just now. Raises CouldNotLook, ActionFailed (no such database)."""
    found = found or await members(clients)
    through = clients[veteran(found)]
    own = {one.name: clients[machine] for machine, one in found.items() if not one.problem}
    known = await maps(through, databases)
    work: dict[Client, list[_Place]] = {}
    owners: list[str] = []
    for one in known:
        for range, nodes in one.ranges.items():
            for node in sorted(nodes):
                place = (len(owners), node, range, one.file(range))
                owners.append(one.database)
                work.setdefault(own.get(node, through), []).append(place)
    copies: dict[int, Copy] = {}
    for lane in await _lanes(work):
        copies.update(lane)
    result: dict[str, list[Copy]] = {one.database: [] for one in known}
    for number, database in enumerate(owners):
        result[database].append(copies[number])
    return result


async def _lanes(work: Mapping[Client, Sequence[_Place]]) -> list[dict[int, Copy]]:
    """Threads, so that looking is not held up by what else this program does in its own. When
    this is cancelled they end after the request they are in, or when their client is closed."""
    lanes = []
    for client, places in work.items():
        count = min(_LANES, 1 + len(places) // _WORTH)
        lanes += [(client, places[start::count]) for start in range(count)]
    stop = threading.Event()
    pool = ThreadPoolExecutor(max(1, len(lanes)), thread_name_prefix="copies")
    loop = asyncio.get_running_loop()
    try:
        return await asyncio.gather(*(loop.run_in_executor(pool, _lane, *lane, stop) for lane in lanes))
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _lane(client: Client, places: Sequence[_Place], stop: threading.Event) -> dict[int, Copy]:
    found: dict[int, Copy] = {}
    gone = ""
    for number, node, range, file in places:
        if stop.is_set():
            break
        if not gone:
            try:
                found[number] = _copy(client, node, range, file)
                continue
            except LoginRefused:
                raise
            except HostError as error:  # the rest of its copies need not be asked for
                gone = error.what
        found[number] = Copy(range, node, None, None, gone)
    return found


def _copy(client: Client, node: str, range: str, file: str) -> Copy:
    reply = client.get("_node", node, file)
    if reply.ok:
        return Copy(range, node, int(reply.body["doc_count"]), int(reply.body["doc_del_count"]))
    missing = reply.status == 404 and reply.body.get("reason") == "no_db_file"
    return Copy(range, node, None, None, "" if missing else f"{node}: {reply.error}")


async def copies(client: Client, database: str) -> list[Copy]:
    """Every copy of one database, looked at through one node. A node that is down has no copy to
    show. Raises ActionFailed when there is no such database."""
    return (await look({client.node: client}, [database]))[database]


# ── judging ────────────────────────────────────────────────────────────────────────────────
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
                problems.append(copy.why or f"There is no copy of {range} on {copy.node}.")
            elif (copy.documents, copy.deleted) != most:
                problems.append(
                    f"Replica {range} on {copy.node} has {copy.documents} of {most[0]} documents."
                    if copy.documents != most[0]
                    else f"Replica {range} on {copy.node} has {copy.deleted} of {most[1]} deletions."
                )
    return list(dict.fromkeys(problems))


class Copies(msgspec.Struct, frozen=True):
    """A database's copies in numbers: ``copies`` is the fewest that any of its ``ranges`` has,
    ``documents`` what the fullest copy of each holds, added up."""

    database: str
    ranges: int
    copies: int
    documents: int
    equal: bool


def count(database: str, found: Sequence[Copy]) -> Copies:
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


# ── at rest ────────────────────────────────────────────────────────────────────────────────
async def settled(clients: Mapping[str, Client], databases: Iterable[str], pause: float = 1.0) -> list[str]:
    """Are all copies of these databases equal, at rest? Looks twice, ``pause`` seconds apart, with
    no backlog on any node before and after; the differences in words, empty when there are none."""
    names = list(databases)
    for turn in (1, 2):
        if busy := waiting(await backlog(clients)):
            return busy
        for name, found in (await look(clients, names)).items():
            if problems := unequal(found):
                return [f"{name}: {problem}" for problem in problems]
        if turn == 1:
            await asyncio.sleep(pause)
    return waiting(await backlog(clients))


def waiting(jobs: Mapping[str, int]) -> list[str]:
    return [f"{node} has {count} replication jobs to do" for node, count in jobs.items() if count]


async def backlog(clients: Mapping[str, Client]) -> dict[str, int]:
    """Internal replication jobs of every node. 0 alone proves nothing: jobs may not be known yet."""
    found = await each(_jobs, clients.values())
    return dict(zip(clients, found, strict=True))


async def _jobs(client: Client) -> int:
    return int((await client.aneed("_node", "_local", "_system")).get("internal_replication_jobs", 0))
