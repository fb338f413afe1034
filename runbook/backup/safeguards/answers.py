"""What only a person can tell: asked once a quarter, kept with who said it and when.

One JSON line an answer in ``safeguards.jsonl`` in the state folder; nothing is ever rewritten, and the
last line counts. No secret belongs in an answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from runbook.errors import UseError

NAME = "safeguards.jsonl"
VALID = timedelta(days=92)
#: a clock may be ahead by that much
_AHEAD = timedelta(days=1)
#: characters of an answer; bytes of the file that are read, from its end
LONGEST, _LARGEST = 2000, 4_000_000

QUESTIONS = {
    "encrypted": "Is the drive of the local backups encrypted?",
    "detached": "Are the further copies detached, and kept elsewhere, between two copies?",
    "media": "Are the media kept safe from damage and theft? Where?",
    "notes": "Are there notes of custom configuration? In which file, or where?",
    "credentials": "Are the credentials stored safely, and can somebody else get at them? Where?",
    "registrar": "Is the access to the domain's registrar documented, second factor included? Where?",
    "tofu_state": "Is OpenTofu's state backed up, apart from this PC? Where?",
}
#: how a finding begins whose question is to be asked
NEVER, AGAIN = DUE = ("not answered yet", "asked again")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    site: str
    key: str
    at: datetime
    yes: bool
    text: str
    who: str = ""
    pc: str = ""


#: future: its date lies ahead of the clock, which was set back, or was wrong then
State = Literal["yes", "no", "never", "expired", "future"]


def state(answers: Iterable[Answer], site: str, key: str, now: datetime) -> tuple[State, Answer | None]:
    """What the last answer to that question is worth now."""
    last = None
    for one in answers:
        if one.site == site and one.key == key and one.at.tzinfo:
            last = one
    if last is None:
        return "never", None
    if last.at > now + _AHEAD:
        return "future", last
    if now - last.at > VALID:
        return "expired", last
    return ("yes" if last.yes else "no"), last


def read(folder: Path) -> list[Answer]:
    """All answers, in the order they were given; lines that are none are passed over. Raises OSError."""
    found = []
    try:
        with (folder / NAME).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LARGEST))
            raw = file.read(_LARGEST)
    except FileNotFoundError:
        return []
    for line in raw.splitlines():
        with suppress(ValueError, RecursionError):
            found.append(msgspec.json.decode(line, type=Answer))
    return found


def add(folder: Path, answer: Answer) -> None:
    """Append it, durably. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with os.fdopen(os.open(folder / NAME, flags, 0o600), "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        cut = file.read(1) not in (b"", b"\n")  # a line that a crash cut off must not take ours with it
        file.write((b"\n" if cut else b"") + msgspec.json.encode(answer) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def checked(key: str, text: str) -> str:
    """What a person typed, fit to be kept. Raises UseError."""
    if key not in QUESTIONS:
        raise UseError(f"There is no question {key!r}.", next=f"The keys: {', '.join(QUESTIONS)}.")
    said = text.encode(errors="replace").decode().strip()
    if not said:
        raise UseError("The answer is empty.", next='Say where or how, in a line; or "no".')
    if len(said) > LONGEST:
        raise UseError(f"The answer is longer than {LONGEST} characters.", next="Say where it is written.")
    return said


def made(site: str, key: str, text: str, now: datetime, who: str, pc: str) -> Answer:
    """An answer of what a person typed: one that begins with "no" says so. Raises UseError."""
    said = checked(key, text)
    first = said.split()[0].lower().rstrip(",.:;!")
    return Answer(site=site, key=key, at=now, yes=first not in ("no", "not"), text=said, who=who, pc=pc)
