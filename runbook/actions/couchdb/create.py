"""The databases of the backup, made empty with all their copies."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from runbook.action import NoParams, Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.couch import connect
from runbook.couch.cluster import until
from runbook.couch.restoring import shapes, targets
from runbook.couch.restoring.recovery import backup_path, database_names, first, placing
from runbook.errors import ActionFailed

POOR = (
    "A database made before the nodes joined has too few copies, for ever. Delete it if it holds nothing, "
    "and have it created again; check that every node is connected."
)
#: seconds in which every copy has to be there
COPIES = 60.0


class Create:
    """The backup's databases and the system's, empty, with all copies of all shards."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "safe"
    params: ClassVar[type[Params]] = NoParams
    outputs: ClassVar[tuple[str, ...]] = ()

    async def probe(self, look: Look, params: Any) -> Probe:
        names = database_names(look)
        async with connect.cluster(look) as clients:
            nodes, n = await placing(look, first(clients))
            poor = await targets.lacking(clients, names, nodes, n)
        if poor:
            return Probe(
                satisfied=False,
                summary=f"{len(poor)} of {len(names)} databases are not there as they should be.",
                evidence="\n".join(poor),
            )
        return Probe(satisfied=True, summary=f"All {len(names)} databases are there, with {n} copies each.")

    async def plan(self, look: Look, params: Any) -> Plan:
        names = database_names(look)
        async with connect.cluster(look) as clients:
            nodes, n = await placing(look, first(clients))
            found = await first(clients).aneed("_all_dbs")
            there = [name for name in names if name in found]
            if poor := await targets.lacking(clients, there, nodes, n):
                raise ActionFailed(f"{'; '.join(poor)}. Nothing was changed.", next=POOR)
        known = await asyncio.to_thread(shapes.known, backup_path(look))
        new = {
            name: shapes.shape(known.get(name), look.site.couchdb.q, n) for name in names if name not in there
        }
        items = [f"create {name} with {one.words()}" for name, one in new.items()]
        items += [f"{name} is there already, with all its copies" for name in there]
        return Plan(
            summary=f"create {len(new)} of {len(names)} databases; the others are there already"
            if there
            else f"create {len(new)} databases",
            items=tuple(items),
            changes="creates databases in the CouchDB cluster",
            data={"create": shapes.plain(new), "n": n},
        )

    async def act(self, context: Context, params: Any, plan: Plan) -> Outcome:
        names, n = database_names(context), plan.data["n"]
        async with connect.cluster(context) as clients:
            made = await shapes.make(first(clients), shapes.read(plan.data["create"]))
            for name in plan.data["create"]:
                context.voice.say(f"{name}: {'created' if name in made else 'is there already'}")
            nodes, _ = await placing(context, first(clients))
            context.voice.waiting("every copy of every shard to be there", COPIES)
            poor = await until(COPIES, lambda: targets.lacking(clients, names, nodes, n))
        if poor:
            raise ActionFailed("\n".join(poor), next=POOR)
        return Outcome(summary=f"{len(names)} databases, each shard in {n} copies.")
