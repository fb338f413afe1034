"""Every status as a glyph AND a word (and, where there is one, a colour): readable without colour."""

from __future__ import annotations

from typing import NamedTuple

from runbook.text import printable
from runbook.units import duration


class Mark(NamedTuple):
    """``tone``: success, error, warning, accent or muted."""

    glyph: str
    word: str
    tone: str

    def __str__(self) -> str:
        return f"{self.glyph} {self.word}"


STEP = {
    "waiting": Mark("·", "waiting", "muted"),
    "running": Mark("▶", "running", "accent"),
    "asking": Mark("?", "asks you", "warning"),
    "passed": Mark("✓", "passed", "success"),
    "warned": Mark("!", "passed", "warning"),
    "failed": Mark("✗", "failed", "error"),
    "skipped": Mark("»", "skipped", "warning"),
    "overridden": Mark("!", "accepted", "warning"),
}
HOST = {
    "waiting": Mark("·", "waiting", "muted"),
    "planned": Mark("○", "planned", "muted"),
    "running": Mark("▶", "running", "accent"),
    "done": Mark("✓", "done", "success"),
    "already": Mark("✓", "already so", "success"),
    "failed": Mark("✗", "failed", "error"),
    "unknown": Mark("?", "outcome unknown", "warning"),
    "cancelled": Mark("■", "cancelled", "warning"),
}
CHECK = {
    "pass": Mark("✓", "PASS", "success"),
    "warn": Mark("!", "WARN", "warning"),
    "fail": Mark("✗", "FAIL", "error"),
    "unknown": Mark("?", "UNKNOWN", "warning"),
}
RUN = {
    "passed": Mark("✓", "passed", "success"),
    "completed with deviations": Mark("!", "completed with deviations", "warning"),
    "failed": Mark("✗", "failed", "error"),
    "stopped": Mark("■", "stopped", "warning"),
    "unfinished": Mark("…", "unfinished", "warning"),
    "running": Mark("▶", "open in another terminal", "accent"),
    "damaged": Mark("✗", "damaged", "error"),
    "unreadable": Mark("?", "unreadable", "error"),
}
#: a backup, in a calendar of backups (runbook/backup/overview.py says what each means)
BACKUP = {
    "verified": Mark("✓", "verified", "success"),
    "doubtful": Mark("!", "doubtful", "warning"),
    "damaged": Mark("✗", "damaged", "error"),
    "partial": Mark("✗", "partial", "error"),
    "present": Mark("○", "present", "muted"),
    "archive": Mark("○", "archive", "muted"),
    "missing": Mark("✗", "missing", "error"),
    "making": Mark("▶", "making", "accent"),
    "due": Mark("·", "due", "muted"),
}
GONE = {
    True: Mark("✓", "confirmed gone", "success"),
    False: Mark("✗", "STILL RUNNING", "error"),
    None: Mark("?", "could not look", "warning"),
}
#: mode -> what it means, for the one who holds the keyboard
MODE = {
    "practice": "simulated machines on this PC; nothing real is touched",
    "drill": "REAL machines; a planned exercise",
    "recovery": "REAL machines; the real thing",
}


_PLACES = {
    "operator": "this PC",
    "each production": "each production VM",
    "first production": "the first production VM",
}


def where(on: str) -> str:
    """Where a step runs, or a machine, as a person calls it."""
    return _PLACES.get(on) or printable(on, limit=60)


def clock(target: float, used: float) -> tuple[str, str]:
    """The recovery clock as text and tone."""
    if not target:
        return f"used {duration(used)}", "muted"
    left = target - used
    if left < 0:
        return f"RTO {duration(target)} · used {duration(used)} · OVER by {duration(-left)}", "error"
    tone = "warning" if left < target / 4 else "success"
    return f"RTO {duration(target)} · used {duration(used)} · left {duration(left)}", tone


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
