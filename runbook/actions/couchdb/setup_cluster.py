"""Form one cluster of all production machines."""

from __future__ import annotations

from typing import Any, ClassVar

from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.couch import cluster, connect
from runbook.couch.client import Client
from runbook.couch.cluster import Member, until
from runbook.errors import ActionFailed
from runbook.units import Duration, parse_duration

_NO_ANSWER = (
    "Look at the container's log there (docker logs couchdb): with the cookie `monster`, the default, "
    "CouchDB refuses to start."
)
_BAD_NAME = (
    "No other node can reach it under that name. Set NODENAME to the machine's internal address, recreate "
    "the container, then retry."
)
_STRANGER = (
    "A cluster that knows other machines is not the one to be formed here: look what they are. A name that a "
    "node had before it was given its right one is taken out with DELETE /_node/_local/_nodes/NAME?rev=…"
)
_OWN = "Join only an empty node: its databases would be hidden or mixed with the others'."
_OTHER = "Two clusters cannot be made one: their databases would hide each other."
#: seconds in which the node that was told of a new one has to list it
_LISTED = 10.0


class SetupParams(Params, frozen=True, kw_only=True):
    """``within``: how long the nodes may take to see each other."""

    within: Duration = "90s"


class SetupCluster:
    """One cluster of all production machines, formed from the node that knows the most of them."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "probe_first"
    params: ClassVar[type[Params]] = SetupParams
    outputs: ClassVar[tuple[str, ...]] = ()

    async def probe(self, look: Look, params: Any) -> Probe:
        async with connect.cluster(look) as clients:
            found = await cluster.members(clients)
            wanted = connect.names(look, found)
            problems = cluster.unjoined(found, wanted) or cluster.misnamed(found, wanted)
            problems = problems or await _unfinished(clients)
        if any(one.problem for one in found.values()):
            return Probe(satisfied=None, summary="Not every node can be asked.", evidence="\n".join(problems))
        if problems:
            return Probe(satisfied=False, summary="There is no cluster yet.", evidence="\n".join(problems))
        return Probe(satisfied=True, summary=f"All {len(wanted)} nodes see each other, on every node.")

    async def plan(self, look: Look, params: Any) -> Plan:
        async with connect.cluster(look) as clients:
            found = await cluster.members(clients)
            wanted = connect.names(look, found)
            _refuse([one.problem for one in found.values() if one.problem], _NO_ANSWER)
            _refuse(cluster.misnamed(found, wanted), _BAD_NAME)
            strangers = sorted({node for one in found.values() for node in one.listed - set(wanted.values())})
            _refuse([f"{node} is listed, but is no machine of this site" for node in strangers], _STRANGER)
            start = cluster.veteran(found)
            joining = [name for name in clients if wanted[name] not in found[start].listed]
            for name in joining:
                _refuse(_other_cluster(name, found[name]), _OTHER)
                own = await cluster.own_databases(clients[name])
                text = f"CouchDB on {name} has databases of its own: {', '.join(own)}"
                _refuse([text] if own else [], _OWN)
            early = await cluster.own_databases(clients[start]) if joining else []
        items = [f"add {wanted[name]} from {start}" for name in joining]
        there = [name for name in clients if name not in (*joining, start)]
        items += [f"{wanted[name]} is listed on {start} already" for name in there]
        items.append(f"finish the set-up on {start}, then ask every node for its members")
        if early:
            items.append(f"keep the few copies of what is on {start} already: {', '.join(early)}")
        return Plan(
            summary=f"join {len(wanted)} nodes into one cluster, from {start}",
            items=tuple(items),
            changes="joins the CouchDBs of these machines into one cluster",
            data={"first": start, "joining": joining, "names": wanted},
        )

    async def act(self, context: Context, params: Any, plan: Plan) -> Outcome:
        wanted: dict[str, str] = plan.data["names"]
        limit, settings = parse_duration(params.within), context.site.couchdb
        password = await context.secrets.get(settings.password)
        login = {"username": settings.user, "password": password.reveal(), "port": settings.port}
        async with connect.cluster(context) as clients:
            start = clients[plan.data["first"]]
            for client in clients.values():
                await cluster.setup(
                    client, "enable_cluster", bind_address="0.0.0.0", node_count=len(wanted), **login
                )
            for name in plan.data["joining"]:
                context.voice.say(f"add {wanted[name]} from {start.node}")
                await _add(start, wanted[name], login)
            context.voice.waiting("every node to list and see all others", limit)
            _fail(await until(limit, lambda: _unjoined(clients, wanted)))
            context.voice.waiting("the set-up to be finished", limit)
            _fail(await until(limit, lambda: cluster.finish(start)))
            _fail(await _unjoined(clients, wanted) or await _unfinished(clients))
        return Outcome(summary=f"{len(wanted)} nodes are one cluster: each lists and sees all of them.")


async def _add(start: Client, node: str, login: dict[str, Any]) -> None:
    """The server says ok also when the other one refused the login: so its list is looked at."""
    prefix, _, host = node.rpartition("@")
    name = {} if prefix == "couchdb" else {"name": prefix}
    await cluster.setup(start, "add_node", host=host, **name, **login)

    async def unlisted() -> list[str]:
        found = await cluster.member(start)
        return [] if node in found.listed else [found.problem or f"{start.node} does not list {node}"]

    if await until(_LISTED, unlisted):
        raise ActionFailed(
            f"CouchDB on {start.node} said ok, but {node} did not join.",
            next="Check its password: it has to be the same on all nodes. Then retry.",
        )


def _other_cluster(machine: str, one: Member) -> list[str]:
    others = sorted(one.listed - {one.name})
    return [f"CouchDB on {machine} belongs to another cluster, with {', '.join(others)}"] if others else []


async def _unjoined(clients: dict[str, Client], wanted: dict[str, str]) -> list[str]:
    return cluster.unjoined(await cluster.members(clients), wanted)


async def _unfinished(clients: dict[str, Client]) -> list[str]:
    states = await cluster.each(cluster.setup_state, clients.values())
    return [
        f"The set-up is not finished on {machine}: {state}."
        for machine, state in zip(clients, states, strict=True)
        if state != cluster.FINISHED
    ]


def _refuse(problems: list[str], next: str) -> None:
    if problems:
        raise ActionFailed(f"{'; '.join(problems)}. Nothing was changed.", next=next)


def _fail(problems: list[str]) -> None:
    if problems:
        raise ActionFailed("\n".join(problems), next="Correct what is named, then retry.")
