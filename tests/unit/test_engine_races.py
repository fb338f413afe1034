"""Cancels, leaving, failing front ends and failing disks: nobody waits forever, nothing is lost silently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import StateError, WaitsForPerson
from runbook.events import (
    ActEnded,
    ActStarted,
    Answered,
    AnswerRefused,
    Asked,
    AttemptStarted,
    CancelConfirmed,
    CancelRequested,
    Event,
    JobStarted,
    Live,
    NoteAdded,
    QuestionWithdrawn,
    Record,
    StepEnded,
)
from runbook.front import Answer
from runbook.hosts import jobs
from runbook.hosts.local import LocalHost
from runbook.record.state import replay
from runbook.running.engine import Engine
from tests.unit.doubles import FakeHosts
from tests.unit.engines import Front, Run, Set, World, of


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def run(tmp_path: Path, world: World) -> Run:
    return Run(tmp_path / "r1", world)


def events(run: Run) -> list[Any]:
    return [record.event for record in run.records()]


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.005)


async def seen(engine: Engine, kind: type[Event], count: int = 1) -> None:
    """So many such events are on record."""
    await until(lambda: sum(isinstance(r.event, kind) for r in engine.journal.records()) >= count)


# ── cancelling ─────────────────────────────────────────────────────────────────────────────
async def test_a_second_cancel_does_not_disturb_the_look_of_the_first(run: Run, world: World) -> None:
    looking, look, looked = asyncio.Event(), asyncio.Event(), list[str]()

    class Slow(Set):
        """When it is cancelled it first looks whether what it began is gone."""

        async def act(self, context: Any, params: Any, plan: Any) -> Any:
            world.acted.append((context.host.name, 1))
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                looking.set()
                await look.wait()
                looked.append(context.host.name)
                raise

    world.actions["made.set"] = Slow
    engine = await run.open(front := Front(failed=["stop"]))
    task = asyncio.create_task(engine.run())
    await until(lambda: len(world.acted) == 3)
    assert await engine.cancel_step("ana")
    await looking.wait()
    assert await engine.cancel_step("ana"), "it is being cancelled"
    look.set()
    assert await task == "stopped"
    assert sorted(looked) == ["vm1", "vm2", "vm3"]
    assert len(of([r.event for r in front.records], CancelRequested)) == 1
    assert not await engine.cancel_step("ana"), "nothing runs any more"
    await engine.journal.close()


async def test_hosts_that_wait_for_their_turn_are_not_begun_after_a_cancel(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook.running.acting.SIDE_BY_SIDE", 1)
    world.hang = True
    engine = await run.open(front := Front(failed=["stop"]))
    task = asyncio.create_task(engine.run())
    await until(lambda: world.acted)
    assert await engine.cancel_step("ana")
    assert await task == "stopped"
    assert [name for name, _ in world.acted] == ["vm1"]
    assert front.asked[-1].text.count("Not begun: the step was cancelled.") == 2
    assert not engine.cancelling
    await engine.journal.close()


async def test_a_cancel_between_an_acts_beginning_and_its_work_is_not_lost(run: Run, world: World) -> None:
    world.hang = True
    front = Front(failed=["stop"])
    engine = await run.open(front)
    open_host, asked = run.hosts.open, dict[str, bool]()

    async def slowly(name: str) -> Any:
        if of([r.event for r in engine.journal.records()], ActStarted) and not asked:
            asked[name] = False
            asked[name] = await engine.cancel_step("ana")
        return await open_host(name)

    run.hosts.open = slowly  # type: ignore[method-assign]
    async with asyncio.timeout(30):
        assert await engine.run() == "stopped"
    await engine.journal.close()
    assert list(asked.values()) == [True]
    assert not asked.keys() & {name for name, _ in world.acted}
    assert {e.outcome for e in of(events(run), ActEnded)} == {"cancelled"}


async def test_the_question_of_a_cancelled_act_is_open_no_longer(run: Run, world: World) -> None:
    class Asking(Set):
        async def act(self, context: Any, params: Any, plan: Any) -> Any:
            await context.voice.ask("text", "How many?")

    world.actions["made.set"] = Asking
    front = Front(failed=["stop"])

    async def think(question: Asked) -> None:
        if question.kind == "text":
            await engine.cancel_step("ana")
            await asyncio.sleep(3600)

    front.on_ask = think
    engine = await run.open(front)
    assert await engine.run() == "stopped"
    await engine.journal.close()
    withdrawn = of(events(run), QuestionWithdrawn)
    assert [w.id for w in withdrawn] == [q.id for q in of(events(run), Asked) if q.kind == "text"]
    assert {e.outcome for e in of(events(run), ActEnded)} == {"cancelled"}
    assert engine.state.open_question is None


async def test_a_job_found_on_resume_can_be_cancelled(tmp_path: Path, world: World) -> None:
    here = LocalHost(jobs_dir=tmp_path / "jobs")
    for name in ("one", "two"):
        await jobs.start(here, name, ["sleep", "600"])
    run = Run(tmp_path / "r1", world)
    run.hosts = FakeHosts(here, *run.hosts.by_name.values())
    run.hosts.by_name["operator"] = here
    where = {"step": "second", "attempt": 1, "host": "operator"}
    engine = await run.open(Front())
    for event in (
        AttemptStarted(step="second", attempt=1, hosts=("operator",)),
        ActStarted(**where, digest="d"),
        JobStarted(**where, job="one", command="sleep 600"),
        JobStarted(**where, job="two", command="sleep 600"),
    ):
        await engine.emit(event)
    await engine.journal.close()

    engine = await run.open(Front())
    task = asyncio.create_task(engine.run())
    async with asyncio.timeout(30):
        while len(engine.acting.tasks) < 2:  # both are followed, side by side
            await asyncio.sleep(0.01)
    await engine.cancel_step("ana")
    async with asyncio.timeout(60):
        assert await task == "passed", "it goes on with the step, from the start"
    await engine.journal.close()
    assert [(c.gone, c.detail) for c in of(events(run), CancelConfirmed)] in (
        [(True, "job one"), (True, "job two")],
        [(True, "job two"), (True, "job one")],
    )
    assert not engine.state.unfinished_jobs()
    assert (await jobs.status(here, "one")).kind == "absent"
    await here.close()


# ── leaving ────────────────────────────────────────────────────────────────────────────────
async def test_leaving_during_a_question_loses_nothing_and_it_is_asked_anew(run: Run, world: World) -> None:
    front = Front()
    open_now = asyncio.Event()

    async def think(question: Asked) -> None:
        open_now.set()
        await asyncio.sleep(3600)

    front.on_ask = think
    engine = await run.open(front)
    task = asyncio.create_task(engine.run())
    await open_now.wait()
    engine.leaving = True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.journal.close()
    assert of(events(run), Answered) == [] and world.acted == []
    verdict, _ = await run.go(second := Front())
    assert verdict == "passed"
    assert second.asked[0].kind == "confirm" and second.asked[0].id != of(events(run), Asked)[0].id


async def test_leaving_after_a_cancel_is_leaving(run: Run, world: World) -> None:
    world.hang = True
    engine = await run.open(Front())
    task = asyncio.create_task(engine.run())
    await seen(engine, ActStarted, 3)
    engine.cancelling = engine.leaving = True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.journal.close()
    assert of(events(run), ActEnded) == [], "the acts have no end: the resumed run looks at the world"


async def test_a_record_whose_writer_is_cancelled_is_in_the_state_too(run: Run) -> None:
    engine = await run.open(front := Front())
    said = NoteAdded(kind="note", text="hello", by="ana")
    writer = asyncio.create_task(engine.emit(said))
    await asyncio.sleep(0)
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    await seen(engine, NoteAdded)
    await engine.emit(NoteAdded(kind="note", text="after it", by="ana"))
    await engine.journal.close()
    assert engine.state == replay(run.records())
    assert [r.event.text for r in front.records if isinstance(r.event, NoteAdded)] == ["hello", "after it"]


async def test_stopping_after_the_last_step_is_its_end(run: Run, world: World) -> None:
    engine = await run.open(front := Front())

    async def stop(question: Asked) -> None:
        engine.stopping = question.step == "second"

    front.on_ask = stop
    assert await engine.run() == "passed"
    await engine.journal.close()


# ── a front end that fails ─────────────────────────────────────────────────────────────────
async def test_a_front_end_that_cannot_draw_ends_no_work_and_that_is_on_record(
    run: Run, world: World
) -> None:
    class Blind(Front):
        def record(self, record: Record) -> None:
            if isinstance(record.event, ActStarted):
                raise BrokenPipeError("gone")

        def live(self, live: Live) -> None:
            raise ZeroDivisionError

    verdict, _ = await run.go(Blind())
    assert verdict == "passed"
    assert len(world.acted) == 3
    (note,) = of(events(run), NoteAdded)
    assert note.kind == "issue" and note.text.startswith("The screen failed (")


async def test_a_front_end_that_fails_to_ask_leaves_a_run_that_can_go_on(run: Run, world: World) -> None:
    class Broken(Front):
        async def answer(self, question: Asked) -> Answer:
            raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError):
        await run.go(Broken())
    (withdrawn,) = of(events(run), QuestionWithdrawn)
    assert withdrawn.why == "the front end failed: ZeroDivisionError: ours"
    verdict, _ = await run.go(Front())
    assert verdict == "passed"


class Late(Front):
    """Answers a question after the next one was asked: the answer has the id of the one before."""

    def __init__(self, times: int, **answers: list[str]) -> None:
        super().__init__(**answers)
        self.times = times

    async def answer(self, question: Asked) -> Answer:
        if len(self.asked) > 1 and self.times > 0:
            self.times -= 1
            return Answer(self.asked[0].id, "stop", "ana", "test")
        return await super().answer(question)


async def test_a_late_answer_to_another_question_is_refused_on_record(run: Run, world: World) -> None:
    world.failing = {"vm1"}
    front = Late(2, failed=["retry"])

    async def heal(question: Asked) -> None:
        if question.kind == "failed":
            world.failing = set()

    front.on_ask = heal
    verdict, _ = await run.go(front)
    assert verdict == "passed", "the late 'stop' stopped nothing"
    refused = of(events(run), AnswerRefused)
    assert len(refused) == 2 and {r.given for r in refused} == {front.asked[0].id}
    assert refused[0].id != refused[0].given
    assert "no longer open" in refused[0].why
    assert [a.id for a in of(events(run), Answered)] == [q.id for q in of(events(run), Asked)]


async def test_a_front_end_that_only_answers_other_questions_is_given_up(run: Run, world: World) -> None:
    class Wrong(Front):
        async def answer(self, question: Asked) -> Answer:
            return Answer("q999", "go", "ana", "test")

    with pytest.raises(WaitsForPerson, match="could not be taken"):
        await run.go(Wrong())
    assert world.acted == []
    verdict, _ = await run.go(Front())
    assert verdict == "passed"


# ── a disk that fails ──────────────────────────────────────────────────────────────────────
async def test_a_full_disk_in_an_act_is_told_as_one(run: Run, world: World) -> None:
    """Not as a group of exceptions; and the run can go on when there is room again."""
    engine = await run.open(Front())
    append, room = engine.journal.append, True

    async def full(event: Event) -> Record:
        nonlocal room
        room = room and not isinstance(event, ActEnded)
        if not room:
            raise StateError("No space left on this PC.")
        return await append(event)

    engine.journal.append = full  # type: ignore[method-assign]
    with pytest.raises(StateError, match="No space left"):
        await engine.run()
    await engine.journal.close()
    verdict, _ = await run.go(Front())
    assert verdict == "passed"
    assert len(of(events(run), StepEnded)) == 2


# ── going back ─────────────────────────────────────────────────────────────────────────────
async def test_without_a_reason_nothing_is_skipped(run: Run, world: World) -> None:
    front = Front(confirm=["skip", "go", "go"], text=[" "])
    verdict, _ = await run.go(front)
    assert verdict == "passed"
    assert [q.kind for q in front.asked if q.step == "first"] == ["confirm", "text", "confirm"]
    assert front.asked[1].optional


async def test_a_choice_that_needs_words_can_be_left_without_any(run: Run, world: World) -> None:
    world.lying = {"vm1"}
    front = Front(failed=["skip", "override", "by_hand", "stop"], text=["", "", ""])
    verdict, _ = await run.go(front)
    assert verdict == "stopped"
    assert [e.how for e in of(events(run), StepEnded)] == ["acted"]
