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
from runbook.errors import ActionFailed, CouldNotLook, RunbookError
from runbook.together import together

A = TypeVar("A")
T = TypeVar("T")
#: a node's default when nothing is configured, in bytes
DEFAULT_LIMIT = 8_000_000
#: databases that servers or LMS may have made without anybody's data in them
SYSTEM = frozenset({"_users", "_replicator", "_global_changes"})
#: what ``setup_state`` says of a complete set-up
FINISHED = "cluster_finished"


#: hosts in a node's name that mean every machine to itself: no other node can reach it
_NOWHERE = frozenset({"", "nohost", "localhost", "127.0.0.1", "::1"})


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What one node says. ``listed``: who should be there; ``connected``: who is; ``mode``: its
    maintenance_mode, empty or false in service. ``problem``: why it could not be asked."""

    name: str = ""
    connected: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    mode: str = ""
    problem: str = ""

    @property
    def serves(self) -> bool:
        return not self.problem and self.mode not in ("true", "nolb")


async def each(function: Callable[[A], Awaitable[T]], items: Iterable[A], limit: int = 8) -> list[T]:
    """``function`` of every item, at most ``limit`` at once; results in order. The first error
    ends the others."""
    gate = asyncio.Semaphore(limit)

    async def one(item: A) -> T:
        async with gate:
            return await function(item)

    return await together(one(item) for item in items)


async def until(limit: float, look: Callable[[], Awaitable[list[str]]], pause: float = 0.5) -> list[str]:
    """Ask until there are no problems, at most ``limit`` seconds; the last problems."""
    clock = asyncio.get_running_loop().time
    end = clock() + limit
    while True:
        problems = await look()
        if not problems or clock() > end:
            return problems
        await asyncio.sleep(pause)


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
            mode=await setting(client, "couchdb", "maintenance_mode"),
        )
    except RunbookError as error:
        return Member(problem=str(error))
    except (KeyError, TypeError):
        return Member(problem=f"{client.node} does not answer like a CouchDB node.")


async def members(clients: Mapping[str, Client]) -> dict[str, Member]:
    found = await each(member, clients.values())
    return dict(zip(clients, found, strict=True))


def veteran(found: Mapping[str, Member]) -> str:
    """The machine whose node knows the cluster best: in service, listing and seeing the most. A
    blank node knows only itself, wherever it stands in the order. Raises CouldNotLook."""
    able = {machine: one for machine, one in found.items() if not one.problem}
    if not able:
        raise CouldNotLook("\n".join(one.problem for one in found.values()) or "There is no node to ask.")
    return max(able, key=lambda name: (able[name].serves, len(able[name].listed), len(able[name].connected)))


def unjoined(
    found: Mapping[str, Member], expected: Mapping[str, str], *, strangers: bool = True
) -> list[str]:
    """Why this is not yet one cluster of exactly ``expected`` (machine -> node name), in words;
    empty when every node sees all of them, listed and connected. ``strangers`` False: others may be
    listed too."""
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
        for node in sorted(one.listed - wanted) if strangers else ():
            problems.append(f"{machine} lists {node}, which is no machine of this site.")
    return problems


def misnamed(found: Mapping[str, Member], expected: Mapping[str, str]) -> list[str]:
    """Nodes whose name the others could never reach."""
    return [
        f"CouchDB on {machine} calls itself {one.name}, not {expected[machine]}"
        for machine, one in found.items()
        if not one.problem and one.name != expected[machine]
    ]


def unreachable_name(name: str) -> bool:
    """``nonode@nohost``, ``couchdb@127.0.0.1``: a node of that name can never join."""
    return name.rpartition("@")[2] in _NOWHERE


async def setup_state(client: Client) -> str:
    """``cluster_finished`` when the set-up is complete on that node."""
    return str((await client.aneed("_cluster_setup")).get("state"))


#: what the server says, with status 400, when a step of the set-up was done before
_BEFORE = {
    "enable_cluster": "Cluster is already enabled",
    "finish_cluster": "Cluster is already finished",
}


async def setup(client: Client, action: str, **fields: Any) -> None:
    """One step of the set-up; that it was done before is success. Raises ActionFailed."""
    reply = await client.apost("_cluster_setup", body={"action": action, **fields}, timeout=90.0)
    reason = reply.body.get("reason") if isinstance(reply.body, dict) else None
    if reply.ok or (action == "add_node" and reply.status == 409):
        return
    if reason is None or reason != _BEFORE.get(action):
        raise ActionFailed(
            f"CouchDB on {client.node} refused {action} {fields.get('host', '')}: {reply.error}.",
            next="Check from that VM that the other one's port 5984 answers, and 4369 and 9100 are open.",
        )


async def finish(client: Client) -> list[str]:
    """Finish the set-up from that node, which gives all others its own admin hash, uuid and secret:
    only ever from an old, good one. Why it is not finished, in words: the server waits 5 s for all
    nodes to connect and then gives up, which may be asked again. Raises ActionFailed."""
    try:
        await setup(client, "finish_cluster")
    except ActionFailed as error:
        if "timed out waiting for nodes to connect" not in error.what:
            raise
        return [error.what]
    state = await setup_state(client)
    return [] if state == FINISHED else [f"CouchDB on {client.node} says: {state}."]


# ── settings and work of each node ─────────────────────────────────────────────────────────
async def setting(client: Client, section: str, key: str) -> str:
    """That node's value; empty when there is none. Raises RequestRefused."""
    reply = await client.aget("_node", "_local", "_config", section, key)
    if reply.status == 404:
        return ""
    if not reply.ok:
        raise RequestRefused(client.node, f"show {key}", reply)
    return str(reply.body)


async def document_limit(client: Client) -> int:
    """max_document_size of that node, bytes."""
    found = await setting(client, "couchdb", "max_document_size")
    try:
        return int(found or DEFAULT_LIMIT)
    except ValueError:
        raise ActionFailed(f"max_document_size on {client.node} is {found!r}, not a number.") from None


async def document_limits(clients: Mapping[str, Client]) -> dict[str, int]:
    found = await each(document_limit, clients.values())
    return dict(zip(clients, found, strict=True))


async def own_databases(client: Client) -> list[str]:
    """Databases on that node besides the system's."""
    return [name for name in await client.aneed("_all_dbs") if name not in SYSTEM]
