"""The restore of a run: its backup, its databases, one of them put back, and how it compares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from runbook import units
from runbook.context import Context, Look
from runbook.couch import connect, copies
from runbook.couch.checkpoint import Checkpoint
from runbook.couch.client import Client
from runbook.couch.compare import Comparison, compare
from runbook.couch.restore import Result, restore
from runbook.couch.selection import Selection
from runbook.couch.sides import Live, chosen
from runbook.couch.survey import Survey, databases, survey
from runbook.errors import ActionFailed, CouldNotLook, RunbookError
from runbook.events import Option

_POLL = 0.5
#: seconds in which reads have to show what was written
SETTLE = 60.0


async def surveyed(look: Look, limit: int = 0) -> Survey:
    """The survey of this run's backup. Raises ActionFailed, CouldNotLook when none is chosen."""
    begun = Checkpoint(look.run_dir)
    return await asyncio.to_thread(
        survey,
        backup_path(look),
        wanted=look.site.backup.databases,
        limit=limit,
        base=look.site.machines.internal_base,
        chosen=begun.sources(),
    )


async def contents(client: Client, one: Selection, *, sample: int | None = 100) -> Comparison:
    """Compare one database; one that does not exist lacks everything."""
    if (await client.aget(one.database)).status == 404:
        return Comparison(database=one.database, expected=one.expected, actual=0, missing=one.expected)
    live = Live([client], one.database)
    return await asyncio.to_thread(compare, one.database, chosen(one), live, sample=sample)


def backup_path(look: Look) -> Path:
    found = look.output("backup_path")
    if not found:
        raise CouldNotLook("No backup is chosen yet.", next="Run the step that freezes the backup first.")
    return Path(str(found)).expanduser()


def database_names(look: Look) -> tuple[str, ...]:
    found = databases(backup_path(look), look.site.backup.databases)
    return tuple(sorted({*found, "_users", "_replicator"}))


def copies_wanted(look: Look) -> int:
    """Copies a shard can have: CouchDB silently makes no more than there are nodes."""
    return min(look.site.couchdb.n, len(connect.machines(look)))


async def lacking(look: Look, client: Client, names: tuple[str, ...]) -> list[str]:
    """Databases that are not there, or not in all copies, in words."""
    nodes, n, found = connect.expected(look).values(), copies_wanted(look), []
    for name in names:
        if await copies.shards(client, name) is None:
            found.append(f"{name} does not exist.")
            continue
        problems = copies.misplaced(await copies.copies(client, name), nodes, n)
        if problems:
            more = f" (and {len(problems) - 1} more ranges)" if len(problems) > 1 else ""
            found.append(f"{name}: {problems[0]}{more}.")
    return found


async def until(limit: float, look: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """Ask until there are no problems, at most ``limit`` seconds; the last problems."""
    clock = asyncio.get_running_loop().time
    end = clock() + limit
    while True:
        problems = await look()
        if not problems or clock() > end:
            return problems
        await asyncio.sleep(_POLL)


async def answered(context: Context, found: Survey) -> list[Selection]:
    """All that is to be restored, after asking what only a person can decide."""
    chosen = dict(found.selections)
    for name, question in found.questions.items():
        options = tuple(
            Option(node, f"node {node}", f"{one.expected} documents; the others' are not restored")
            for node, one in question.options.items()
        )
        answer = await context.voice.ask("choice", question.text, options)
        if answer not in question.options:
            raise ActionFailed(f"No copy of {name} was chosen. Nothing was restored.")
        chosen[name] = question.options[answer]
        context.voice.note(f"{name}: the copy of node {answer} was chosen", kind="choice", database=name)
    for one in chosen.values():
        if one.lacking:
            text = f"{one.database} announces {one.expected + one.lacking} rows but holds {one.expected}."
            options = (Option("go_on", "restore what it holds"), Option("stop", "stop, nothing is restored"))
            if await context.voice.ask("choice", text, options) != "go_on":
                raise ActionFailed(f"{text} Nothing was restored.", next="Use another backup.")
    return [chosen[name] for name in sorted(chosen)]


async def restore_one(
    context: Context, clients: dict[str, Client], one: Selection
) -> tuple[Result, Comparison]:
    voice, reached = context.voice, [0]

    def tick(documents: int, size: int) -> None:
        reached[0] = documents
        voice.progress(one.database, documents, one.expected, "documents")

    voice.say(f"{one.database}: {one.expected} documents, {units.size(one.bytes)}")
    try:
        result = await restore(one, list(clients.values()), progress=tick)
    except RunbookError as error:
        raise ActionFailed(
            f"The restore of {one.database} ended after {reached[0]} of {one.expected} documents: "
            f"{error.what}",
            next=f"{error.next} They stay, and a retry sends only what is missing.".strip(),
        ) from None
    for refusal in result.refused:
        voice.say(f"refused: {one.database} {refusal.id}: {refusal.error}: {refusal.reason}")
    voice.waiting(f"{one.database} to show what was written", SETTLE)
    compared = await _settled(first(clients), one, len(result.refused))
    voice.note(
        f"{one.database}: {compared.actual} of {compared.expected} documents"
        + (f"; {compared.words()}" if compared.words() else ""),
        kind="restore",
        database=one.database,
        expected=compared.expected,
        actual=compared.actual,
        refused=len(result.refused),
        refusals=[msgspec.to_builtins(refusal) for refusal in result.refused[:100]],
        chosen=one.note,
        sources=[source.node for source in one.sources],
    )
    return result, compared


async def _settled(client: Client, one: Selection, refused: int) -> Comparison:
    """The comparison, once reads show what was written (they may ask a copy that lags behind)."""
    clock = asyncio.get_running_loop().time
    end = clock() + SETTLE
    while True:
        compared = await contents(client, one, sample=0)
        if compared.same or compared.missing + compared.other <= refused or clock() > end:
            return compared
        await asyncio.sleep(_POLL)


def failure(result: Result, compared: Comparison) -> str:
    text = f"{compared.database}: {compared.there} of {compared.expected} documents are there"
    text += f"; {compared.words()}" if compared.words() else ""
    if result.refused:
        first = [f"{one.id} → {one.error}: {one.reason}" for one in result.refused[:10]]
        more = f" and {len(result.refused) - 10} more" if len(result.refused) > 10 else ""
        text += f". {len(result.refused)} documents refused: {'; '.join(first)}{more}"
    return text


def first(clients: dict[str, Client]) -> Client:
    return next(iter(clients.values()))
