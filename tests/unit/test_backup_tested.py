"""The last restore test of a backup is known from journals, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import msgspec

from runbook.backup.verifying import tested
from runbook.events import Mode, Noted, RunEnded, RunVerdict
from runbook.record import runs
from runbook.record.journal import Journal
from runbook.redact import Redactor
from tests.unit.doubles import FakeClock
from tests.unit.test_journal import STARTED


def run(state: Path, name: str, mode: Mode, verdict: RunVerdict, *backups: str) -> Path:
    folder = state / "runs" / name
    journal = Journal.create(folder, FakeClock(), Redactor())
    journal.append_now(msgspec.structs.replace(STARTED, run=name, mode=mode))
    for id in backups:
        data = {"kind": "backup", "id": id}
        journal.append_now(Noted(step="freeze", attempt=1, host="backup", text="used", data=data))
    journal.append_now(RunEnded(verdict=verdict))
    journal.close_now()
    return folder


def test_a_passed_drill_with_that_backup_counts(tmp_path: Path) -> None:
    run(tmp_path, "good", "drill", "passed", "20261030", "20261101")
    run(tmp_path, "failed", "drill", "failed", "20261102")
    run(tmp_path, "other", "recovery", "passed", "20261103")
    run(tmp_path, "lab", "practice", "passed", "20261104")
    all = runs.runs(tmp_path)
    found = tested.last(all, "20261101")
    assert found is not None and (found.run, found.mode) == ("good", "drill")
    assert tested.last(all, "20261103") is not None
    for id in ("20261030", "20261102", "20261104", ""):
        assert tested.last(all, id) is None, id
    assert tested.last(all, "20261104", practice=True) is not None


def test_a_journal_that_was_changed_proves_nothing(tmp_path: Path) -> None:
    journal = run(tmp_path, "good", "drill", "passed", "20261101") / "journal.jsonl"
    all = runs.runs(tmp_path)
    journal.write_bytes(journal.read_bytes().replace(b"20261101", b"20261109"))
    assert tested.last(all, "20261109") is None
