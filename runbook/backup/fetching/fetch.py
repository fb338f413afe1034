"""A fetch: planned first, then carried out in the order in which nothing can be lost."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from runbook import units
from runbook.backup import desk, layout, ledger
from runbook.backup.fetching import choosing, comparing, copying, keeping, room
from runbook.backup.fetching.copying import Copied
from runbook.backup.fetching.hearing import Hearing
from runbook.backup.fetching.keeping import Surplus
from runbook.backup.fetching.staging import Staging
from runbook.backup.layout import Backup
from runbook.backup.ledger import Entry, Verdict
from runbook.backup.verifying.report import Order, Report, entry, examined
from runbook.clock import Clock
from runbook.errors import ActionFailed, CouldNotLook
from runbook.hosts.base import Host
from runbook.site.model import Site


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """``held``: id -> why it must not be deleted, beside the settings' own; None: nothing is deleted."""

    id: str = ""
    keep: int
    copies: tuple[str, ...] = ()
    held: dict[str, str] | None = {}


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """What a fetch would do. ``needed``: bytes that are still to be moved; ``free``: bytes here."""

    backup: Backup
    target: str
    here: bool  #: a backup of that name is here already, the same by names and sizes
    needed: int
    free: int
    surplus: Surplus
    remarks: tuple[str, ...] = ()

    def limited_to(self, paths: tuple[str, ...]) -> Fetch:
        """The same, but nothing else is deleted."""
        return msgspec.structs.replace(self, surplus=msgspec.structs.replace(self.surplus, paths=paths))


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """``verdict`` damaged: ``path`` is where it was set aside. ``problems``: what failed beside it."""

    id: str
    path: str
    verdict: Verdict
    brought: bool  #: False: it was here already, equal by SHA-256
    report: Report | None = None
    deleted: tuple[str, ...] = ()
    copies: tuple[Copied, ...] = ()
    problems: tuple[str, ...] = ()


async def plan(site: Site, host: Host, wish: Wish) -> Fetch:
    """Look only. Raises UseError, ActionFailed, CouldNotLook, HostError."""
    settings = site.backup
    found = await layout.look_remote(host, settings.remote, settings.databases)
    chosen = choosing.choose(found.backups, wish.id, f"{settings.remote} on {host.name}")
    local = Path(settings.local).expanduser().resolve()
    name = chosen.path.rpartition("/")[2]
    try:
        return await asyncio.to_thread(_planned, site, local, chosen, name, wish, found.backups)
    except OSError as error:
        raise CouldNotLook(
            f"{error.filename or local} on this PC cannot be read: {error.strerror}. Nothing was fetched."
        ) from error


def _planned(
    site: Site, local: Path, chosen: Backup, name: str, wish: Wish, found: tuple[Backup, ...]
) -> Fetch:
    stage = Staging(local, name)
    here = os.path.lexists(stage.target)
    if here and (difference := comparing.by_size(chosen, stage.target)):
        raise _taken(stage.target, chosen, difference)
    left = room.held(stage.folder) if not here else 0
    if not here and not left and local.is_dir() and (damaged := stage.damaged()):
        left = room.held(damaged[-1])
    backups, entries = keeping.look(local, (), "local")
    if not here:
        coming = msgspec.structs.replace(chosen, place="operator", tier="local", path=str(stage.target))
        backups = (*backups, coming)
    found_surplus = keeping.surplus(backups, entries, wish.keep, _held(site, wish, chosen.id))
    return Fetch(
        backup=chosen,
        target=str(stage.target),
        here=here,
        needed=0 if here else max(chosen.bytes - left, 0),
        free=room.free(local),
        surplus=found_surplus if wish.held is not None else msgspec.structs.replace(found_surplus, paths=()),
        remarks=tuple(choosing.passed_over(found, chosen)) if not wish.id else (),
    )


def _taken(target: Path, chosen: Backup, difference: str) -> ActionFailed:
    return ActionFailed(
        f"{target} is there, but it is not what {chosen.path} on the backup VM is: {difference}. Neither was "
        "touched, nothing was fetched.",
        next=f"Keep it under another name, then fetch again: mv {target} {target}.before-fetch",
    )


def _held(site: Site, wish: Wish, chosen: str) -> dict[str, str]:
    named = {site.backup.id: "the settings name it (backup.id)"} if site.backup.id else {}
    return {**(wish.held or {}), **named, chosen: "it is the one that is fetched"}


# ── carrying it out ────────────────────────────────────────────────────────────────────────
async def carry_out(
    site: Site, host: Host, here: Host, fetch: Fetch, wish: Wish, clock: Clock, hearing: Hearing
) -> Fetched:
    """Bring it, verify it, give it its name, copy it further; then delete what the plan named, if it still
    is too much. The caller holds the lock. Raises ActionFailed, HostError, CouldNotLook: then nothing was
    deleted, and what came is gone on with next time."""
    target = Path(fetch.target)
    try:
        if fetch.here:
            done, record = await _look_again(site, host, fetch, target, hearing)
        else:
            done, record = await _bring(site, host, fetch, target, clock, hearing)
        if done.verdict == "damaged":
            return done
        held = _held(site, wish, done.id) if wish.held is not None else None
        copies = await _copies(site, here, target, record, wish, held, hearing)
        deleted = await _delete(fetch, wish, held, hearing) if held is not None else ()
    except OSError as error:
        raise ActionFailed(
            f"{error.filename or target}: {error.strerror}. What is here already stays.",
            next="Make that right, then fetch again: it goes on where it stopped.",
        ) from error
    return msgspec.structs.replace(
        done, copies=copies, deleted=deleted, problems=tuple(one.problem for one in copies if one.problem)
    )


async def _bring(
    site: Site, host: Host, fetch: Fetch, target: Path, clock: Clock, hearing: Hearing
) -> tuple[Fetched, Entry]:
    stage = Staging(target.parent, target.name)
    room.require(fetch.needed, fetch.free, str(target.parent), "Nothing was fetched.")
    await asyncio.to_thread(stage.prepare)
    hearing.say(f"Fetching {units.size(fetch.needed)} from {host.name}:{fetch.backup.path}.")
    if fetch.backup.archive:
        await host.get_file(fetch.backup.path, stage.whole, tick=hearing.of("fetching"))
    else:
        await host.get_tree(fetch.backup.path, stage.whole, tick=hearing.of("fetching"), trouble=hearing.say)
    hearing.say("All of it is here, equal to the backup VM's by SHA-256. Verifying it.")
    wanted = _order(site, stage.whole, target.parent)
    report = await _verified(wanted, hearing)
    if report.verdict == "damaged":
        path = await asyncio.to_thread(stage.set_aside, clock.now())
    else:
        path = await asyncio.to_thread(stage.settle)
    report = msgspec.structs.replace(report, path=str(path))
    record = entry(report, wanted.by)
    await asyncio.to_thread(ledger.add, target.parent, record)
    report = msgspec.structs.replace(report, ledger=str(target.parent / ledger.NAME))
    hearing.say(f"Backup {report.id} is {report.verdict}; it is {path}.")
    return Fetched(id=report.id, path=str(path), verdict=report.verdict, brought=True, report=report), record


async def _look_again(
    site: Site, host: Host, fetch: Fetch, target: Path, hearing: Hearing
) -> tuple[Fetched, Entry]:
    """One of that name is here: the same, by its content? Verified, unless it was."""
    hearing.say(f"{target} is here already; comparing it with {host.name}:{fetch.backup.path} by SHA-256.")
    if difference := await comparing.by_content(host, fetch.backup.path, target):
        raise _taken(target, fetch.backup, difference)
    entries = await asyncio.to_thread(ledger.read, target.parent)
    own = [one for one in entries if one.path == str(target)]
    last = ledger.last(own, fetch.backup.id)
    report = None
    if last is None or last.verdict == "damaged":
        wanted = _order(site, target, target.parent)
        report = await _verified(wanted, hearing)
        last = entry(report, wanted.by)
        await asyncio.to_thread(ledger.add, target.parent, last)
        report = msgspec.structs.replace(report, ledger=str(target.parent / ledger.NAME))
    hearing.say(f"Backup {last.id} is here, equal to the backup VM's by SHA-256, and {last.verdict}.")
    found = Fetched(id=last.id, path=str(target), verdict=last.verdict, brought=False, report=report)
    return found, last


async def _verified(wanted: Order, hearing: Hearing) -> Report:
    loop, stop = asyncio.get_running_loop(), threading.Event()
    tick = hearing.of("verifying")
    try:
        report, _ = await asyncio.to_thread(
            examined, wanted, lambda done, total: _later(loop, tick, done, total), stop
        )
        return report
    finally:
        stop.set()  # cancelled: the thread ends soon


def _later(loop: asyncio.AbstractEventLoop, tick: object, done: int, total: int) -> None:
    assert callable(tick)
    loop.call_soon_threadsafe(tick, done, total)


def _order(site: Site, path: Path, among: Path) -> Order:
    return msgspec.structs.replace(desk.order_for(site, str(path)), among=str(among))


async def _copies(
    site: Site,
    here: Host,
    source: Path,
    record: Entry,
    wish: Wish,
    held: Mapping[str, str] | None,
    hearing: Hearing,
) -> tuple[Copied, ...]:
    """One after the other: drives share a bus. Of the settings' folders one may be away."""
    done = []
    for folder in dict.fromkeys((*wish.copies, *site.backup.copies)):
        place = Path(folder).expanduser()
        one = await copying.copy(here, source, place, record, wish.keep, held, hearing)
        if one.absent and folder in wish.copies:
            text = f"There is no folder {place}: is its drive mounted? The second copy was not made."
            one = msgspec.structs.replace(one, problem=text)
        said = one.problem or (f"{place} is not there now: no copy was made in it." if one.absent else "")
        if said:
            hearing.say(said)
        done.append(one)
    return tuple(done)


async def _delete(fetch: Fetch, wish: Wish, held: Mapping[str, str], hearing: Hearing) -> tuple[str, ...]:
    """What was shown and still is too much: the world may have changed since."""
    folder = Path(fetch.target).parent
    await asyncio.to_thread(keeping.clear, folder)
    backups, entries = await asyncio.to_thread(keeping.look, folder, (), "local")
    still = keeping.surplus(backups, entries, wish.keep, held).paths
    gone: list[str] = []
    for path in (path for path in fetch.surplus.paths if path in still):
        count = await asyncio.to_thread(keeping.delete, Path(path))
        gone.append(path)
        hearing.say(f"Deleted {path} ({units.size(count)}): beyond the latest {wish.keep}.")
    return tuple(gone)


__all__ = ["Fetch", "Fetched", "Wish", "carry_out", "plan"]
