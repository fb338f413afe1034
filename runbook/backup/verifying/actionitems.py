"""What somebody has to do about a backup: one JSON line each, in a file beside the backups."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import msgspec

NAME = ".runbook-actions.jsonl"
_LARGEST = 1_000_000


class Item(msgspec.Struct, frozen=True, kw_only=True):
    backup: str
    at: datetime
    text: str
    owner: str
    by: str = ""


def add(folder: Path, item: Item) -> None:
    """Append, durably. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with os.fdopen(os.open(folder / NAME, flags, 0o600), "ab") as file:
        file.write(msgspec.json.encode(item) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path, backup: str) -> list[Item]:
    """Those of that backup, oldest first; lines that cannot be read are passed over. Raises OSError."""
    try:
        with (folder / NAME).open("rb") as file:
            raw = file.read(_LARGEST)
    except FileNotFoundError:
        return []
    found = []
    for line in raw.splitlines():
        try:
            item = msgspec.json.decode(line, type=Item)
        except (ValueError, RecursionError):
            continue
        if item.backup == backup:
            found.append(item)
    return found
