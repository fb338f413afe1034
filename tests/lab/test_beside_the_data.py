"""A restore by a worker beside the data: on the backup VM, left by the program and watched again; on
the first VM, with the dumps brought there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runbook.clock import SystemClock
from runbook.couch.cli.run import one_step
from runbook.events import Answered, Asked, JobEnded, JobStarted, Live, Noted, Record
from runbook.front import Answer
from runbook.lab import control
from runbook.workbench import Workbench
from tests.lab.databases import backed_up, restored
from tests.lab.runs import LIMIT, tail

WHERE = "Where shall the restore work?"


class Person:
    """Confirms everything; ``answers``: what to say to a question that begins so."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.records: list[Record] = []
        self.asked: list[Asked] = []
        self.job = asyncio.Event()

    async def answer(self, question: Asked) -> Answer:
        self.asked.append(question)
        value = question.default or "accept"
        if question.text.startswith(WHERE):
            value = self.answers["where"]
        elif question.kind == "accept":
            value = self.answers.get("accept", "accept")
        elif {option.value for option in question.options} == {"beside", "stop"}:
            value = "beside"
        return Answer(question.id, value, "tester", "test")

    def record(self, record: Record) -> None:
        self.records.append(record)
        if isinstance(record.event, JobStarted) and record.event.step == "restore":
            self.job.set()

    def live(self, live: Live) -> None:
        pass


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("beside") / "state"


@pytest.fixture(scope="module", autouse=True)
def lab_ends(state: Path):  # type: ignore[no-untyped-def]
    yield
    asyncio.run(control.down(state))


async def test_on_the_backup_vm_left_and_watched_again(state: Path) -> None:
    bench = Workbench(state, clock=SystemClock())
    person = Person(where="backup")
    session = await bench.start("full-system-restore", "practice")
    driving = asyncio.create_task(session.go(person))
    await asyncio.wait_for(asyncio.shield(_first(driving, person)), LIMIT)
    await session.close()  # the program goes away; the job does not
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)

    session = await bench.resume(session.id)
    try:
        assert await asyncio.wait_for(session.go(again := Person(where="backup")), LIMIT) == "passed"
    finally:
        await session.close()
    assert await restored(state) == backed_up(state)
    started = [r.event for r in session.journal.records() if isinstance(r.event, JobStarted)]
    jobs = [event for event in started if event.step == "restore"]
    assert jobs and all(event.host == "backup" for event in jobs)
    ended = [r.event for r in session.journal.records() if isinstance(r.event, JobEnded)]
    assert {event.job for event in ended} >= {event.job for event in jobs}
    (where,) = [question for question in person.asked if question.text == WHERE]
    words = {option.value: option.consequence for option in where.options}
    assert set(words) == {"here", "vm1", "backup"}
    assert "the dumps are there" in words["backup"] and "sending" in words["vm1"]
    assert all("about" in text for text in words.values())
    assert again.records


async def test_on_the_first_vm_with_the_dumps_brought_there(state: Path) -> None:
    """Into other databases beside those that are in use; the uploads are gone afterwards."""
    bench = Workbench(state, clock=SystemClock())
    used = bench.runs()[0].id
    folder = next(
        str(r.event.values["backup_path"])
        for r in _records(bench, used)
        if "backup_path" in getattr(r.event, "values", {})
    )
    person = Person(where="vm1", accept="run")
    guide = one_step("restore", {"backup": folder, "databases": ["edxapp_files", "openedx_2"]})
    session = await bench.start(guide, "practice", same_lab=True)
    try:
        assert await asyncio.wait_for(session.go(person), LIMIT) == "passed"
    finally:
        await session.close()
    notes = [r.event for r in person.records if isinstance(r.event, Noted)]
    into = [note.data["database"] for note in notes if note.data.get("kind") == "beside"]
    assert len(into) == 2 and all("restored" in name for name in into)
    assert any(isinstance(r.event, Answered) and r.event.value == "vm1" for r in person.records)
    home = state / "lab" / "vms" / "vm1" / "home" / "openedx" / ".cache" / "openedx-dr-runbook"
    left = [path.name for path in home.rglob("*.json")] if home.exists() else []
    assert left == []


def _records(bench: Workbench, run: str) -> list[Record]:
    from runbook.record import journal

    return journal.read(bench.folder(run))


async def _first(driving: asyncio.Task[Any], person: Person) -> None:
    """Until the restore's job is there; what drives must not have ended before."""
    waiting = asyncio.ensure_future(person.job.wait())
    await asyncio.wait({driving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if driving.done():
        waiting.cancel()
        driving.result()
        raise AssertionError(f"the run ended before its restore began:\n{tail(person.records)}")
