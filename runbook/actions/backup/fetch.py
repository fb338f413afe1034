"""backup.fetch: the newest backup, or the chosen one, whole and verified on this PC."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.backup import layout, ledger
from runbook.backup.fetching import choosing, comparing, fetch, lock, log, room
from runbook.backup.fetching.fetch import Wish
from runbook.backup.fetching.hearing import Hearing
from runbook.backup.fetching.holding import held
from runbook.context import Context, Look
from runbook.errors import ActionFailed, CouldNotLook
from runbook.record import runs
from runbook.redact import Redactor
from runbook.units import size


class FetchParams(Params, frozen=True):
    """``id``: that backup; "": the site's choice, else the newest complete one of the backup VM. ``delete``:
    whether what is beyond the latest N may be deleted here afterwards."""

    id: str = ""
    delete: bool = False


class Fetch:
    """Runs on the backup VM, and writes on this PC."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "safe"
    params: ClassVar[type[Params]] = FetchParams
    outputs: ClassVar[tuple[str, ...]] = ("backup_id", "backup_path")

    async def probe(self, look: Look, params: FetchParams) -> Probe:
        """Is it here, equal by names and sizes, and was it verified?"""
        site = look.site.backup
        found = await layout.look_remote(look.host, site.remote, site.databases)
        where = f"{site.remote} on {look.host.name}"
        chosen = choosing.choose(found.backups, params.id or site.id, where)
        target = Path(site.local).expanduser().resolve() / chosen.path.rpartition("/")[2]
        try:
            if not await asyncio.to_thread(target.exists):
                return Probe(satisfied=False, summary=f"{chosen.title} is not on this PC")
            if difference := await asyncio.to_thread(comparing.by_size, chosen, target):
                return Probe(satisfied=False, summary=f"{target} is another one: {difference}")
            entries = await asyncio.to_thread(ledger.read, target.parent)
        except OSError as error:
            raise CouldNotLook(f"{target} cannot be read: {error.strerror}") from error
        last = ledger.last([one for one in entries if one.path == str(target)], chosen.id)
        if last is None or last.verdict == "damaged":
            how = "was never verified" if last is None else "was found damaged"
            return Probe(satisfied=False, summary=f"{target} is there, but {how}")
        return Probe(
            satisfied=True,
            summary=f"{chosen.id} is on this PC (by names and sizes), {last.verdict} on {last.at:%Y-%m-%d}",
            outputs={"backup_id": chosen.id, "backup_path": str(target)},
        )

    async def plan(self, look: Look, params: FetchParams) -> Plan:
        wish = await _wish(look, params)
        found = await fetch.plan(look.site, look.host, wish)
        if not found.here:
            room.require(found.needed, found.free, str(Path(found.target).parent), "Nothing was fetched.")
        items = [f"pass over: {text}" for text in found.remarks]
        if found.here:
            items.append(f"compare {found.target}, which is here, by SHA-256")
        else:
            # free space changes all the time, and would make each plan another one
            items.append(f"fetch {size(found.needed)} to {found.target}; there is room")
        items.append("verify it, and put the verdict on record beside it")
        items += [f"copy it to {folder}, if that is there" for folder in look.site.backup.copies]
        items += [f"delete {path}: beyond the latest {wish.keep}" for path in found.surplus.paths]
        return Plan(
            summary=f"bring backup {found.backup.id} to this PC and verify it",
            items=tuple(items),
            changes="deletes the oldest copies on this PC" if found.surplus.paths else "",
            data={"id": found.backup.id, "path": found.backup.path, "delete": list(found.surplus.paths)},
        )

    async def act(self, context: Context, params: FetchParams, plan: Plan) -> Outcome:
        wish = await _wish(context, FetchParams(id=plan.data["id"], delete=params.delete))
        found = await fetch.plan(context.site, context.host, wish)
        agreed = tuple(path for path in found.surplus.paths if path in plan.data["delete"])
        found = found.limited_to(agreed)
        local = Path(found.target).parent
        await asyncio.to_thread(local.mkdir, parents=True, exist_ok=True, mode=0o700)
        book = log.Log(local, context.clock, Redactor().text)

        def say(text: str) -> None:
            book.write(text)
            context.voice.say(text)

        def tick(what: str, done: int, total: int) -> None:
            context.voice.progress(f"{what} backup {found.backup.id}", done, total, "bytes")

        here = await context.hosts.open("operator")
        with lock.alone(local):
            done = await fetch.carry_out(
                context.site, context.host, here, found, wish, context.clock, Hearing(say, tick)
            )
        context.voice.note(
            f"Backup {done.id} was fetched: {done.verdict}.",
            kind="backup_fetched",
            id=done.id,
            path=done.path,
            verdict=done.verdict,
            brought=done.brought,
            deleted=list(done.deleted),
            copies=[one.path or one.problem for one in done.copies],
        )
        if done.verdict == "damaged":
            problems = "\n".join(done.report.problems[:20]) if done.report else ""
            raise ActionFailed(
                f"Backup {done.id} is damaged on the backup VM: the copy {done.path} is equal to it. Nothing "
                f"was deleted.\n{problems}",
                next="Take an older one: runbook backup list shows which were verified.",
            )
        if done.problems:
            raise ActionFailed(
                f"Backup {done.id} is here and {done.verdict}, but: {' '.join(done.problems)}",
                next="Make that right, then run the step again: what is here is not fetched again.",
            )
        return Outcome(
            summary=f"Backup {done.id} is {done.path}, {done.verdict}"
            + (f"; {len(done.deleted)} older ones were deleted." if done.deleted else "."),
            outputs={"backup_id": done.id, "backup_path": done.path},
        )


async def _wish(look: Look, params: FetchParams) -> Wish:
    site = look.site.backup
    holders: dict[str, str] | None = None
    if params.delete:
        known = await asyncio.to_thread(runs.runs, look.run_dir.parent.parent)
        holders, problem = await asyncio.to_thread(held, known, site.local)
        holders = None if problem else holders
    return Wish(id=params.id or site.id, keep=max(site.keep, 1), held=holders)
