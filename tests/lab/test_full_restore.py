"""The main job: the whole guide on the practice lab, headless; killed, resumed, proved, searched."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runbook.events import (
    CheckDone,
    JobEnded,
    JobStarted,
    Noted,
    RunEnded,
    RunResumed,
    StepEnded,
)
from runbook.lab.samplesite import SECRETS
from tests.lab.databases import backed_up, kill_in_the_middle, restored
from tests.lab.runs import MOMENTS, kill_when, records, runbook, start, state_of

RUN = ("run", "full-system-restore", "--mode", "practice", "--yes")


def last_document_counts(state: Path) -> dict[str, int]:
    return {
        record.event.data["database"]: record.event.data["actual"]
        for record in records(state)
        if isinstance(record.event, Noted) and record.event.data.get("kind") == "restore"
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A whole run that nothing interrupts, on its way: it waits more than it works."""
    with state_of(tmp_path_factory.mktemp("whole")) as state, ThreadPoolExecutor(1) as thread:
        yield state, thread.submit(runbook, state, *RUN)


@pytest.fixture(scope="module")
def passed(running):  # type: ignore[no-untyped-def]
    """The same at its end; most tests below look at what it left."""
    state, end = running
    return state, end.result()


async def test_killed_in_the_middle_of_four_steps_and_resumed(tmp_path: Path, running) -> None:  # type: ignore[no-untyped-def]
    """SIGKILL in OpenTofu, unpacking, compose and a database: it ends as if nothing had happened.

    The uninterrupted run goes on beside it, in a lab of its own."""
    with state_of(tmp_path) as state:
        words = RUN
        for moment in MOMENTS:
            await asyncio.to_thread(kill_when, start(state, *words), state, moment)
            words = ("resume", "--yes")
        there, whole = await kill_in_the_middle(start(state, *words), state)
        assert 0 < there < whole
        done = await asyncio.to_thread(runbook, state, *words)
        assert done.returncode == 0, done.stderr[-4000:]
        found = [record.event for record in records(state)]
        # what follows it is that the report was written
        assert [e.verdict for e in found if isinstance(e, RunEnded)][-1] == "passed"
        assert len([e for e in found if isinstance(e, RunResumed)]) == 4
        jobs = {e.job for e in found if isinstance(e, JobStarted)}
        assert jobs == {e.job for e in found if isinstance(e, JobEnded)}, "every job's end is on record"
        assert runbook(state, "report", "verify").returncode == 0
        assert await restored(state) == backed_up(state)


def test_it_ends_with_the_reports_path_and_exit_0(passed) -> None:  # type: ignore[no-untyped-def]
    _, done = passed
    assert done.returncode == 0, done.stderr[-4000:]
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert [path.name for path in paths] == ["report.md", "report.json"]
    assert "Run passed" in done.stderr


def test_the_journal_verifies_and_a_changed_byte_does_not(passed) -> None:  # type: ignore[no-untyped-def]
    state, _ = passed
    assert runbook(state, "report", "verify").returncode == 0
    (run,) = (state / "runs").iterdir()
    for name in ("journal.jsonl", "report.md", next((run / "output").iterdir()).relative_to(run)):
        path = run / name
        good = path.read_bytes()
        middle = len(good) // 2
        path.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
        told = runbook(state, "report", "verify")
        path.write_bytes(good)
        assert told.returncode == 1, name
        assert str(path.name) in told.stdout or "record" in told.stdout


def test_the_report_shows_what_an_auditor_asks(passed) -> None:  # type: ignore[no-untyped-def]
    state, _ = passed
    text = runbook(state, "report").stdout
    assert "in the practice lab: simulated, never proves" in text
    for step in ("freeze", "deploy", "unpack", "adapt", "couchdb", "cluster", "restore", "caddy", "verify"):
        assert step in text
    assert "docker-compose -p" in text or "docker compose -p" in text, "each step's commands"
    report = json.loads(runbook(state, "report", "--format", "json").stdout)
    counts = last_document_counts(state)
    assert sum(counts.values()) > 4000 and "_users" in counts
    for database, count in counts.items():
        assert f"| {count} | {count} | equal" in text.replace("  ", " "), database
    assert report
    copies = [
        r.event for r in records(state) if isinstance(r.event, Noted) and r.event.data.get("kind") == "copies"
    ]
    assert {note.data["database"] for note in copies} >= set(counts)
    assert all(note.data["copies"] == 3 and note.data["equal"] for note in copies)


def test_every_step_was_judged_by_the_world(passed) -> None:  # type: ignore[no-untyped-def]
    state, _ = passed
    found = [record.event for record in records(state)]
    ended = [e for e in found if isinstance(e, StepEnded)]
    assert len(ended) == 14 and all(e.verdict in ("pass", "warn") for e in ended)
    judged = {e.step for e in found if isinstance(e, CheckDone) and e.phase == "after"}
    assert judged == {e.step for e in ended}, "no step passes without checks after it"


def test_no_secret_is_in_any_file_the_run_leaves(passed) -> None:  # type: ignore[no-untyped-def]
    """The lab's own folder plays the machines and the operator's secrets file: left out."""
    state, done = passed
    canaries = [value.encode() for value in SECRETS.values()]
    files = [path for path in (state / "runs").rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        data = path.read_bytes()
        assert not [c for c in canaries if c in data], path
    told = (done.stdout + done.stderr).encode()
    assert not [c for c in canaries if c in told]


async def test_the_databases_are_as_in_the_backup(passed) -> None:  # type: ignore[no-untyped-def]
    """Asked without the program: every id, revision and content."""
    state, _ = passed
    assert await restored(state) == backed_up(state)
