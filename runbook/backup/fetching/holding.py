"""Which backups an unfinished run works with: they are not to be deleted under it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from runbook.errors import RunbookError
from runbook.record import journal
from runbook.record.runs import RunSummary
from runbook.record.state import replay


def held(runs: Iterable[RunSummary], folder: str) -> tuple[dict[str, str], str]:
    """(id -> by whom, what could not be looked at) of the runs whose backups lie in ``folder``."""
    found: dict[str, str] = {}
    for run in runs:
        if not run.unfinished:
            continue
        try:
            state = replay(journal.read(Path(run.path)))
        except (RunbookError, OSError, ValueError) as error:
            return found, f"the journal of the unfinished run {run.id} cannot be read: {error}"
        settings = state.site.get("backup", {})
        if settings.get("local") != folder:
            continue
        for id in (state.outputs.get("backup_id"), settings.get("id")):
            if id:
                found[str(id)] = f"run {run.id} holds it"
    return found, ""
