"""``runbook backup list``: every backup of every tier and place in one table."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from tabulate import tabulate

from runbook import units
from runbook.backup import inventory
from runbook.backup.cli.looked import as_json, looked, options, remark
from runbook.backup.inventory import Inventory, Item, Place
from runbook.errors import EXIT_FAILED, EXIT_OK, EXIT_UNKNOWN
from runbook.looking import Looker
from runbook.text import printable

_HEADERS = ("backup", "where", "age", "size", "nodes", "manifest", "last verified")
#: the widest an id and a place are in one line; longer ones go on below
_ID, _WHERE = 11, 10
#: problems told by line
_MOST = 20


def add(verbs: Any) -> None:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "list",
        help="every backup of every tier and place",
        description="Lists the backups on the backup VM (daily, weekly, monthly, pinned), on this PC, and in "
        "every folder of backup.copies that is there, newest first. By names and sizes; nothing is read but "
        "the manifests and the records of verifications. A place that cannot be looked at is told.",
        epilog="Exit codes: 0 all well, 1 none is there, or one is incomplete or was found damaged, 2 wrong "
        "use or settings, 4 a place could not be looked at.",
    )
    options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    found = looked(args, _take)
    print(as_json(found) if args.json else text(found))
    return exit_code(found)


async def _take(world: Looker) -> Inventory:
    return await inventory.take(await world.here())


def exit_code(found: Inventory) -> int:
    if not found.backups or any(map(_bad, found.backups)):
        return EXIT_UNKNOWN if not found.backups and _unknown(found) else EXIT_FAILED
    return EXIT_UNKNOWN if _unknown(found) else EXIT_OK


def _unknown(found: Inventory) -> bool:
    return any(one.state == "unknown" or one.complaints for one in found.places)


def _bad(one: Item) -> bool:
    return (not one.complete and not one.archive) or (
        one.verified is not None and one.verified.verdict == "damaged"
    )


# ── the table ──────────────────────────────────────────────────────────────────────────────
def text(found: Inventory) -> str:
    """For a terminal of 80 columns."""
    parts = []
    if found.backups:
        rows = [_row(one, found.at) for one in found.backups]
        parts.append(
            tabulate(
                rows,
                headers=_HEADERS,
                disable_numparse=True,
                colalign=("left", "left", "right", "right", "right", "left", "left"),
                maxcolwidths=[_ID, _WHERE, None, None, None, None, None],
            )
        )
    parts += [line for place in found.places if (line := _of_place(place, found))]
    bad = [remark("!", f"{one.id} ({where(one)}): {_why(one)}") for one in found.backups if _told(one)]
    parts += bad[:_MOST] + ([f"  … and {len(bad) - _MOST} more; --json has all"] if len(bad) > _MOST else [])
    return "\n".join(parts)


def where(one: Item) -> str:
    return f"VM {one.tier}" if one.place == "backup VM" else one.place


def _row(one: Item, now: datetime) -> tuple[str, ...]:
    nodes = "?" if one.archive else str(len(one.nodes))
    manifest = "?" if one.manifest == "unknown" else one.manifest
    cells = (where(one), age(one.made, now), units.size(one.bytes), nodes, manifest, verified(one))
    return printable(one.id, limit=120), *cells


def age(made: datetime | None, now: datetime) -> str:
    if made is None:
        return "?"
    seconds = (now - made).total_seconds()
    return units.duration(seconds) if seconds >= 0 else "future"


def verified(one: Item) -> str:
    return f"{one.verified.at:%Y-%m-%d} {one.verified.verdict}" if one.verified else "never"


def _told(one: Item) -> bool:
    return bool(one.problems) or _bad(one)


def _why(one: Item) -> str:
    problems = list(one.problems)
    if one.verified and one.verified.verdict == "damaged":
        problems.insert(0, f"damaged: {one.verified.first}")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return problems[0][:400] + more


def _of_place(place: Place, found: Inventory) -> str:
    name, path = place.name, place.path
    if place.state == "unknown":
        return remark("?", f"{name} could not be looked at: {place.problem}")
    if place.state == "absent":
        return remark("·", f"{name}: {path} is not there now")
    lines = [remark("?", f"{name}: {text}") for text in place.complaints[:5]]
    if all(one.place != name for one in found.backups):
        lines.insert(0, remark("·", f"{name}: no backup in {path}"))
    return "\n".join(lines)
