"""The documents of the backup, put back with their revisions and compared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from runbook import units
from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.actions.couchdb.create import COPIES, POOR
from runbook.context import Context, Look
from runbook.couch import cluster, connect, copies
from runbook.couch.client import Client
from runbook.couch.comparing.compare import Comparison
from runbook.couch.reading.selection import Selection
from runbook.couch.reading.survey import Survey
from runbook.couch.restoring import detached, estimate, recovery, shapes, targets, ways
from runbook.couch.restoring.checkpoint import Checkpoint
from runbook.couch.restoring.recovery import answered, contents, failure, first, proven, restore_one
from runbook.couch.restoring.restore import Result
from runbook.couch.restoring.shapes import Shape
from runbook.couch.restoring.targets import Target
from runbook.errors import ActionFailed
from runbook.events import Option

#: seconds to wait for level copies before they are put on record
COPIES_LIMIT = 120.0


class RestoreParams(Params, frozen=True, kw_only=True):
    """``backup``: a backup's folder; empty: the one this run has chosen. ``databases``: only these;
    empty: all that the settings name, or that the backup holds."""

    backup: str = ""
    databases: tuple[str, ...] = ()


class _Prepared(msgspec.Struct, frozen=True):
    """``beside``: database -> the name it may be restored under, where its own holds other data;
    ``new``: how databases are made; ``copies``: of every shard."""

    survey: Survey
    beside: dict[str, str]
    new: dict[str, Shape]
    copies: int


class Restore:
    """The documents of the backup, into empty databases; compared afterwards."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "safe"
    params: ClassVar[type[Params]] = RestoreParams
    outputs: ClassVar[tuple[str, ...]] = ("backup_path", "restored")

    async def probe(self, look: Look, params: Any) -> Probe:
        async with connect.cluster(look) as clients:
            try:
                found = await _surveyed(look, params)
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
            outputs=_outputs(found.backup, compared) if satisfied else {},
        )

    async def plan(self, look: Look, params: Any) -> Plan:
        begun = Checkpoint(look.run_dir)
        async with connect.cluster(look) as clients:
            limits = await cluster.document_limits(clients)
            found = await _surveyed(look, params, limit=min(limits.values()))
            names = sorted({*found.selections, *found.questions})
            there = await targets.looked_at(first(clients), names, begun)
            taken = set(await first(clients).aneed("_all_dbs"))
            _, n = await recovery.placing(look, first(clients))
        known = await asyncio.to_thread(shapes.known, Path(found.backup))
        day = look.clock.now()
        others = {
            name: targets.beside(name, day, taken.__contains__)
            for name, one in there.items()
            if one.state == "foreign"
        }
        new = {
            others.get(name, one.name): shapes.shape(known.get(name), look.site.couchdb.q, n)
            for name, one in there.items()
            if one.state in ("absent", "foreign")
        }
        chosen = found.selections.values()
        total, size = sum(one.expected for one in chosen), sum(one.bytes for one in chosen)
        return Plan(
            summary=f"restore {total} documents into {len(names)} databases",
            items=(
                *found.lines(),
                *(_placed(one, others, new) for one in there.values()),
                _limits(limits),
                estimate.words(total, size, begun.measured),
            ),
            changes="writes the backup's documents into the platform's databases",
            data=msgspec.to_builtins(_Prepared(found, others, new, n)),
        )

    async def act(self, context: Context, params: Any, plan: Plan) -> Outcome:
        prepared = msgspec.convert(plan.data, _Prepared)
        found = prepared.survey
        chosen = await answered(context, found)
        begun = Checkpoint(context.run_dir)
        async with connect.cluster(context) as clients:
            limits = await cluster.document_limits(clients)
            if found.limit and min(limits.values()) < found.limit:
                raise ActionFailed("max_document_size changed since the plan. Nothing was restored.")
            # every target is looked at, and made, before the first document is written anywhere
            chosen = await _directed(context, first(clients), chosen, prepared.beside, begun)
            way = await ways.asked(context, chosen, begun.measured)
            await _made(context, clients, chosen, prepared)
            for one in chosen:
                identity = await asyncio.to_thread(
                    targets.ready, first(clients), one.database, begun, one.target
                )
                sources = tuple(source.node for source in one.sources)
                begun.begin(one.database, identity, sources, one.into, params.databases)
            done = await _done(context, clients, chosen, way)
            await _note_copies(context, clients, [one.target for one in chosen])
        if failed := [pair for pair in done if not _well(*pair)]:
            raise ActionFailed(
                "\n".join(failure(result, compared) for result, compared in failed),
                next="The reason for every document is in the output. A retry sends only what is missing.",
            )
        outputs = _outputs(found.backup, [compared for _, compared in done])
        counts = outputs["restored"]
        return Outcome(
            summary=f"{sum(counts.values())} documents restored into {len(counts)} databases, ids and "
            "revisions compared with the backup.",
            outputs=outputs,
        )


async def _surveyed(look: Look, params: RestoreParams, limit: int = 0) -> Survey:
    return await recovery.surveyed(look, limit, backup=params.backup, only=params.databases)


async def _done(
    context: Context, clients: dict[str, Client], chosen: Sequence[Selection], way: str
) -> list[tuple[Result, Comparison]]:
    """Each database, written from here or by a worker beside the data, and compared from here."""
    if way == ways.HERE:
        return [await restore_one(context, clients, one) for one in chosen]
    results = await detached.restore(context, way, chosen)
    return [
        (results[one.database], await proven(context, clients, one, results[one.database])) for one in chosen
    ]


def _outputs(backup: str, compared: Sequence[Comparison]) -> dict[str, Any]:
    return {"backup_path": backup, "restored": {one.database: one.actual for one in compared}}


def _well(result: Result, compared: Comparison) -> bool:
    return compared.same and not result.refused and not result.problems


# ── the plan's lines ───────────────────────────────────────────────────────────────────────
def _placed(one: Target, others: Mapping[str, str], new: Mapping[str, Shape]) -> str:
    text = f"{one.name} {one.words()}"
    if one.state == "absent":
        return f"{text}: it is made with {new[one.name].words()}"
    if one.state == "foreign":
        name = others[one.database]
        return f"{text}: you will be asked whether to restore beside it, as {name}, or not at all"
    return text


def _limits(limits: Mapping[str, int]) -> str:
    if len(set(limits.values())) == 1:
        size = units.size(next(iter(limits.values())))
        return f"every node takes documents up to {size}: {', '.join(limits)}"
    each = ", ".join(f"{name} {units.size(size)}" for name, size in limits.items())
    return f"the nodes take documents of different sizes: up to {each}; the smallest counts"


# ── the targets ────────────────────────────────────────────────────────────────────────────
async def _directed(
    context: Context,
    client: Client,
    chosen: Sequence[Selection],
    others: Mapping[str, str],
    begun: Checkpoint,
) -> list[Selection]:
    """Where each selection goes; asks when there is other data. Raises ActionFailed when the person
    wants none of it, or when there was no other data when the plan was made."""
    there = await targets.looked_at(client, [one.database for one in chosen], begun)
    foreign = [one for one in there.values() if one.state == "foreign"]
    if not foreign:
        return begun.placed(chosen)
    said = "; ".join(f"{one.name} {one.words()}" for one in foreign)
    if unplanned := [one.database for one in foreign if one.database not in others]:
        raise ActionFailed(
            f"{said}. So it was not when the plan was made: {', '.join(unplanned)}. Nothing was restored.",
            next="Plan the restore again.",
        )
    names = ", ".join(f"{one.database} as {others[one.database]}" for one in foreign)
    options = (
        Option(
            "beside",
            f"restore beside: {names}",
            "what is there stays as it is; the platform's settings go on naming it, not the restored one",
        ),
        Option("stop", "restore nothing", "all databases stay as they are"),
    )
    text = f"{said}. Restoring there would make conflicts that nobody sees."
    if await context.voice.ask("choice", text, options) != "beside":
        raise ActionFailed(
            f"{said}; restoring would create conflicts. Nothing was restored.",
            next="Resume the run that began it, or delete the database and create it again.",
        )
    context.voice.note(f"restored beside what is there: {names}", kind="choice")
    into = {one.database: others[one.database] for one in foreign}
    return [replace(one, into=into.get(one.database, begun.into(one.database))) for one in chosen]


async def _made(
    context: Context, clients: dict[str, Client], chosen: Sequence[Selection], prepared: _Prepared
) -> None:
    """Every target is there, with all copies of all its shards. Raises ActionFailed."""
    names, client = [one.target for one in chosen], first(clients)
    made = await shapes.make(client, {name: prepared.new[name] for name in names if name in prepared.new})
    for name in made:
        context.voice.say(f"{name}: created with {prepared.new[name].words()}")
    nodes, _ = await recovery.placing(context, client)
    context.voice.waiting("every copy of every shard to be there", COPIES)
    poor = await cluster.until(COPIES, lambda: targets.lacking(clients, names, nodes, prepared.copies))
    if poor:
        raise ActionFailed(f"{' '.join(poor)} Nothing was restored.", next=POOR)


async def _note_copies(context: Context, clients: dict[str, Client], databases: list[str]) -> None:
    """Put on record what every copy holds, once the nodes are level or the limit is over. Whether
    that is enough is for the check after the step to say."""
    clock = asyncio.get_running_loop().time
    end = clock() + COPIES_LIMIT
    context.voice.waiting("the copies of every shard to be level", COPIES_LIMIT)
    while await copies.settled(clients, databases) and clock() < end:
        await asyncio.sleep(1)
    seen = await copies.look({first(clients).node: first(clients)}, databases)
    for name in databases:
        found = copies.count(name, seen[name])
        word = "equal" if found.equal else "NOT equal"
        text = f"{name}: {found.ranges} ranges in {found.copies} copies, {found.documents} documents, {word}"
        context.voice.note(text, kind="copies", **msgspec.to_builtins(found))
