"""Backups as calendars: each tier's days, weeks or months, with what is there and what lacks.

Pure but for ``take``: an inventory and the backup VM's clock in, rows of cells out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, tzinfo
from typing import Literal

import msgspec

from runbook.backup import inventory, keeping
from runbook.backup.inventory import Inventory, Item, Place
from runbook.backup.retention import KEEP, Held, Tier, calendar_of, judge
from runbook.context import Look
from runbook.errors import RunbookError

#: verified and damaged: by the last verification of that copy; partial: not whole, by names and sizes;
#: present: whole by names and sizes, never verified; making: it is being made now; due: it is not late yet
Word = Literal["verified", "doubtful", "damaged", "partial", "present", "missing", "making", "due", "archive"]
_VERIFIED: dict[str, Word] = {"sound": "verified", "doubtful": "doubtful", "damaged": "damaged"}


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One day, week or month of a tier, or one copy elsewhere. ``item`` None: there is none."""

    id: str
    label: str
    word: Word
    item: Item | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """``title``: the place and tier; ``remarks``: what is not as it should be, worst first."""

    title: str
    place: str
    tier: str
    cells: tuple[Cell, ...] = ()
    remarks: tuple[str, ...] = ()


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    rows: tuple[Row, ...]


async def take(look: Look) -> Overview:
    """Look everywhere, side by side. A place that cannot be looked at says so in its row."""
    found = await inventory.take(look)
    zone: tzinfo = UTC
    with suppress(RunbookError, ValueError):
        (machine,) = look.hosts.select("backup")[:1]
        zone, _ = await keeping.time_zone(await look.hosts.open(machine.name))
    return Overview(at=found.at, rows=tuple(rows(found, zone)))


def rows(found: Inventory, zone: tzinfo) -> list[Row]:
    """The backup VM's tiers by their schedule, then every other place with what is in it."""
    made = []
    for place in found.places:
        there = [one for one in found.backups if one.place == place.name]
        if place.state != "looked":
            made.append(Row(title=place.name, place=place.name, tier="", remarks=(_absent(place),)))
        elif place.name == "backup VM":
            made += [_tier(tier, [one for one in there if one.tier == tier], found.at, zone) for tier in KEEP]
            if pinned := [one for one in there if one.tier not in KEEP]:
                made.append(_copies(place, "pinned", pinned))
        else:
            made.append(_copies(place, "", there))
    return made


def _absent(place: Place) -> str:
    if place.state == "absent":
        return f"{place.path} is not there now"
    return f"could not be looked at: {place.problem}"


def _tier(tier: str, there: Sequence[Item], now: datetime, zone: tzinfo) -> Row:
    held = [Held(id=one.id, made=one.made, whole=one.complete or one.archive) for one in there]
    judged, days = judge(tier, held, now, zone), calendar_of(tier, held, zone)
    current = days.of(now.astimezone(zone).date())
    numbers: dict[int | str, Item] = {}
    for one, made in zip(held, there, strict=True):
        number = days.number(one.id, one.made.astimezone(zone).date() if one.made else None)
        numbers[one.id if number is None else number] = made
    cells = []
    for number in range(current, current - KEEP[tier] - 1, -1):
        item: Item | None = numbers.pop(number) if number in numbers else None
        if item is None and number == current - KEEP[tier]:
            continue  # the schedule took it away, or is about to
        name = item.id if item else days.name(number)
        cells.append(
            Cell(id=name, label=_label(tier, days.first(number)), word=_word(item, name, judged), item=item)
        )
    cells += [
        Cell(id=one.id, label=one.id, word=_word(one, one.id, judged), item=one) for one in numbers.values()
    ]
    title = f"Backup VM, {tier}"
    return Row(title=title, place="backup VM", tier=tier, cells=tuple(cells), remarks=tuple(judged.remarks()))


def _word(item: Item | None, name: str, judged: Tier | None = None) -> Word:
    if item is None:
        lacking = judged is not None and name in (judged.late, *judged.gaps, *judged.shallow)
        return "missing" if lacking else "due"
    if item.verified:
        return _VERIFIED[item.verified.verdict]
    if item.archive:
        return "archive"
    if item.complete:
        return "present"
    return "making" if judged is not None and judged.running == item.id else "partial"


def _label(tier: str, first: date) -> str:
    if tier == "monthly":
        return f"{first:%b %Y}"
    return f"{first:%a %d %b}" if tier == "daily" else f"wk {first:%d %b}"


def _copies(place: Place, tier: str, there: Iterable[Item]) -> Row:
    cells = tuple(Cell(id=one.id, label=one.id, word=_word(one, one.id), item=one) for one in there)
    title = {"this PC": "This PC", "backup VM": "Backup VM"}.get(place.name, place.name.capitalize())
    remarks = place.complaints if cells else (*place.complaints, f"no backup in {place.path}")
    return Row(
        title=f"{title}, {tier}" if tier else title,
        place=place.name,
        tier=tier,
        cells=cells,
        remarks=tuple(remarks),
    )
