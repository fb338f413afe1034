"""How old a backup is, held against what may be lost."""

from __future__ import annotations

from datetime import datetime

from runbook.backup.layout import Backup, made_by_id
from runbook.backup.verifying.findings import Findings
from runbook.units import duration

#: seconds between the day of its name and the time in its manifest, which may be of another zone
_OTHER_DAY = 2 * 86400


def judge(backup: Backup, now: datetime | None, rpo: float, found: Findings, *, ours: bool) -> None:
    if backup.made is None:
        found.add("age", "unjudged", "neither its name nor its manifest tells when it was made")
        return
    day = made_by_id(backup.id)
    # of a week's or month's copy the name tells no day, and what this program made is named by a person
    if day and not ours and backup.id.isdigit() and abs((backup.made - day).total_seconds()) > _OTHER_DAY:
        found.add("age", "doubt", f"it is named {backup.id}, but its manifest says {backup.made:%Y-%m-%d}")
    if now is None:
        return
    old = (now - backup.made).total_seconds()
    found.add("age", "good", f"made {backup.made:%Y-%m-%d %H:%M %Z}, {duration(max(0, old))} ago")
    if old < -3600:
        found.add("age", "doubt", "it was made in the future: a clock is wrong")
    elif rpo and old > rpo:
        found.add("age", "note", f"it is {duration(old)} old: more than the RPO of {duration(rpo)} allows")
