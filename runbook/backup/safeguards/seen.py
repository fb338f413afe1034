"""When was a further copy within reach, and which backup on it was equal to the one here?

A drive that always is within reach can be lost with the PC; one that is away cannot be compared now.

One line a day, folder and outcome, in ``copies-seen.jsonl`` in the state folder; three months are kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from runbook.context import Look
from runbook.errors import HostError
from runbook.hosts import localfiles

NAME = "copies-seen.jsonl"
#: days that are kept, and that count
KEPT, MONTH = 92, 31
#: as little as a month has
FEWEST = 28
_LARGEST = 1_000_000
#: checks look side by side
_writing = threading.Lock()


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    site: str
    path: str
    day: date
    there: bool
    equal: str = ""  #: the id of a backup that was found equal that day


#: away: there at times, and not at others; attached: there at every look in a month; early: at every
#: look, but no month has passed; never: it was not there at any look
Habit = Literal["away", "attached", "early", "never"]


def habit(looks: Iterable[Seen], now: datetime) -> tuple[Habit, Seen | None, int]:
    """(how it is kept, the look that shows it, days on which was looked). Looks dated after tomorrow or
    before the month do not count: a clock was wrong."""
    today = now.date()
    known = [one for one in looks if one.day - today <= timedelta(days=1)]
    counted = [one for one in known if today - one.day <= timedelta(days=MONTH)]
    days = len({one.day for one in counted})
    if not counted or not any(one.there for one in known):
        return "never", None, days
    away = [one for one in counted if not one.there]
    if away:
        return "away", max(away, key=lambda one: one.day), days
    first = min(counted, key=lambda one: one.day)
    return ("attached" if (today - first.day).days >= FEWEST else "early"), first, days


def read(folder: Path) -> list[Seen]:
    """All looks; lines that are none are passed over. Raises HostError."""
    raw = localfiles.read_bytes("this PC", folder / NAME, _LARGEST) or b""
    found = []
    for line in raw.splitlines():
        with suppress(ValueError, RecursionError):
            found.append(msgspec.json.decode(line, type=Seen))
    return found


def last_equal(looks: Iterable[Seen], now: datetime) -> Seen | None:
    """The newest look that found a backup equal."""
    known = [one for one in looks if one.equal and one.day <= now.date() + timedelta(days=1)]
    return max(known, key=lambda one: one.day, default=None)


def note(folder: Path, site: str, reachable: Mapping[str, bool], now: datetime, equal: str = "") -> None:
    """Remember today's look: which folders are there, and what in them is ``equal``. A record that cannot
    be kept is no reason to show nothing: then it is not."""
    today = now.date()
    new = {
        Seen(site=site, path=path, day=today, there=there, equal=equal) for path, there in reachable.items()
    }
    with _writing, suppress(HostError):
        known = read(folder)
        if not new <= set(known):
            kept = [one for one in known if one not in new and abs((today - one.day).days) <= KEPT]
            lines = b"".join(msgspec.json.encode(one) + b"\n" for one in (*kept, *sorted(new, key=_order)))
            localfiles.write_bytes("this PC", folder / NAME, lines, 0o600)


def _order(one: Seen) -> str:
    return one.path


def state_folder(look: Look) -> Path:
    """Where what this PC remembers lies: the folder that holds all runs."""
    folder = look.run_dir
    return folder.parent.parent if folder.parent.name == "runs" else folder
