"""The documents of the backup, put back with their revisions and compared."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import msgspec

from runbook.action import NoParams, Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.couch import checkpoint, cluster, connect, copies
from runbook.couch.checkpoint import Checkpoint
from runbook.couch.client import Client
from runbook.couch.compare import Comparison
from runbook.couch.recovery import answered, contents, failure, first, restore_one, surveyed
from runbook.couch.restore import Result
from runbook.couch.survey import Survey
from runbook.errors import ActionFailed

#: seconds to wait for level copies before they are put on record
COPIES_LIMIT = 120.0


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
    while await copies.settled(clients, databases) and clock() < end:
        await asyncio.sleep(1)
    for name in databases:
        found = await copies.counted(first(clients), name)
        word = "equal" if found.equal else "NOT equal"
        text = f"{name}: {found.ranges} ranges in {found.copies} copies, {found.documents} documents, {word}"
        context.voice.note(text, kind="copies", **msgspec.to_builtins(found))
