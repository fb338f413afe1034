"""Form one cluster of all production machines, from the first one."""

from __future__ import annotations

from typing import Any, ClassVar

from runbook import units
from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.couch import cluster, connect
from runbook.couch.client import Client
from runbook.couch.recovery import first, until
from runbook.errors import ActionFailed

_NO_ANSWER = (
    "Look at the container's log there (docker logs couchdb): with the cookie `monster`, the default, "
    "CouchDB refuses to start."
)
_BAD_NAME = (
    "No other node can reach it under that name. Set NODENAME to the machine's internal address, recreate "
    "the container, then retry."
)
_STRANGER = "A cluster that knows other machines is not the one to be formed here: look what they are."
_OWN = "Join only an empty node: its databases would be hidden or mixed with the others'."


class SetupParams(Params, frozen=True, kw_only=True):
    """``within``: how long the nodes may take to see each other."""

    within: str = "90s"


class SetupCluster:
    """One cluster of all production machines, formed from the first one."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "probe_first"
    params: ClassVar[type[Params]] = SetupParams
    outputs: ClassVar[tuple[str, ...]] = ()

    async def probe(self, look: Look, params: Any) -> Probe:
        wanted = connect.expected(look)
        async with connect.cluster(look) as clients:
            found = await cluster.members(clients)
            problems = cluster.unjoined(found, wanted) or cluster.misnamed(found, wanted)
            if not problems and (state := await cluster.setup_state(first(clients))) != "cluster_finished":
                problems = [f"The set-up is not finished: {state}."]
        if any(one.problem for one in found.values()):
            return Probe(satisfied=None, summary="Not every node can be asked.", evidence="\n".join(problems))
        if problems:
            return Probe(satisfied=False, summary="There is no cluster yet.", evidence="\n".join(problems))
        return Probe(satisfied=True, summary=f"All {len(wanted)} nodes see each other, on every node.")

    async def plan(self, look: Look, params: Any) -> Plan:
        wanted = connect.expected(look)
        async with connect.cluster(look) as clients:
            found = await cluster.members(clients)
            _refuse([one.problem for one in found.values() if one.problem], _NO_ANSWER)
            _refuse(cluster.misnamed(found, wanted), _BAD_NAME)
            strangers = sorted({node for one in found.values() for node in one.listed - set(wanted.values())})
            _refuse([f"{node} is listed, but is no machine of this site" for node in strangers], _STRANGER)
            start = next(iter(clients))
            joining = [name for name in clients if wanted[name] not in found[start].listed]
            for name in joining:
                own = await cluster.own_databases(clients[name])
                _refuse(
                    [f"CouchDB on {name} has databases of its own: {', '.join(own)}"] if own else [], _OWN
                )
        items = [f"add {wanted[name]} from {start}" for name in joining]
        return Plan(
            summary=f"join {len(wanted)} nodes into one cluster, from {start}",
            items=(*items, f"finish the set-up on {start}, then ask every node for its members"),
            changes="joins the CouchDBs of these machines into one cluster",
            data={"first": start, "joining": joining},
        )

    async def act(self, context: Context, params: Any, plan: Plan) -> Outcome:
        wanted, limit = connect.expected(context), units.parse_duration(params.within)
        settings = context.site.couchdb
        password = await context.secrets.get(settings.password)
        login = {"username": settings.user, "password": password.reveal(), "port": settings.port}
        addresses = {machine.name: machine.internal for machine in connect.machines(context)}
        async with connect.cluster(context) as clients:
            start = clients[plan.data["first"]]
            for client in clients.values():
                await cluster.setup(
                    client, "enable_cluster", bind_address="0.0.0.0", node_count=len(wanted), **login
                )
            for name in plan.data["joining"]:
                context.voice.say(f"add {wanted[name]} from {start.node}")
                await cluster.setup(start, "add_node", host=addresses[name], **login)
            context.voice.waiting("every node to list and see all others", limit)
            problems = await until(limit, lambda: _unjoined(clients, wanted))
            if problems:
                raise ActionFailed("\n".join(problems), next="Correct what is named, then retry.")
            await cluster.setup(start, "finish_cluster")
            state = await cluster.setup_state(start)
            if state != "cluster_finished":
                raise ActionFailed(f"CouchDB on {start.node} says the set-up is not finished: {state}.")
        return Outcome(summary=f"{len(wanted)} nodes are one cluster: each lists and sees all of them.")


async def _unjoined(clients: dict[str, Client], wanted: dict[str, str]) -> list[str]:
    return cluster.unjoined(await cluster.members(clients), wanted)


def _refuse(problems: list[str], next: str) -> None:
    if problems:
        raise ActionFailed(f"{'; '.join(problems)}. Nothing was changed.", next=next)
