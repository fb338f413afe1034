"""The databases of the backup, made empty with all their copies."""

from __future__ import annotations

from typing import Any, ClassVar

from runbook.action import NoParams, Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.couch import connect, copies
from runbook.couch.recovery import copies_wanted, database_names, first, lacking, until
from runbook.errors import ActionFailed

_POOR = (
    "A database made before the nodes joined has too few copies, for ever. Delete it if it holds nothing, "
    "and have it created again; check that every node is connected."
)


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
                if await copies.shards(one, name) is not None:
                    there.append(name)
                    poor += await lacking(look, one, (name,))
            if poor:
                raise ActionFailed(f"{'; '.join(poor)}. Nothing was changed.", next=_POOR)
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
                made = await copies.create(one, name, q=plan.data["q"], n=plan.data["n"])
                context.voice.say(f"{name}: {'created' if made else 'is there already'}")
            context.voice.waiting("every copy of every shard to be there", 60)
            poor = await until(60, lambda: lacking(context, one, names))
        if poor:
            raise ActionFailed("\n".join(poor), next=_POOR)
        return Outcome(summary=f"{len(names)} databases, each shard in {plan.data['n']} copies.")
