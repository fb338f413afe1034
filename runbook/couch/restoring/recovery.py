"""The restore of a run: its backup, its databases, one of them put back, and how it compares."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from runbook import units
from runbook.context import Context, Look
from runbook.couch import cluster, connect
from runbook.couch.client import Client
from runbook.couch.comparing.compare import Comparison, compare
from runbook.couch.comparing.sides import Live, chosen
from runbook.couch.progress import Progress
from runbook.couch.reading.selection import Selection
from runbook.couch.reading.survey import Survey, databases, survey
from runbook.couch.restoring.checkpoint import Checkpoint
from runbook.couch.restoring.estimate import Rate
from runbook.couch.restoring.restore import Restoring, Result, restore
from runbook.errors import ActionFailed, CouldNotLook, RunbookError
from runbook.events import Option

_POLL = 0.5
#: seconds in which reads have to show what was written
SETTLE = 60.0
#: seconds between two lines about how far it is
_SAY = 15.0
#: seconds between two notes about the pace
_NOTE = 20.0
#: documents or bytes that have to be stored for their rate to mean something
_MEASURED_DOCUMENTS, _MEASURED_BYTES = 1000, 10_000_000


# ── what is restored, and where to ─────────────────────────────────────────────────────────
async def surveyed(look: Look, limit: int = 0, *, backup: str = "", only: Sequence[str] = ()) -> Survey:
    """The survey of a ``backup`` (this run's), of ``only`` these databases (those this run is about),
    going where this run began to put them. Raises ActionFailed, CouldNotLook when none is chosen."""
    begun = Checkpoint(look.run_dir)
    found = await asyncio.to_thread(
        survey,
        Path(backup).expanduser() if backup else backup_path(look),
        wanted=tuple(only) or begun.only or look.site.backup.databases,
        limit=limit,
        base=look.site.machines.internal_base,
        chosen=begun.sources(),
    )
    placed = {one.database: one for one in begun.placed(found.selections.values())}
    return replace(found, selections=placed)


def backup_path(look: Look) -> Path:
    found = look.output("backup_path")
    if not found:
        raise CouldNotLook("No backup is chosen yet.", next="Run the step that freezes the backup first.")
    return Path(str(found)).expanduser()


def database_names(look: Look) -> tuple[str, ...]:
    """The databases of this run's restore, under the names they have on the servers, and the
    system's where the cluster is this site's own."""
    begun = Checkpoint(look.run_dir)
    found = databases(backup_path(look), begun.only or look.site.backup.databases)
    system = () if look.site.couchdb.urls else ("_users", "_replicator")
    return tuple(sorted({*(begun.into(name) or name for name in found), *system}))


def copies_wanted(look: Look) -> int:
    """Copies a shard can have: CouchDB silently makes no more than there are nodes."""
    return min(look.site.couchdb.n, len(connect.machines(look)))


async def placing(look: Look, client: Client) -> tuple[list[str], int]:
    """The cluster's nodes as ``client`` lists them, and how many copies a shard is to have: at
    addresses named in the settings there may be more nodes than addresses."""
    member = await cluster.member(client)
    if member.problem:
        raise CouldNotLook(member.problem)
    nodes = sorted(member.listed)
    if look.site.couchdb.urls:
        return nodes, min(look.site.couchdb.n, len(nodes))
    return nodes, copies_wanted(look)


async def answered(context: Context, found: Survey) -> list[Selection]:
    """All that is to be restored, after asking what only a person can decide."""
    chosen = dict(found.selections)
    for name, question in found.questions.items():
        options = tuple(
            Option(node, f"node {node}", f"{one.expected} documents; the others' are not restored")
            for node, one in question.options.items()
        )
        options += (Option("none", "none of them", "stop; nothing is restored"),)
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


# ── one database ───────────────────────────────────────────────────────────────────────────
async def restore_one(
    context: Context, clients: dict[str, Client], one: Selection
) -> tuple[Result, Comparison]:
    """Put back, and compared. Raises ActionFailed."""
    context.voice.say(f"{one.target}: {one.expected} documents, {units.size(one.bytes)}")
    telling = _Telling(context, one)
    try:
        result = await restore(one, list(clients.values()), progress=telling.tick, tell=telling.tell)
    except RunbookError as error:
        raise ActionFailed(
            f"The restore of {one.target} ended after {telling.reached} of {one.expected} documents: "
            f"{error.what}",
            next=f"{error.next} They stay, and a retry sends only what is missing.".strip(),
        ) from None
    if rate := telling.measured():
        Checkpoint(context.run_dir).measure(rate)
    return result, await proven(context, clients, one, result)


async def proven(context: Context, clients: dict[str, Client], one: Selection, result: Result) -> Comparison:
    """What was refused is said, and the database compared with the dumps: both go on record."""
    voice = context.voice
    for refusal in result.refused:
        voice.say(f"refused: {one.target} {refusal.id}: {refusal.error}: {refusal.reason}")
    for problem in result.problems:
        voice.say(problem)
    voice.waiting(f"{one.target} to show what was written", SETTLE)
    compared = await _settled(first(clients), one, len(result.refused))
    voice.note(
        f"{one.target}: {compared.actual} of {compared.expected} documents"
        + (f"; {compared.words()}" if compared.words() else ""),
        kind="restore",
        database=one.target,
        expected=compared.expected,
        actual=compared.actual,
        refused=len(result.refused),
        refusals=[msgspec.to_builtins(refusal) for refusal in result.refused[:100]],
        chosen=one.note,
        sources=[source.node for source in one.sources],
    )
    if one.into:
        text = f"{one.into} holds what the backup has of {one.database}; the platform's settings still name "
        voice.note(f"{text}{one.database}, which was left as it is", kind="beside", database=one.into)
    return compared


class _Telling:
    """How far a restore is, on the screen and now and then in the output; and how fast it was."""

    def __init__(self, context: Context, one: Selection) -> None:
        self._context, self._one = context, one
        self._progress = Progress(one.expected, one.bytes)
        self._present = self._present_bytes = self.reached = 0
        self._clock = asyncio.get_running_loop().time
        self._begun = self._said = self._clock()
        self._noted: float | None = None

    def tick(self, work: Restoring) -> None:
        progress, voice = self._progress, self._context.voice
        there, size = work.present - self._present, work.present_bytes - self._present_bytes
        self._present, self._present_bytes = work.present, work.present_bytes
        progress.found(there, size)
        progress.came(work.docs - progress.documents, work.bytes - progress.bytes)
        self.reached = work.docs
        voice.progress(self._one.target, work.docs, self._one.expected, "documents")
        voice.progress(f"{self._one.target}, bytes", work.bytes, self._one.bytes, "bytes")
        if self._clock() - self._said > _SAY:
            self._said = self._clock()
            voice.say(f"{self._one.target}: {progress.words()}")

    def tell(self, text: str) -> None:
        """On record, unless that was the case a moment ago: servers may falter all the time."""
        text = f"{self._one.target}: {text}"
        if self._noted is None or self._clock() - self._noted > _NOTE:
            self._noted = self._clock()
            self._context.voice.note(text, kind="pace", database=self._one.target)
        else:
            self._context.voice.say(text)

    def measured(self) -> Rate | None:
        """None for too little to tell."""
        documents, seconds = self.reached - self._present, self._clock() - self._begun
        size = self._progress.bytes - self._present_bytes
        if documents < _MEASURED_DOCUMENTS and size < _MEASURED_BYTES:
            return None
        return Rate(round(documents / max(seconds, 0.1), 1), round(size / max(seconds, 0.1), 1))


# ── is it there? ───────────────────────────────────────────────────────────────────────────
async def contents(client: Client, one: Selection, *, sample: int | None = 100) -> Comparison:
    """Compare one database; one that does not exist lacks everything."""
    if (await client.aget(one.target)).status == 404:
        return Comparison(database=one.target, expected=one.expected, actual=0, missing=one.expected)
    live = Live([client], one.target)
    return await asyncio.to_thread(compare, one.target, chosen(one), live, sample=sample)


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
    return ". ".join([text, *result.problems])


def first(clients: dict[str, Client]) -> Client:
    return next(iter(clients.values()))
