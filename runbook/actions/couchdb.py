"""Form the cluster, create the databases, restore the documents. The work is in runbook/couch."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import msgspec

from runbook import units
from runbook.action import NoParams, Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.couch import checkpoint, cluster, connect
from runbook.couch.checkpoint import Checkpoint
from runbook.couch.client import Client
from runbook.couch.compare import Comparison
from runbook.couch.recovery import (
    answered,
    contents,
    copies_wanted,
    database_names,
    failure,
    first,
    lacking,
    restore_one,
    surveyed,
    until,
)
from runbook.couch.restore import Result
from runbook.couch.survey import Survey
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
_POOR = (
    "A database made before the nodes joined has too few copies, for ever. Delete it if it holds nothing, "
    "and have it created again; check that every node is connected."
)


#: seconds to wait for level copies before they are put on record
COPIES_LIMIT = 120.0


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


class Create:
    """The backup's databases and the system's, empty, with all copies of all shards."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "safe"
    params: ClassVar[type[Params]] = NoParams
    outputs: ClassVar[tuple[str, ...]] = ()

    async def probe(self, look: Look, params: Any) -> Probe:
        names, n = database_names(look), copies_wanted(look)
        async with connect.cluster(look) as clients:
            poor = await lacking(look, first(clients), names)
        if poor:
            return Probe(
                satisfied=False,
                summary=f"{len(poor)} of {len(names)} databases are not there as they should be.",
                evidence="\n".join(poor),
            )
        return Probe(satisfied=True, summary=f"All {len(names)} databases are there, with {n} copies each.")

    async def plan(self, look: Look, params: Any) -> Plan:
        names, q, n = database_names(look), look.site.couchdb.q, copies_wanted(look)
        async with connect.cluster(look) as clients:
            one, there, poor = first(clients), [], []
            for name in names:
                if await cluster.shards(one, name) is not None:
                    there.append(name)
                    poor += await lacking(look, one, (name,))
            _refuse(poor, _POOR)
        items = [f"create {name} with {q} shards in {n} copies" for name in names if name not in there]
        items += [f"{name} is there already, with all its copies" for name in there]
        return Plan(
            summary=f"create {len(names) - len(there)} databases",
            items=tuple(items),
            changes="creates databases in the CouchDB cluster",
            data={"create": [name for name in names if name not in there], "q": q, "n": n},
        )

    async def act(self, context: Context, params: Any, plan: Plan) -> Outcome:
        names = database_names(context)
        async with connect.cluster(context) as clients:
            one = first(clients)
            for name in plan.data["create"]:
                made = await cluster.create(one, name, q=plan.data["q"], n=plan.data["n"])
                context.voice.say(f"{name}: {'created' if made else 'is there already'}")
            context.voice.waiting("every copy of every shard to be there", 60)
            poor = await until(60, lambda: lacking(context, one, names))
        if poor:
            raise ActionFailed("\n".join(poor), next=_POOR)
        return Outcome(summary=f"{len(names)} databases, each shard in {plan.data['n']} copies.")


class Restore:
    """The documents of the backup, into empty databases; compared afterwards."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "safe"
    params: ClassVar[type[Params]] = NoParams
    outputs: ClassVar[tuple[str, ...]] = ("restored",)

    async def probe(self, look: Look, params: Any) -> Probe:
        async with connect.cluster(look) as clients:
            try:
                found = await surveyed(look)
            except ActionFailed as error:
                return Probe(satisfied=False, summary=error.what.splitlines()[0], evidence=error.what)
            client = first(clients)
            compared = [await contents(client, one, sample=0) for one in found.selections.values()]
        there, expected = sum(one.there for one in compared), sum(one.expected for one in compared)
        satisfied = all(one.same for one in compared) and not found.questions
        summary = f"{there} of {expected} documents are there."
        if found.questions:
            summary += f" A person has to choose the copy of {', '.join(found.questions)}."
        return Probe(
            satisfied=satisfied,
            summary=summary,
            evidence="\n".join(f"{one.database}: {one.words() or 'all there'}" for one in compared),
            outputs={"restored": {one.database: one.actual for one in compared}} if satisfied else {},
        )

    async def plan(self, look: Look, params: Any) -> Plan:
        async with connect.cluster(look) as clients:
            limits = await cluster.document_limits(clients)
            found = await surveyed(look, limit=min(limits.values()))
            begun = Checkpoint(look.run_dir)
            for name in (*found.selections, *found.questions):
                await asyncio.to_thread(checkpoint.ready, first(clients), name, begun)
        total = sum(one.expected for one in found.selections.values())
        count = len(found.selections) + len(found.questions)
        return Plan(
            summary=f"restore {total} documents into {count} databases",
            items=found.lines(),
            changes="writes the backup's documents into the platform's databases",
            data=msgspec.to_builtins(found),
        )

    async def act(self, context: Context, params: Any, plan: Plan) -> Outcome:
        found = msgspec.convert(plan.data, Survey)
        chosen = await answered(context, found)
        begun = Checkpoint(context.run_dir)
        async with connect.cluster(context) as clients:
            limits = await cluster.document_limits(clients)
            if found.limit and min(limits.values()) < found.limit:
                raise ActionFailed("max_document_size changed since the plan. Nothing was restored.")
            # every target is looked at before the first document is written anywhere
            targets = {}
            for one in chosen:
                targets[one.database] = await asyncio.to_thread(
                    checkpoint.ready, first(clients), one.database, begun
                )
            done: list[tuple[Result, Comparison]] = []
            for one in chosen:
                nodes = tuple(source.node for source in one.sources)
                begun.begin(one.database, targets[one.database], nodes)
                done.append(await restore_one(context, clients, one))
            await _note_copies(context, clients, [one.database for one in chosen])
        if failed := [pair for pair in done if not pair[1].same or pair[0].refused]:
            raise ActionFailed(
                "\n".join(failure(result, compared) for result, compared in failed),
                next="The reason for every document is in the output. A retry sends only what is missing.",
            )
        counts = {compared.database: compared.actual for _, compared in done}
        return Outcome(
            summary=f"{sum(counts.values())} documents restored into {len(counts)} databases, ids and "
            "revisions compared with the backup.",
            outputs={"restored": counts},
        )


async def _note_copies(context: Context, clients: dict[str, Client], databases: list[str]) -> None:
    """Put on record what every copy holds, once the nodes are level or the limit is over. Whether
    that is enough is for the check after the step to say."""
    clock = asyncio.get_running_loop().time
    end = clock() + COPIES_LIMIT
    context.voice.waiting("the copies of every shard to be level", COPIES_LIMIT)
    while await cluster.settled(clients, databases) and clock() < end:
        await asyncio.sleep(1)
    for name in databases:
        found = await cluster.counted(first(clients), name)
        word = "equal" if found.equal else "NOT equal"
        text = f"{name}: {found.ranges} ranges in {found.copies} copies, {found.documents} documents, {word}"
        context.voice.note(text, kind="copies", **msgspec.to_builtins(found))


def _refuse(problems: list[str], next: str) -> None:
    if problems:
        raise ActionFailed(f"{'; '.join(problems)}. Nothing was changed.", next=next)
