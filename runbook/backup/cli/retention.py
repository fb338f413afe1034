"""``runbook backup retention``: is every tier of the backup VM as fresh and as deep as it should be?"""

from __future__ import annotations

import argparse
from typing import Any

import msgspec
from tabulate import tabulate

from runbook import units
from runbook.backup import growth, keeping
from runbook.backup.cli.looked import as_json, looked, options, remark
from runbook.backup.keeping import Retention, Room
from runbook.errors import EXIT_FAILED, EXIT_OK, EXIT_UNKNOWN, CouldNotLook, HostError
from runbook.looking import Looker
from runbook.text import printable

_HEADERS = ("tier", "verdict", "there", "newest", "oldest", "what is wrong")


def add(verbs: Any) -> None:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "retention",
        help="is every tier as fresh and as deep as it should be?",
        description="Holds the tiers of the backup VM against their schedule: daily at 01:00 by its clock, 7 "
        "kept; the last 4 weeklies; the last 12 monthlies. By the dates of names and manifests, never of "
        "files. Also: the cron entries, and the room that is left.",
        epilog="Exit codes: 0 nothing is missing, 1 a backup is missing, old or cut short, the schedule does "
        "not run or the disk is nearly full, 2 wrong use or settings, 4 could not look.",
    )
    options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        found = looked(args, _look)
    except (CouldNotLook, HostError) as error:
        error.exit_code = EXIT_UNKNOWN
        raise
    print(as_json(_told(found)) if args.json else text(found))
    if found.verdict == "fail" or any(one.lacking for one in found.tiers):
        return EXIT_FAILED
    return EXIT_UNKNOWN if found.verdict == "unknown" else EXIT_OK


async def _look(world: Looker) -> Retention:
    look = await world.here()
    machines = world.hosts.select("backup")
    if not machines:
        raise CouldNotLook("No backup VM is known.")
    return await keeping.look(look, await world.hosts.open(machines[0].name))


def _told(found: Retention) -> dict[str, Any]:
    """With what follows from it, for programs."""
    told: dict[str, Any] = msgspec.to_builtins(found) | {"verdict": found.verdict}
    for tier, one in zip(told["tiers"], found.tiers, strict=True):
        tier |= {"verdict": one.verdict, "remarks": one.remarks()}
    told["schedule"]["verdict"] = found.schedule.verdict
    told["room"]["verdict"] = found.room.verdict
    return told


# ── for a terminal of 80 columns ───────────────────────────────────────────────────────────
def text(found: Retention) -> str:
    rows = [
        (
            one.name,
            one.verdict.upper(),
            f"{one.found} of {one.keep}",
            printable(one.newest),
            printable(one.oldest),
            "; ".join(map(printable, one.remarks())) or "nothing",
        )
        for one in found.tiers
    ]
    table = tabulate(
        rows, headers=_HEADERS, disable_numparse=True, maxcolwidths=[None, None, None, 11, 11, 26]
    )
    weekly = next((one for one in found.tiers if one.name == "weekly"), None)
    lines = [
        remark("schedule:", f"{found.schedule.verdict.upper()}: {found.schedule.words}"),
        remark("room:", f"{found.room.verdict.upper()}: {room(found.room)}"),
        remark("time zone of the backup VM:", f"{found.zone}; {weekly.numbering if weekly else ''}"),
    ]
    lines += [remark("·", f"being made now: {one.name} {one.running}") for one in found.tiers if one.running]
    lines += [remark("?", one) for one in found.complaints[:5]]
    return "\n".join([table, "", *lines])


def room(found: Room) -> str:
    if found.problem or found.free is None:
        return found.problem
    left = f"{units.size(found.free)} left"
    if found.growth is None:
        return f"{left}; how backups grow cannot be told from fewer than two"
    grows = f"{units.size(found.growth)} a day" if found.growth > 0 else "not growing"
    if found.days is None:
        return f"{left}; no end within {growth.HORIZON // 365} years (a backup: {grows})"
    return f"{left}, enough for {found.days - 1} days (a backup: {grows})"
