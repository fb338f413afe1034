"""The last restore test of a backup: a drill or recovery that used it and passed, by its journal."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from runbook.errors import RunbookError
from runbook.record import journal
from runbook.record.runs import RunSummary
from runbook.record.state import RunState, replay


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """``at``: UTC, ISO 8601, when the run was last at work."""

    run: str
    mode: str
    at: str


def last(runs: Iterable[RunSummary], id: str, *, practice: bool = False) -> Tested | None:
    """The newest passed run that restored from that backup. ``practice``: runs on the lab count, whose
    backups may have the same names as real ones. Damaged and unreadable journals prove nothing."""
    found = []
    for run in runs:
        if run.status != "passed" or (run.mode == "practice") != practice:
            continue
        try:
            state = replay(journal.read(Path(run.path)))
        except (RunbookError, OSError, ValueError):
            continue
        if _used(state) == id:
            found.append(Tested(run=run.id, mode=run.mode, at=run.last))
    return max(found, key=lambda one: one.at, default=None)


def _used(state: RunState) -> str:
    """The backup that its newest note names, else what a step saved; "" when none."""
    notes = [note for step in state.steps.values() for attempt in step.attempts for note in attempt.notes]
    named = [str(note.data.get("id", "")) for note in notes if note.data.get("kind") == "backup"]
    return named[-1] if named else str(state.outputs.get("backup_id", ""))
