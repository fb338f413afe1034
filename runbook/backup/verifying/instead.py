"""Which older backup can be used instead of one that is damaged."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from runbook.backup import ledger
from runbook.backup.layout import made_by_id

_EVER = datetime.max.replace(tzinfo=UTC)


def older(folder: Path, id: str, made: datetime | None) -> ledger.Entry | None:
    """The newest older one in that folder whose last verification found it sound. Raises OSError."""
    entries = ledger.read(folder)
    found = []
    for other in {entry.id for entry in entries}:
        day, last = made_by_id(other), ledger.last(entries, other)
        if other == id or not day or not last or last.verdict != "sound" or day >= (made or _EVER):
            continue
        if (folder / other).exists() or Path(last.path).exists():
            found.append((day, last))
    return max(found, key=lambda one: one[0])[1] if found else None
