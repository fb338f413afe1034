"""Backups: is the schedule stopped or running, is one held still, is it good?"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from runbook.backup import choice, freeze, layout, sums
from runbook.backup.verify import verify
from runbook.check import Finding, check
from runbook.context import Look
from runbook.errors import ActionFailed, CouldNotLook
from runbook.events import Verdict
from runbook.hosts.localfiles import first_difference
from runbook.units import parse_duration

WHICH = (
    "backup.verified tells whether the copy on this PC is whole. Move the wrong one away and try the step "
    "again: it is copied anew."
)
ANOTHER = "to use another backup, stop this run and start one with: runbook run GUIDE --backup ID"


@check("The backup schedule is stopped", on="backup")
async def schedule_frozen(look: Look) -> Finding:
    """No active crontab line of the backup VM contains ``backup.schedule``."""
    schedule = look.site.backup.schedule
    crontab = await freeze.read_crontab(look.host)
    active, frozen = freeze.active_lines(crontab, schedule), freeze.frozen_lines(crontab)
    elsewhere = await _system_crontabs(look, schedule)
    expected = f"no active crontab line with {schedule!r}"
    if active:
        return _found(
            look,
            verdict="fail",
            expected=expected,
            observed=f"{len(active)} active",
            evidence="\n".join(active),
        )
    if elsewhere:
        observed = "this user's crontab is stopped, but the system's files have such lines: stop them by hand"
        return _found(
            look, verdict="warn", expected=expected, observed=observed, evidence="\n".join(elsewhere)
        )
    if not frozen:
        observed = "no such line at all: is the schedule another user's, or a systemd timer?"
        return _found(look, verdict="warn", expected=expected, observed=observed)
    return _found(
        look,
        verdict="pass",
        expected=expected,
        observed=f"{len(frozen)} line(s) commented out",
        evidence="\n".join(frozen),
    )


@check("The backup schedule is running", on="backup")
async def schedule_running(look: Look) -> Finding:
    """The schedule's lines are active again, none is left commented out, and no lease is left."""
    schedule = look.site.backup.schedule
    crontab = await freeze.read_crontab(look.host)
    active, frozen = freeze.active_lines(crontab, schedule), freeze.frozen_lines(crontab)
    lease = await freeze.read_lease(look, look.host)
    expected = f"active crontab lines with {schedule!r}, no lease"
    if frozen or not active:
        observed = f"{len(active)} active, {len(frozen)} commented out"
        return _found(look, verdict="fail", expected=expected, observed=observed, evidence="\n".join(frozen))
    if lease:
        return _found(
            look,
            verdict="warn",
            expected=expected,
            observed=f"running, but there is a lease of {lease.words}",
        )
    return _found(
        look, verdict="pass", expected=expected, observed=f"{len(active)} active", evidence="\n".join(active)
    )


@check("The chosen backup is pinned", on="backup")
async def pinned(look: Look) -> Finding:
    """The chosen backup lies under ``pinned/``, and every file of it on this PC too, with the same
    SHA-256: each side is read to its end, which takes minutes for a large backup."""
    lease = await freeze.read_lease(look, look.host)
    own = lease if lease and lease.run == look.run_dir.name else None
    id = look.output("backup_id") or (own.backup if own else "")
    path = look.output("backup_path") or (own.path if own else "")
    where = look.output("backup_remote") or (own.pinned if own else "")
    expected = "the chosen backup below pinned/, every file of it with the same SHA-256 on this PC"
    if not id or not path:
        return _found(look, verdict="fail", expected=expected, observed="no backup was chosen in this run")
    local = await asyncio.to_thread(layout.describe_local, Path(path), look.site.backup.databases)
    if not where:
        observed = f"{id} lies on this PC alone; the backup VM does not have it, so nothing can prune it"
        return _found(
            look, verdict="warn" if local.complete else "fail", expected=expected, observed=observed
        )
    remote = await layout.find_remote(look.host, look.site.backup.remote, look.site.backup.databases)
    there = next((one for one in remote if one.path == where), None)
    if there is None:
        return _found(look, verdict="fail", expected=expected, observed=f"{where} is gone")
    problems = [*there.problems, *local.problems]
    if not problems:  # the reading is not worth its time otherwise
        pinned_sums, own_sums = await sums.both(look.host, where, Path(path))
        shared = {name: own_sums[name] for name in own_sums if name in pinned_sums}
        if difference := first_difference(pinned_sums, shared):
            problems += [f"{path} on this PC is not the same as {where}: {difference}", WHICH]
    if problems:
        return _found(
            look, verdict="fail", expected=expected, observed=problems[0], evidence="\n".join(problems)
        )
    more = sorted(own_sums.keys() - shared.keys())
    observed = f"{id}: {len(shared)} files with the same SHA-256 as {where} and as {path}"
    if more:
        observed += f"; {len(more)} more on this PC alone"
    return _found(
        look,
        verdict="warn" if more else "pass",
        expected=expected,
        observed=observed,
        evidence="\n".join(f"on this PC alone: {name!r}" for name in more[:20]),
    )


@check("The chosen backup is whole", on="once")
async def verified(look: Look) -> Finding:
    """Manifest, checksum (in every way it can have been made), every archive and every row of every
    dump of the backup on this PC, read to the end. Good proves the copy, not that it restores."""
    expected = "manifest, checksum, archives and dumps of every node good; age within the RPO"
    try:
        folder = await choice.chosen_folder(look)
    except ActionFailed as error:
        return _found(look, verdict="fail", expected=expected, observed=str(error))
    return await _judged(look, folder, expected, look.site.backup.databases)


@check("The backup that was taken is whole", on="once")
async def dumped(look: Look) -> Finding:
    """The same of what ``couchdb.dump`` wrote on this PC. Whether it holds what the servers hold was
    compared before it got its name."""
    path = look.output("dump_path")
    if not path:
        raise CouldNotLook("No backup was taken in this run.")
    expected = "manifest, checksum, sums and every row of every dump good"
    return await _judged(look, Path(str(path)), expected, ())


async def _judged(look: Look, folder: Path, expected: str, databases: tuple[str, ...]) -> Finding:
    site, stop = look.site, threading.Event()
    try:
        found = await asyncio.to_thread(
            verify,
            folder,
            roots=dict.fromkeys((site.backup.remote, "/backup")),
            expected=databases,
            largest=site.couchdb.max_document_size,
            now=look.clock.now(),
            rpo=parse_duration(site.objectives.rpo),
            domain=site.platform.domain if look.mode != "drill" else "",
            base=site.machines.internal_base,
            stop=stop,
        )
    except OSError as error:
        raise CouldNotLook(f"{folder} cannot be read: {error}") from None
    finally:
        stop.set()  # cancelled: the thread ends soon
    way = f"checksum matches ({found.way})" if found.way else "no checksum"
    rows = sum(found.documents.values())
    good = (
        f"{found.backup.id}: {len(found.backup.nodes)} nodes, {rows} documents read, {way}. "
        "This proves the copy; only a restore proves that it restores."
    )
    bad = [*found.problems, *found.remarks, *found.notes]
    verdict: Verdict = "fail" if found.problems else "warn" if bad else "pass"
    return _found(
        look,
        verdict=verdict,
        expected=expected,
        observed=f"{found.backup.id}: {bad[0]}" + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
        if bad
        else good,
        evidence="\n".join(
            [
                *bad,
                *([ANOTHER] if found.problems else []),
                *found.facts,
                *(f"not proven: {text}" for text in found.unproven),
                found.rebuildable,
            ]
        ),
    )


def _found(look: Look, *, verdict: Verdict, expected: str, observed: str, evidence: str = "") -> Finding:
    """In practice the backup VM and its backups are the lab's."""
    simulated = look.mode == "practice"
    return Finding(
        verdict=verdict, expected=expected, observed=observed, evidence=evidence, simulated=simulated
    )


async def _system_crontabs(look: Look, schedule: str) -> list[str]:
    """Lines of the system's crontabs with that word; empty where they cannot be read."""
    done = await look.host.run(["grep", "-rsF", "--", schedule, "/etc/crontab", "/etc/cron.d"], timeout=30)
    lines = done.stdout.decode(errors="replace").splitlines()
    return [line for line in lines if not line.partition(":")[2].lstrip().startswith("#")]
