"""Is a tier as fresh and as deep as it should be? By the names' and manifests' dates alone.

Pure: from the time and what is there. A backup that is just being made, or about to be, is no gap; nor
is the oldest one, which the schedule takes away at about the same time.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, tzinfo

import msgspec

from runbook.backup.calendars import Calendar, Days, Months, weeks
from runbook.events import Verdict

#: how many each tier keeps
KEEP = {"daily": 7, "weekly": 4, "monthly": 12}
AT = time(1)  #: when the backup VM begins, by its own clock
TAKES = timedelta(hours=1)
SOON = timedelta(minutes=10)
#: days that a copy may be older than the period it is named after
_OLDER = {"daily": 1, "weekly": 3, "monthly": 3}


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One backup: ``made`` by its manifest, ``whole`` as far as names and sizes tell."""

    id: str
    made: datetime | None
    whole: bool = True
    bytes: int = 0


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """One tier against its schedule; ids throughout. ``found`` of ``keep`` that should be there."""

    name: str
    keep: int
    found: int
    newest: str = ""
    oldest: str = ""
    late: str = ""  #: the newest that should be there, and is not
    gaps: tuple[str, ...] = ()  #: missing between others
    unfinished: tuple[str, ...] = ()  #: there, not whole
    shallow: tuple[str, ...] = ()  #: missing, and nothing older is there
    surplus: tuple[str, ...] = ()  #: older than the schedule keeps
    future: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()  #: names that no schedule gives
    running: str = ""  #: being made now
    stale: str = ""  #: why the newest is a copy of something old
    numbering: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.late or self.stale or not self.newest:
            return "fail"
        return "warn" if self.remarks() else "pass"

    @property
    def lacking(self) -> bool:
        """Does one lack that was there or should have been made? (Not: the tier is young yet.)"""
        return self.verdict == "fail" or bool(self.gaps or self.unfinished)

    def remarks(self) -> list[str]:
        """What is not as it should be, worst first."""
        said = []
        if not self.newest:
            said.append("no whole backup is in it")
        elif self.late:
            said.append(f"the newest should be {self.late}, but is {self.newest}")
        if self.stale:
            said.append(self.stale)
        for words, ids in (
            ("missing", self.gaps),
            ("not whole", self.unfinished),
            ("dated in the future", self.future),
            ("older than the schedule keeps (is nothing pruned?)", self.surplus),
            ("not a name that the schedule gives", self.odd),
        ):
            if ids:
                said.append(f"{words}: {_listed(ids)}")
        if self.shallow and self.newest:
            said.append(f"not as deep as it should be: nothing before {self.oldest} is there")
        return said


def _listed(ids: tuple[str, ...], most: int = 12) -> str:
    return ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")


def judge(tier: str, held: Iterable[Held], now: datetime, zone: tzinfo) -> Tier:
    """One tier; ``now`` aware, ``zone`` the backup VM's."""
    there = sorted(held, key=lambda one: one.id)
    calendar = calendar_of(tier, there, zone)
    keep = KEEP[tier]
    numbers: dict[int, Held] = {}
    odd = []
    for one in there:
        number = calendar.number(one.id, _day(one, zone))
        if number is None:
            odd.append(one.id)
        elif number not in numbers or (one.whole and not numbers[number].whole):
            numbers[number] = one

    local = now.astimezone(zone)
    current = calendar.of(local.date())
    begins, due = _due(tier, calendar, current, numbers, zone)
    made = current in numbers and numbers[current].whole
    last = current if made or local >= due else current - 1
    want = list(range(last, last - keep, -1))
    if last != current and (local >= begins - SOON or current in numbers):
        want.pop()  # may be pruned by now
    whole = sorted(number for number, one in numbers.items() if one.whole and number <= current)
    missing = [number for number in want if number not in numbers]
    running = numbers[current].id if current in numbers and not made and local < due else ""
    between = [number for number in missing if whole and number > whole[0]]
    name = calendar.name
    return Tier(
        name=tier,
        keep=keep,
        found=sum(number in numbers and numbers[number].whole for number in want),
        newest=numbers[whole[-1]].id if whole else "",
        oldest=numbers[whole[0]].id if whole else "",
        late=name(want[0]) if want[0] not in whole else "",
        gaps=tuple(name(number) for number in sorted(between)),
        unfinished=tuple(
            one.id for number, one in sorted(numbers.items()) if not one.whole and one.id != running
        ),
        shallow=tuple(name(number) for number in sorted(missing) if number not in between),
        surplus=tuple(numbers[number].id for number in sorted(numbers) if number < current - keep - 1),
        future=tuple(numbers[number].id for number in sorted(numbers) if number > current),
        odd=tuple(odd),
        running=running,
        stale=_stale(tier, calendar, numbers, whole, zone),
        numbering=calendar.words,
    )


def calendar_of(tier: str, held: Iterable[Held], zone: tzinfo) -> Calendar:
    """How the periods of that tier are named, as far as the backups there tell."""
    if tier == "daily":
        return Days()
    return weeks((one.id, _day(one, zone)) for one in held) if tier == "weekly" else Months()


def _day(one: Held, zone: tzinfo) -> date | None:
    return one.made.astimezone(zone).date() if one.made else None


def _due(
    tier: str, calendar: Calendar, current: int, numbers: dict[int, Held], zone: tzinfo
) -> tuple[datetime, datetime]:
    """When the current period's backup is begun, and when it has to be there. Weekly and monthly ones are
    copies: of the day, within their week or month, that the earlier ones were made at latest; else of
    the last."""
    first, after = calendar.first(current), calendar.first(current + 1)
    if tier == "daily":
        begins = datetime.combine(first, AT, zone)
        return begins, begins + TAKES
    offsets = []
    for number, one in numbers.items():
        day = _day(one, zone)
        if number != current and day and calendar.of(day) == number:
            offsets.append((day - calendar.first(number)).days)
    day = min(first + timedelta(days=max(offsets, default=31)), after - timedelta(days=1))
    return datetime.combine(day, AT, zone), datetime.combine(day + timedelta(days=1), time(0), zone)


def _stale(tier: str, calendar: Calendar, numbers: dict[int, Held], whole: list[int], zone: tzinfo) -> str:
    """Why the newest is not what its name says; "" when it is, or no manifest tells."""
    if not whole or (day := _day(numbers[whole[-1]], zone)) is None:
        return ""
    newest = numbers[whole[-1]]
    if day < calendar.first(whole[-1]) - timedelta(days=_OLDER[tier]):
        return f"the newest, {newest.id}, is a copy of something old: its manifest is of {day}"
    for number in reversed(whole[:-1]):
        if numbers[number].made == newest.made:
            other = numbers[number].id
            return f"the newest, {newest.id}, is a copy of something old: {other} is of the same moment"
    return ""
