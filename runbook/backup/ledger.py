"""What verifications found: one JSON line each, in a file beside the backups, on any machine.

The file lies in the folder that holds the backups, not in one of them: no byte of a backup changes.
A line that cannot be read (cut off, of another version) is passed over; nothing is ever rewritten.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

NAME = ".runbook-verified.jsonl"
#: bytes that are read of a ledger: tens of thousands of verifications
LARGEST = 8_000_000
#: sound: nothing wrong was found; doubtful: usable, but something is to be known; damaged: do not rely on it
Verdict = Literal["sound", "doubtful", "damaged"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One verification of one backup. ``print`` is the SHA-256 over the names and SHA-256s of all its
    files where they were made, so that a copy elsewhere can be known to be the same; "" where not."""

    id: str
    path: str  #: where it lay
    at: datetime  #: when it ended, with offset
    verdict: Verdict
    first: str = ""  #: the first problem or remark, in words
    problems: int = 0
    remarks: int = 0
    documents: int = 0
    bytes: int = 0
    print: str = ""
    by: str = ""  #: who, on which PC
    program: str = ""  #: version


def add(folder: Path, entry: Entry) -> None:
    """Append to the ledger in ``folder``, durably. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with os.fdopen(os.open(folder / NAME, flags, 0o600), "r+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        cut = file.read(1) not in (b"", b"\n")  # a line that a crash cut off must not take ours with it
        file.write((b"\n" if cut else b"") + msgspec.json.encode(entry) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> list[Entry]:
    """Its entries, oldest first; none where there is no ledger. Of one that has grown beyond all measure
    the end. Raises OSError."""
    try:
        with (folder / NAME).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LARGEST))
            return parse(file.read(LARGEST))
    except FileNotFoundError:
        return []


def parse(raw: bytes) -> list[Entry]:
    found = []
    for line in raw.splitlines():
        try:
            found.append(msgspec.json.decode(line, type=Entry))
        except (ValueError, RecursionError):
            continue
    return found


def last(entries: Iterable[Entry], id: str) -> Entry | None:
    """The newest entry of that backup."""
    return max((one for one in entries if one.id == id), key=lambda one: one.at, default=None)
