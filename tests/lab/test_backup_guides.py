"""The guides about backups, each run to its end on the practice lab."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runbook.backup import ledger
from runbook.events import CheckDone, StepEnded
from tests.lab.runs import records, runbook, state_of


def run(state: Path, guide: str) -> dict[str, str]:
    """Check -> verdict, of a run that passed."""
    done = runbook(state, "run", guide, "--mode", "practice", "--yes")
    assert done.returncode == 0, done.stderr[-3000:]
    events = [record.event for record in records(state)]
    assert all(one.verdict in ("pass", "warn") for one in events if isinstance(one, StepEnded))
    return {one.check.partition("(")[0]: one.verdict for one in events if isinstance(one, CheckDone)}


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_fetched_verified_and_on_record(tmp_path: Path) -> None:
    with state_of(tmp_path) as state:
        assert run(state, "fetch-local-backup")["safeguard.verified"] == "pass"
        here = state / "lab" / "backups"
        newest = max(path.name for path in here.glob("2*") if path.is_dir())
        there = state / "lab" / "vm" / "backup" / "backup" / "daily" / newest
        assert hashes(here / newest) == hashes(there)
        last = ledger.last(ledger.read(here), newest)
        assert last is not None and last.verdict == "sound"


def test_verified_and_on_record(tmp_path: Path) -> None:
    with state_of(tmp_path) as state:
        found = run(state, "verify-backup")
        assert found["safeguard.retention"] == "pass" and found["safeguard.verified"] == "pass"
        (entry,) = ledger.read(state / "lab" / "backups")
        assert entry.verdict == "sound" and entry.documents > 1000


def test_what_is_not_safe_is_said_and_nothing_is_changed(tmp_path: Path) -> None:
    with state_of(tmp_path) as state:
        assert runbook(state, "lab", "up").returncode == 0
        before = hashes(state / "lab" / "backups")
        found = run(state, "safeguard-local-backup")
        assert found["safeguard.second_copy"] == "fail" and found["safeguard.registrar"] == "unknown"
        assert hashes(state / "lab" / "backups") == before
