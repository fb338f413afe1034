"""A cluster as it stands, also when some of it is down: that is when one has to know.

Nothing is changed, and every wait has a limit. What cannot be looked at is told, with the reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from runbook.couch import cluster, conflicts, copies
from runbook.couch.client import Client, RequestRefused
from runbook.couch.cluster import Member, each
from runbook.couch.conflicts import Conflicts
from runbook.couch.copies import Copy
from runbook.errors import CouldNotLook, RunbookError

T = TypeVar("T")
#: seconds in which a node has to greet, and each further part of the look has to be done
GREET, LIMIT = 10.0, 90.0
#: databases asked about at once (a server answers no more)
_AT_ONCE = 100


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """``mode``: maintenance_mode, empty or false in service. ``backlog``: internal replication jobs;
    0 alone proves nothing. ``problem``: why it could not be asked."""

    machine: str
    name: str = ""
    version: str = ""
    uuid: str = ""
    connected: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    mode: str = ""
    backlog: int | None = None
    problem: str = ""

    @property
    def state(self) -> str:
        if self.problem:
            return "NOT REACHED"
        return "in service" if self.mode in ("", "false") else f"maintenance_mode = {self.mode}"


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """``size`` of one copy's files, bytes; ``copies``: the fewest that any of its ``q`` shard ranges has
    of the ``n`` it should have, None when they could not be looked at; ``lag``: copies that are not
    there or hold less than their sisters, in words."""

    name: str
    documents: int
    deleted: int = 0
    size: int = 0
    q: int = 0
    n: int = 0
    copies: int | None = None
    lag: tuple[str, ...] = ()


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """``conflicts`` of _users; None when they could not be looked at. ``problems``: all that is not as
    it should be, in words; empty when all is well."""

    nodes: tuple[Node, ...]
    databases: tuple[Database, ...]
    conflicts: Conflicts | None
    problems: tuple[str, ...]


async def look(clients: Mapping[str, Client], silent: Mapping[str, str] | None = None) -> Status:
    """``silent``: machines that could not even be reached, with the reason. Raises CouldNotLook
    when no node can be asked at all."""
    asked = await each(_node, clients.values())
    nodes = [node for node, _ in asked]
    nodes += [Node(machine=machine, problem=reason) for machine, reason in (silent or {}).items()]
    found = {node.machine: member for node, member in asked if not node.problem}
    if not found:
        raise CouldNotLook("\n".join(one.problem for one in nodes) or "There is no node to ask.")
    able = {machine: clients[machine] for machine in found}
    problems = [f"{one.machine}: {one.problem}" for one in nodes if one.problem]
    problems += _of_nodes(nodes, found)
    first = able[cluster.veteran(found)]
    databases = await _within("The databases", _databases(first), problems) or []
    held = await _within("The copies of the shards", copies.look(able, found=found), problems) or {}
    quarrels = await _within("The conflicts in _users", _quarrels(first), problems)
    databases = [_with_copies(one, held.get(one.name, [])) for one in databases]
    problems += _of_databases(databases, held)
    problems += [quarrels.words()] if quarrels and quarrels.count else []
    return Status(
        nodes=tuple(nodes), databases=tuple(databases), conflicts=quarrels, problems=tuple(problems)
    )


async def _within(what: str, work: Awaitable[T], problems: list[str]) -> T | None:
    """``work``, or None and a problem: one part that cannot be looked at does not hide the others."""
    try:
        async with asyncio.timeout(LIMIT):
            return await work
    except TimeoutError:
        problems.append(f"{what} could not be looked at within {LIMIT:.0f} s.")
    except RunbookError as error:
        problems.append(f"{what} could not be looked at: {error.what}")
    return None


# ── nodes ──────────────────────────────────────────────────────────────────────────────────
async def _node(client: Client) -> tuple[Node, Member]:
    try:
        async with asyncio.timeout(LIMIT):
            welcome = (await asyncio.to_thread(client.request, "GET", (), {}, timeout=GREET)).body
            one = await cluster.member(client)
            if one.problem:
                return Node(machine=client.node, problem=one.problem), one
            jobs = await copies.backlog({client.node: client})
    except (RunbookError, TimeoutError) as error:
        reason = error.what if isinstance(error, RunbookError) else f"no answer within {LIMIT:.0f} s"
        return Node(machine=client.node, problem=reason), Member(problem=reason)
    known = welcome if isinstance(welcome, dict) else {}
    node = Node(
        machine=client.node,
        name=one.name,
        version=str(known.get("version", "")),
        uuid=str(known.get("uuid", "")),
        connected=tuple(sorted(one.connected)),
        listed=tuple(sorted(one.listed)),
        mode=one.mode,
        backlog=jobs[client.node],
    )
    return node, one


def _of_nodes(nodes: list[Node], found: Mapping[str, Member]) -> list[str]:
    """What keeps these nodes from being one good cluster."""
    expected = {machine: one.name for machine, one in found.items()}
    expected |= {node: node for one in found.values() for node in one.listed - set(expected.values())}
    problems = cluster.unjoined(found, expected)
    able = [one for one in nodes if not one.problem]
    problems += [
        f"{one.machine} is not in service: {one.state}." for one in able if one.state != "in service"
    ]
    for what, values in (
        ("version", {one.machine: one.version for one in able}),
        ("uuid, which lets logins fail at random", {one.machine: one.uuid for one in able}),
    ):
        if len(set(values.values())) > 1:
            told = ", ".join(f"{machine} {value}" for machine, value in values.items())
            problems.append(f"The nodes differ in their {what}: {told}.")
    return problems


# ── databases ──────────────────────────────────────────────────────────────────────────────
async def _databases(client: Client) -> list[Database]:
    names, found = await client.aneed("_all_dbs"), []
    for start in range(0, len(names), _AT_ONCE):
        reply = await client.apost("_dbs_info", body={"keys": names[start : start + _AT_ONCE]})
        if not reply.ok:
            raise RequestRefused(client.node, "show the databases", reply)
        found += [_database(row["info"]) for row in reply.body if row.get("info")]
    return found


def _database(info: Mapping[str, Any]) -> Database:
    return Database(
        name=str(info["db_name"]),
        documents=int(info["doc_count"]),
        deleted=int(info.get("doc_del_count", 0)),
        size=int(info.get("sizes", {}).get("file") or 0),
        q=int(info.get("cluster", {}).get("q", 0)),
        n=int(info.get("cluster", {}).get("n", 0)),
    )


def _with_copies(one: Database, held: list[Copy]) -> Database:
    if not held:
        return one
    return replace(one, copies=copies.count(one.name, held).copies, lag=tuple(copies.unequal(held)))


def _of_databases(databases: list[Database], held: Mapping[str, list[Copy]]) -> list[str]:
    """One line for each database whose copies are not equal; one for each reason that hides copies
    of many."""
    hidden = Counter(why for found in held.values() for why in {copy.why for copy in found} if why)
    problems = [f"{why} ({count} databases have copies there)" for why, count in hidden.items()]
    for one in databases:
        lag = [text for text in one.lag if text not in hidden]
        more = f" (and {len(lag) - 1} more)" if len(lag) > 1 else ""
        problems += [f"{one.name}: {lag[0]}{more}"] if lag else []
    return problems


async def _quarrels(client: Client) -> Conflicts:
    try:
        return await asyncio.to_thread(conflicts.look, [client], "_users")
    except RequestRefused as error:
        if error.status == 404:  # a server that nobody set up
            return Conflicts("_users")
        raise
