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


async def own_databases(client: Client) -> list[str]:
    """Databases on that node besides the system's."""
    return [name for name in await client.aneed("_all_dbs") if name not in SYSTEM]
