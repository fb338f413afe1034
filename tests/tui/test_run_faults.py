"""A run's screen when things do not go their way: late answers, a lent terminal, a defect in drawing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from runbook.events import (
    AttemptStarted,
    LookingAgain,
    Option,
    Probed,
    RunResumed,
    RunVerdict,
    ShellClosed,
    ShellOpened,
    StepEnded,
    Waiting,
)
from runbook.front import Answer
from runbook.record.runs import RunSummary
from tests.tui import fakes
from tests.tui.fakes import FakeSession, FakeWorkbench, summary
from tests.tui.screen import driven, gone, seen, until
from tui.app import RunbookApp
from tui.screens.run import RunScreen
from tui.widgets.question import QuestionPanel

YES_NO = (Option("yes", "Yes"), Option("no", "No"))


def screen_of(pilot: Pilot[None]) -> RunScreen:
    screen = next(one for one in pilot.app.screen_stack if isinstance(one, RunScreen))
    return screen


async def shown_again(pilot: Pilot[None], question: str, times: int) -> None:
    """The screen shows that question, after an answer was waited for so many times."""
    async with asyncio.timeout(30):
        while screen_of(pilot)._asked != (question, times):
            await pilot.pause(0.02)


class Lent:
    """Stands for App.suspend(), which needs a terminal: what it cannot survive is an error within."""

    def __init__(self) -> None:
        self.now = False
        self.times = 0

    @contextmanager
    def suspend(self) -> Iterator[None]:
        self.now, self.times = True, self.times + 1
        yield  # as Textual's own: without a finally
        self.now = False


@pytest.fixture
def lent() -> Lent:
    return Lent()


def lend(pilot: Pilot[None], lent: Lent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot.app, "suspend", lent.suspend)
    screen = screen_of(pilot)
    screen.bridge.lender = screen.lend


# ── a shell ────────────────────────────────────────────────────────────────────────────────
async def failing(run: FakeSession) -> RunVerdict:
    """As the engine does it: the question, the shell, the same question."""
    fakes.frozen_step(run)
    fakes.planned_step(run)
    for _ in range(3):
        if await run.ask("failed", "Step unpack did not pass.", fakes.FAILED, default="stop") != "shell":
            break
        run.emit(ShellOpened(id="s1", step="unpack", host="vm2", by="ana", standing=True))
        assert run.front is not None
        front: Any = run.front
        status = await front.lend("vm2", run.shell_argv)
        run.emit(ShellClosed(id="s1", host="vm2", seconds=192, exit_status=status), seconds=192)
    run.emit(StepEnded(step="unpack", attempt=1, verdict="fail", how="acted", reason="No space left."))
    return "stopped"


async def test_a_shell_is_chosen_and_the_same_question_comes_back(
    lent: Lent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driven(failing, size=(120, 60)) as (pilot, run):
        text = await until(pilot, "What now?")
        assert "Open a shell on a machine   on record; then this is asked again" in text
        lend(pilot, lent, monkeypatch)
        await pilot.press("up", "up", "up", "up", "enter")
        text = await until(pilot, "a shell was open for 3m12 (by ana)")
        assert "What now?" in text and "▶ Stop and resume later" in text
        assert lent.times == 1 and not lent.now
        assert "? asks you 0m" not in text, "the time in the shell is the person's"
        await pilot.press("enter")
        await until(pilot, "Stopped.")
        assert [answer.value for answer in run.answers] == ["shell", "stop"]
        assert [answer.id for answer in run.answers] == ["q1", "q2"]


async def test_the_run_goes_on_while_a_shell_has_the_terminal(
    tmp_path: Any, lent: Lent, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "end"
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "working")
        lend(pilot, lent, monkeypatch)
        run.shell_argv = ["sh", "-c", f"until [ -e {marker} ]; do sleep 0.02; done"]
        await pilot.press("s")
        await until(pilot, "A shell on which machine?")
        await pilot.press("enter")
        async with asyncio.timeout(30):
            while not lent.now:
                await asyncio.sleep(0.01)
            run.live(fakes.Output(step="unpack", host="vm2", lines=("printed meanwhile",)))
            run.emit(
                fakes.ActEnded(
                    step="unpack", attempt=1, host="vm3", outcome="done", summary="ended meanwhile"
                )
            )
            marker.touch()
            while lent.now:
                await asyncio.sleep(0.01)
        text = await until(pilot, "ended meanwhile")
        assert "printed meanwhile" in await until(pilot, "printed meanwhile"), text
        assert run.calls == [("shell", "vm1", "ana")]


async def test_a_shell_that_is_not_there_gives_the_screen_back(
    lent: Lent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "working")
        lend(pilot, lent, monkeypatch)
        run.shell_argv = ["no-such-program-anywhere"]
        await pilot.press("s")
        await until(pilot, "A shell on which machine?")
        await pilot.press("enter")
        text = await until(pilot, "No shell on vm1")
        assert "no-such-program-anywhere: No such file" in " ".join(text.split())
        assert not lent.now


async def test_leaving_while_a_shell_is_open_gives_the_screen_back(
    lent: Lent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driven(fakes.forever) as (pilot, _):
        await until(pilot, "working")
        lend(pilot, lent, monkeypatch)
        work = asyncio.create_task(screen_of(pilot).lend("vm1", ["sleep", "600"]))
        async with asyncio.timeout(30):
            while not lent.now:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
        assert not lent.now
        await until(pilot, "working")


async def test_without_a_terminal_to_lend_it_says_so() -> None:
    async with driven(fakes.forever) as (pilot, _):
        await until(pilot, "working")
        assert not screen_of(pilot).bridge.can_lend
        await pilot.press("s")
        await until(pilot, "A shell on which machine?")
        await pilot.press("enter")
        await until(pilot, "This terminal cannot be lent.")


async def test_ssh_that_cannot_connect_is_told(lent: Lent, monkeypatch: pytest.MonkeyPatch) -> None:
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "working")
        lend(pilot, lent, monkeypatch)
        run.shell_argv = ["sh", "-c", "exit 255"]
        await pilot.press("s")
        await until(pilot, "A shell on which machine?")
        await pilot.press("enter")
        text = await until(pilot, "No shell on vm1")
        assert "as it does when it cannot connect" in " ".join(text.split())


# ── answers ────────────────────────────────────────────────────────────────────────────────
async def test_a_late_answer_carries_the_id_of_its_own_question() -> None:
    """The first question is withdrawn and another asked before the screen was drawn again."""
    taken: list[Answer] = []

    async def script(run: FakeSession) -> RunVerdict:
        fakes.frozen_step(run)
        fakes.planned_step(run)
        assert run.front
        first = asyncio.ensure_future(run.ask("confirm", "Unpack it?", fakes.GO, default="go"))
        await withdrawn.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        question = fakes.Asked(id="q2", step="unpack", kind="choice", text="Destroy it?", options=YES_NO)
        swapped.set()
        for _ in range(2):
            taken.append(await run.front.answer(question))
        return "passed"

    withdrawn, swapped = asyncio.Event(), asyncio.Event()
    async with driven(script) as (pilot, _):
        await until(pilot, "Do this?")
        panel = pilot.app.screen.query_one(QuestionPanel)
        shown = panel.question
        assert shown is not None
        withdrawn.set()
        await swapped.wait()
        panel.post_message(QuestionPanel.Answered(shown, "go"))  # as Enter would just then
        await shown_again(pilot, "q2", 3)
        await until(pilot, "Destroy it?")
        await pilot.press("down", "enter")
        await until(pilot, "The run has ended")
    assert [(answer.id, answer.value) for answer in taken] == [("q1", "go"), ("q2", "no")]


async def test_a_question_that_is_asked_again_is_shown_again() -> None:
    """The same id: its answer was refused. Nobody must look at a screen without it."""
    taken: list[str] = []

    async def script(run: FakeSession) -> RunVerdict:
        fakes.frozen_step(run)
        fakes.planned_step(run)
        assert run.front
        question = fakes.Asked(id="q1", step="unpack", kind="choice", text="Which one?", options=YES_NO)
        for _ in range(2):
            taken.append((await run.front.answer(question)).value)
        return "passed"

    async with driven(script) as (pilot, _):
        await until(pilot, "Which one?")
        await pilot.press("enter")
        await shown_again(pilot, "q1", 2)
        await until(pilot, "▶ Yes")
        await pilot.press("down", "enter")
        await until(pilot, "The run has ended")
    assert taken == ["yes", "no"]


async def test_an_answer_when_nothing_is_asked_says_so() -> None:
    async with driven(fakes.forever) as (pilot, _):
        await until(pilot, "working")
        screen = screen_of(pilot)
        old = fakes.Asked(id="q1", step="unpack", kind="choice", text="?", options=YES_NO)
        screen.query_one(QuestionPanel).post_message(QuestionPanel.Answered(old, "yes"))
        await until(pilot, "no longer open")


async def test_esc_goes_back_where_words_may_be_left_out() -> None:
    async def script(run: FakeSession) -> RunVerdict:
        fakes.frozen_step(run)
        fakes.planned_step(run)
        await run.ask("text", "Why is it skipped?", optional=True)
        return "passed"

    async with driven(script) as (pilot, run):
        assert "Esc: back to the choices" in await until(pilot, "In your words")
        await pilot.press("escape")
        await until(pilot, "The run has ended")
        assert run.answers[0].value == ""


# ── looking again ──────────────────────────────────────────────────────────────────────────
async def test_what_is_looked_at_on_resume_is_said() -> None:
    async def resumed(run: FakeSession) -> RunVerdict:
        fakes.frozen_step(run)
        fakes.planned_step(run)
        run.emit(StepEnded(step="unpack", attempt=1, verdict="pass", how="acted"))
        run.emit(RunResumed(by="ana", pc="laptop", tool="0"), seconds=60)
        run.live(Waiting(step="", host="operator", what="which machines there are", limit=180))
        await begun.wait()
        for number, (step, title) in enumerate((("freeze", "Freeze"), ("unpack", "Unpack")), 1):
            run.live(LookingAgain(step=step, number=number, steps=3, title=title))
        await both.wait()
        run.live(LookingAgain(step="freeze", number=1, steps=3, title="Freeze", over=True))
        probe = Probed(
            step="freeze", attempt=1, host="backup", satisfied=True, summary="frozen", phase="resume"
        )
        run.emit(probe)
        await one.wait()
        run.live(LookingAgain(step="unpack", number=2, steps=3, title="Unpack", over=True))
        await last.wait()
        run.emit(AttemptStarted(step="verify", attempt=1, hosts=("vm1",)))
        await asyncio.Event().wait()
        return "passed"

    begun, both, one, last = (asyncio.Event() for _ in range(4))
    async with driven(resumed, size=(120, 40)) as (pilot, _):
        await until(pilot, "waiting for which machines there are")
        begun.set()
        text = await until(pilot, "looking again  step 1 of 3: Freeze (and 1 more)")
        assert "▶ looking   1 Freeze" in text and "▶ looking   2 Unpack" in text
        both.set()
        text = await until(pilot, "looking again  step 2 of 3: Unpack")
        assert "more)" not in text and "✓ passed    1 Freeze" in text
        one.set()
        text = await gone(pilot, "looking again")
        assert "which machines" not in text
        last.set()
        await until(pilot, "▶ running   3 Verify")


# ── a defect of ours, a damaged run ────────────────────────────────────────────────────────
async def test_a_defect_in_drawing_is_said_once_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with driven(fakes.asking) as (pilot, run):
        await until(pilot, "Do this?")
        screen = screen_of(pilot)

        def broken(*_: object) -> None:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(screen, "_redraw", broken)
        screen.redraw()
        text = await until(pilot, "ZeroDivisionError: a defect")
        assert "the run goes on" in text
        await pilot.press("escape")
        await gone(pilot, "ZeroDivisionError")
        await pilot.pause(0.3)
        assert "ZeroDivisionError" not in seen(pilot)
        monkeypatch.undo()
        await pilot.press("enter")
        await until(pilot, "The run has ended")
        assert [answer.value for answer in run.answers] == ["go"]


async def test_a_damaged_run_says_what_is_wrong_and_shows_its_report() -> None:
    def damaged() -> RunSummary:
        from msgspec.structs import replace

        return replace(summary("r-bad", "damaged"), problem="record 41: was changed")

    app = RunbookApp(FakeWorkbench(runs=[damaged()]))
    async with app.run_test(size=(100, 24)) as pilot:
        assert "✗ damaged: record 41: was changed" in await until(pilot, "r-bad")
        await pilot.press("down", "enter")
        await until(pilot, "Drill report")
