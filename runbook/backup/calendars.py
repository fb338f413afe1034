"""The names that a schedule gives its backups: which day, week or month is it, and what comes before it?

Every period has a number, so that the one before has the number before. Weeks occur in two ways: ISO
8601's (``date +%G-week%V``; also with ``%Y``, which is a year off around New Year) and those that begin
on Sunday (``date +%Y-week%U``); the manifests' dates tell which it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

_WEEK = re.compile(r"(\d{4})-week(\d{1,2})", re.ASCII)
_DAY = re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII)
_MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
#: years that a backup can be of
_YEARS = range(1970, 3000)


class Calendar(Protocol):
    @property
    def words(self) -> str:
        """How its periods are numbered, where that can be done in more than one way."""
        ...

    def of(self, day: date) -> int:
        """The number of the period that holds the day."""
        ...

    def first(self, number: int) -> date:
        """The period's first day."""
        ...

    def name(self, number: int) -> str:
        """What a backup of that period is called."""
        ...

    def number(self, id: str, made: date | None) -> int | None:
        """The period that an id stands for; ``made``: the day in its manifest. None: it is no such id."""
        ...


@dataclass(frozen=True)
class Days:
    words: str = ""

    def of(self, day: date) -> int:
        return day.toordinal()

    def first(self, number: int) -> date:
        return date.fromordinal(number)

    def name(self, number: int) -> str:
        return f"{date.fromordinal(number):%Y%m%d}"

    def number(self, id: str, made: date | None) -> int | None:
        match = _DAY.fullmatch(id)
        day = _date(*map(int, match.groups())) if match else None
        return self.of(day) if day else None


@dataclass(frozen=True)
class Months:
    words: str = ""

    def of(self, day: date) -> int:
        return day.year * 12 + day.month - 1

    def first(self, number: int) -> date:
        return date(number // 12, number % 12 + 1, 1)

    def name(self, number: int) -> str:
        return f"{self.first(number):%Y-%m}"

    def number(self, id: str, made: date | None) -> int | None:
        match = _MONTH.fullmatch(id)
        day = _date(int(match[1]), int(match[2]), 1) if match else None
        return self.of(day) if day else None


@dataclass(frozen=True)
class Weeks:
    """``sunday``: they begin on Sunday and are counted from the year's first one (%U); else ISO's."""

    sunday: bool = False

    @property
    def words(self) -> str:
        return "weeks from Sunday (date +%U)" if self.sunday else "weeks of ISO 8601 (date +%V)"

    def of(self, day: date) -> int:
        return (day.toordinal() - (0 if self.sunday else 1)) // 7  # ordinal 1 was a Monday

    def first(self, number: int) -> date:
        return date.fromordinal(number * 7 + (0 if self.sunday else 1))

    def name(self, number: int) -> str:
        return self.labels(self.first(number))[0]

    def labels(self, day: date) -> tuple[str, ...]:
        """What a backup of that day can be called."""
        if self.sunday:
            return (f"{day.year}-week{day:%U}",)
        year, week, _ = day.isocalendar()
        return f"{year}-week{week:02}", f"{day.year}-week{week:02}"

    def number(self, id: str, made: date | None) -> int | None:
        match = _WEEK.fullmatch(id)
        if not match or int(match[1]) not in _YEARS:
            return None
        year, week = int(match[1]), int(match[2])
        if made and f"{year}-week{week:02}" in self.labels(made):
            return self.of(made)
        if self.sunday:
            january = date(year, 1, 1)
            sunday = january + timedelta(days=6 - january.weekday())
            return self.of(sunday) + week - 1 if week <= 53 else None
        for other in (year, year - 1):  # 2027-week53 is the last of 2026, called so in January
            try:
                return self.of(date.fromisocalendar(other, week, 1))
            except ValueError:
                continue
        return None


def weeks(backups: Iterable[tuple[str, date | None]]) -> Weeks:
    """The numbering that the manifests' days speak for; ISO's where both would do."""
    known = [(id, made) for id, made in backups if made]
    iso, sunday = Weeks(), Weeks(sunday=True)
    votes = [sum(id in way.labels(made) for id, made in known) for way in (iso, sunday)]
    return sunday if votes[1] > votes[0] else iso


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day) if year in _YEARS else None
    except ValueError:
        return None
