"""backup.freeze and backup.unfreeze: hold one good backup still for as long as it is needed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from runbook.action import NoParams, Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.backup import choice, freeze, layout
from runbook.backup.choice import Candidate
from runbook.context import Context, Look
from runbook.errors import ActionFailed
from runbook.events import Option
from runbook.units import size

OUTPUTS = ("backup_id", "backup_path", "backup_remote")


class Freeze:
    """Stop the schedule, take the lease, choose and pin a backup, bring it to this PC."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "probe_first"
    params: ClassVar[type[Params]] = NoParams
    outputs: ClassVar[tuple[str, ...]] = OUTPUTS

    async def probe(self, look: Look, params: NoParams) -> Probe:
        crontab = await freeze.read_crontab(look.host)
        lease = await freeze.read_lease(look, look.host)
        active = freeze.active_lines(crontab, look.site.backup.schedule)
        if active:
            return Probe(satisfied=False, summary=f"the schedule is running: {'; '.join(active)}")
        if lease is None or lease.run != look.run_dir.name or not lease.path:
            return Probe(satisfied=False, summary="no backup is held for this run")
        held = await _held(look, lease)
        if not held:
            return Probe(satisfied=False, summary=f"backup {lease.backup} is no longer whole in both places")
        return Probe(
            satisfied=True,
            summary=f"schedule stopped, backup {lease.backup} pinned and on this PC (by names and sizes)",
            evidence=f"pinned as {lease.pinned}\non this PC as {lease.path}",
            outputs=dict(zip(OUTPUTS, (lease.backup, lease.path, lease.pinned), strict=True)),
        )

    async def plan(self, look: Look, params: NoParams) -> Plan:
        crontab = await freeze.read_crontab(look.host)
        found = await choice.find(look, look.host)
        first, usable = _choose(look, found)
        items = [f"comment out in the crontab: {line}" for line in _lines(look, crontab)]
        if not items:
            items = [f"no active crontab line contains {look.site.backup.schedule!r}: nothing to stop"]
        lease = await freeze.read_lease(look, look.host)
        if lease and lease.run != look.run_dir.name:
            items.append(f"ask about the lease of {lease.words}")
        else:
            items.append(f"leave a lease in {freeze.lease_path(look)}")
        if not first.best.complete:
            items += [f"backup {first.id} is not complete: {text}" for text in first.best.problems]
            items.append(f"ask which older backup to use: {', '.join(one.id for one in usable)}")
            summary = f"stop the backup schedule; ask which backup to use, since {first.id} is not complete"
        else:
            items += _steps(look, first)
            summary = f"stop the backup schedule and hold backup {first.id}"
        data = {"first": first.id, "usable": [one.id for one in usable]}
        return Plan(summary=summary, items=tuple(items), changes="stops the backup schedule", data=data)

    async def act(self, context: Context, params: NoParams, plan: Plan) -> Outcome:
        host, voice = context.host, context.voice
        await _own_lease(context)
        crontab = await freeze.read_crontab(host)
        if lines := _lines(context, crontab):
            await freeze.write_crontab(context, host, freeze.freeze(crontab, context.site.backup.schedule))
            voice.note(f"Backup schedule stopped on {host.name}.", kind="schedule", lines=lines)
        id = await _ask_which(context, plan)
        one = {c.id: c for c in await choice.find(context, host)}.get(id)
        if one is None or not one.best.complete:
            raise ActionFailed(
                f"Backup {id} is no longer there or no longer complete. The schedule is stopped.",
                next="Run the step again to choose another.",
            )
        pinned = ""
        if one.remote and one.remote.complete:
            pinned = await freeze.pin(context, host, one.remote.path, id)
        path = await _fetch(context, one)
        lease = msgspec.structs.replace(freeze.own_lease(context), backup=id, pinned=pinned, path=str(path))
        await freeze.rewrite_lease(context, host, lease)
        backup = one.best
        voice.note(
            f"Backup {id} is used.",
            kind="backup",
            id=id,
            time=backup.made.isoformat() if backup.made else "",
            tier=backup.tier,
            place=backup.place,
            path=str(path),
            pinned=pinned,
            bytes=backup.bytes,
            nodes=sorted(backup.nodes),
            checksum=backup.manifest.checksum if backup.manifest else "",
        )
        return Outcome(
            summary=f"Backup {id} ({size(backup.bytes)}) is held; its folder on this PC is {path}.",
            outputs=dict(zip(OUTPUTS, (id, str(path), pinned), strict=True)),
        )


class Unfreeze:
    """Put the schedule back exactly as it was and give the lease back; the pin stays."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "probe_first"
    params: ClassVar[type[Params]] = NoParams
    outputs: ClassVar[tuple[str, ...]] = ()

    async def probe(self, look: Look, params: NoParams) -> Probe:
        crontab = await freeze.read_crontab(look.host)
        lease = await freeze.read_lease(look, look.host)
        if lines := freeze.frozen_lines(crontab):
            return Probe(satisfied=False, summary=f"{len(lines)} crontab line(s) are commented out")
        if lease is not None:
            return Probe(satisfied=False, summary=f"there is a lease of {lease.words}")
        return Probe(satisfied=True, summary="no line is commented out, and there is no lease")

    async def plan(self, look: Look, params: NoParams) -> Plan:
        crontab = await freeze.read_crontab(look.host)
        lease = await freeze.read_lease(look, look.host)
        items = [f"put back in the crontab: {line}" for line in freeze.frozen_lines(crontab)]
        if lease:
            mine = lease.run == look.run_dir.name
            items.append("remove our lease" if mine else f"ask about the lease of {lease.words}")
        return Plan(
            summary="start the backup schedule again",
            items=(*items, "the pinned backup stays"),
            changes="starts the backup schedule",
        )

    async def act(self, context: Context, params: NoParams, plan: Plan) -> Outcome:
        host, voice = context.host, context.voice
        lease = await freeze.read_lease(context, host)
        if lease and lease.run != context.run_dir.name:
            await _takeover(context, lease, "They may still be recovering from these backups.")
        crontab = await freeze.read_crontab(host)
        lines = freeze.frozen_lines(crontab)
        if lines:
            await freeze.write_crontab(context, host, freeze.thaw(crontab))
            voice.note(f"Backup schedule started again on {host.name}.", kind="schedule", lines=lines)
        if lease:
            await voice.run(["rm", "-f", "--", freeze.lease_path(context)], host=host)
        return Outcome(summary=f"The backup schedule runs again: {'; '.join(lines) or 'it was not stopped'}.")


# ── choosing ───────────────────────────────────────────────────────────────────────────────
def _choose(look: Look, found: list[Candidate]) -> tuple[Candidate, list[Candidate]]:
    """(the one that would be used, complete ones to offer instead). Raises ActionFailed."""
    wanted = look.site.backup.id
    places = f"{look.site.backup.remote} on the backup VM or {look.site.backup.local} on this PC"
    usable = [one for one in found if one.best.complete]
    another = "Start a new run with --backup ID."
    if wanted:
        first = next((one for one in found if one.id == wanted), None)
        if first is None:
            raise ActionFailed(
                f"There is no backup {wanted} below {places}.",
                next=f"There are: {', '.join(one.id for one in found) or 'none'}. {another}",
            )
        if not first.best.complete:
            raise ActionFailed(
                f"Backup {wanted} is not complete: {'; '.join(first.best.problems)}. Nothing was changed.",
                next=f"Complete ones: {', '.join(one.id for one in usable) or 'none'}. {another}",
            )
        return first, []
    if not usable:
        raise ActionFailed(
            f"No complete backup below {places}. Nothing was changed.",
            next="; ".join(f"{one.id}: {one.best.problems[0]}" for one in found) or "Both places are empty.",
        )
    return found[0], usable[:5] if not found[0].best.complete else []


async def _ask_which(context: Context, plan: Plan) -> str:
    data: dict[str, Any] = plan.data
    if not data["usable"]:
        return str(data["first"])
    options = [Option(id, f"Use {id}", "what was written after it is lost") for id in data["usable"]]
    options.append(Option("stop", "Use none", "the schedule stays stopped"))
    answer = await context.voice.ask(
        "choice",
        f"The newest backup, {data['first']}, is not complete. Which older one is used?",
        tuple(options),
        default=data["usable"][0],
    )
    if answer == "stop":
        raise ActionFailed(
            "No backup was chosen. The schedule is stopped.", next="Run the step again to choose one."
        )
    context.voice.note(f"{data['first']} is not complete; {answer} was chosen.", kind="backup_choice")
    return answer


def _steps(look: Look, one: Candidate) -> list[str]:
    items = []
    if one.remote and one.remote.complete:
        items.append(f"pin {one.remote.path} as {look.site.backup.remote.rstrip('/')}/pinned/{one.id}")
    if _is_here(one):
        items.append(f"use the copy on this PC: {one.local.path if one.local else ''}")
    elif one.remote:
        target = Path(look.site.backup.local).expanduser() / one.id
        if one.local:
            items.append(f"keep {target}, which differs, as {one.id}.before-<time>")
        items.append(f"copy {size(one.remote.bytes)} to {target}, compared file by file")
    return items


def _lines(look: Look, crontab: str) -> list[str]:
    return freeze.active_lines(crontab, look.site.backup.schedule)


def _is_here(one: Candidate) -> bool:
    """Is the copy on this PC whole, and does it hold all that the backup VM's holds?"""
    if one.local is None or not one.local.complete:
        return False
    return not (one.remote and one.remote.complete) or freeze.same_files(one.remote.files, one.local.files)


# ── holding ────────────────────────────────────────────────────────────────────────────────
async def _held(look: Look, lease: freeze.Lease) -> bool:
    """Is the leased backup whole where the lease says?"""
    folder = Path(lease.path)
    if not folder.is_dir():
        return False
    local = await asyncio.to_thread(layout.describe_local, folder, look.site.backup.databases)
    if not lease.pinned:
        return local.complete
    remote = await layout.find_remote(look.host, look.site.backup.remote, look.site.backup.databases)
    there = next((one for one in remote if one.path == lease.pinned), None)
    return local.complete and there is not None and freeze.same_files(there.files, local.files)


async def _own_lease(context: Context) -> None:
    if await freeze.take_lease(context, context.host):
        return
    there = await freeze.read_lease(context, context.host)
    if there:
        await _takeover(context, there, "Two recoveries at once destroy each other's work.")
    await freeze.rewrite_lease(context, context.host, freeze.own_lease(context))


async def _takeover(context: Context, lease: freeze.Lease, why: str) -> None:
    answer = await context.voice.ask(
        "choice",
        f"The backups are leased by {lease.words}. {why}",
        (
            Option("stop", "Leave it to them", "nothing is changed"),
            Option("take", "Take it over", "only after talking to them; it is put on record"),
        ),
        default="stop",
    )
    if answer != "take":
        raise ActionFailed(
            f"The lease of {lease.words} was left to them. Nothing was changed.",
            next="Talk to them; then run the step again.",
        )
    context.voice.note(f"Lease of {lease.words} taken over.", kind="lease", run=lease.run, who=lease.who)


async def _fetch(context: Context, one: Candidate) -> Path:
    """The backup's folder on this PC, copied there when it is not (get_tree compares every file)."""
    if _is_here(one) and one.local:
        return Path(one.local.path)
    assert one.remote
    target = Path(context.site.backup.local).expanduser().resolve() / one.id
    await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
    if target.exists():
        kept = target.with_name(f"{one.id}.before-{context.clock.now():%Y%m%dT%H%M%SZ}")
        await asyncio.to_thread(target.rename, kept)
        context.voice.note(f"{target} differed and is kept as {kept}.")

    def tick(done: int, total: int) -> None:
        context.voice.progress(f"copying backup {one.id} to this PC", done, total, "bytes")

    await context.host.get_tree(one.remote.path, target, tick=tick, trouble=context.voice.say)
    return target
