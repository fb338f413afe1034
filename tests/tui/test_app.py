"""The app as a person uses it: only keys, and what is then on the screen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from runbook.errors import EXIT_FAILED, EXIT_OK, EXIT_USE, EXIT_WAITS, StateError
from runbook.events import AttemptStarted, Option, RunResumed, RunVerdict, StepEnded
from runbook.record.runs import RunSummary
from tests.tui import fakes
from tests.tui.fakes import FakeClock, FakeSession, FakeWorkbench, summary
from tests.tui.screen import driven, gone, seen, until
from tui.app import RunbookApp
from tui.screens.run import RunScreen
from tui.widgets.choices import Choices


# ── home ───────────────────────────────────────────────────────────────────────────────────
async def test_home_shows_guides_runs_contact_and_what_is_wrong_with_the_settings() -> None:
    runs = [summary("r-open", "stopped", "unpack", "drill"), summary("r-old", "passed")]
    app = RunbookApp(FakeWorkbench(problem="No settings found.", runs=runs))
    async with app.run_test(size=(80, 24)) as pilot:
        text = await until(pilot, "r-open")
        assert "▶ Full system restore" in text
        assert "■ stopped at step unpack · DRILL" in text
        assert "✓ passed" in text
        assert "Ana Pérez · platform owner · +49 30 1234567" in text
        assert "Drill and recovery cannot start: No settings found." in text


async def test_a_guide_is_started_in_the_mode_that_is_chosen() -> None:
    bench = FakeWorkbench(FakeSession(fakes.forever, mode="drill"))
    app = RunbookApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "Full system restore")
        await pilot.press("enter")
        assert "▶ PRACTICE" in await until(pilot, "In which mode?")
        await pilot.press("down", "enter")
        text = await until(pilot, "working")
        assert bench.started == [("start", "full-system-restore", "drill")]
        assert " DRILL  REAL machines; a planned exercise · campus" in text


async def test_without_settings_only_practice_can_be_chosen() -> None:
    app = RunbookApp(FakeWorkbench(problem="No settings found."))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "Full system restore")
        await pilot.press("enter")
        text = await until(pilot, "In which mode?")
        assert "not possible: No settings found." in text
        await pilot.press("down", "down")
        assert app.screen.query_one(Choices).value == "practice"


async def test_an_unfinished_run_is_resumed_and_a_finished_one_shows_its_report() -> None:
    runs = [summary("r-open", "unfinished", "unpack"), summary("r-old", "passed")]
    bench = FakeWorkbench(FakeSession(fakes.forever), runs=runs)
    app = RunbookApp(bench)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "r-old")
        assert "▶ r-open" in seen(pilot)  # it was cut off: Enter goes on with it
        await pilot.press("down", "enter")
        await until(pilot, "Drill report")
        await pilot.press("escape", "up", "enter")
        await until(pilot, "working")
        assert bench.started == [("resume", "r-open")]


async def test_a_run_that_cannot_start_says_what_and_next_and_the_app_goes_on() -> None:
    bench = FakeWorkbench()
    bench.refuse = StateError("The practice lab is gone.", next="Start a new practice run.")
    app = RunbookApp(bench, "full-system-restore", "practice")
    async with app.run_test(size=(80, 24)) as pilot:
        text = await until(pilot, "What to do next")
        assert "The practice lab is gone." in text
        assert "Start a new practice run." in text
        await pilot.press("escape")
        await until(pilot, "What is to be recovered?")
    assert app.exit_code == EXIT_USE


# ── a run ──────────────────────────────────────────────────────────────────────────────────
async def test_a_run_shows_mode_clock_steps_machines_and_output() -> None:
    async with driven(fakes.forever, size=(120, 40)) as (pilot, _):
        text = await until(pilot, "file-059")
        assert " PRACTICE  simulated machines on this PC" in text
        assert "RTO 4h00 · used 3m28 · left 3h56" in text
        assert "✓ passed    1 Freeze" in text
        assert "▶ running   2 Unpack" in text
        assert "· waiting   3 Verify" in text
        assert "step 2 of 3 · vm2 vm3 working 12s" in text
        assert "▶ running vm2  12s  upload 4.0 MB of 12.0 MB 33%, 400.0 kB/s" in text
        assert "1 vm1 ✓ done" in text


async def test_a_quiet_run_says_how_long_nothing_was_heard() -> None:
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "working")
        run.clock.seconds += 20
        await until(pilot, "· heard 20s ago")
        run.clock.seconds += 70
        assert "QUIET for 1m30 (limit 15m00)" in await until(pilot, "QUIET")


async def test_the_clock_says_when_the_time_is_over() -> None:
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "working")
        run.clock.seconds += 5 * 3600
        assert "OVER by 1h03" in await until(pilot, "OVER")


async def test_one_pane_at_a_time_when_narrow_and_tab_switches() -> None:
    async with driven(fakes.asking) as (pilot, _):
        text = await until(pilot, "Do this?")
        assert "1 Freeze the backups" not in text
        await pilot.press("tab")
        text = await until(pilot, "1 Freeze the backups")
        assert "Do this?" not in text
        await pilot.press("tab")
        await until(pilot, "Do this?")


async def test_looking_at_another_step_and_back() -> None:
    async with driven(fakes.forever, size=(120, 40)) as (pilot, _):
        await until(pilot, "file-059")
        await pilot.press("tab", "tab", "up")  # detail → output → steps
        text = await until(pilot, "1  Freeze the backups and pin one")
        assert "g goes there" in text
        await gone(pilot, "file-059")
        await pilot.press("g")
        await until(pilot, "file-059")


async def test_the_run_ends_with_its_verdict_and_its_report_is_written() -> None:
    async with driven(fakes.asking) as (pilot, run):
        await until(pilot, "Do this?")
        await pilot.press("enter")
        text = await until(pilot, "The run has ended")
        assert "✓ passed" in text
        assert [answer.value for answer in run.answers] == ["go"]
        await until(pilot, "/runs/fake/report.md")
        await pilot.press("q")
        await until(pilot, "What is to be recovered?")
        assert pilot.app.exit_code == EXIT_OK  # type: ignore[attr-defined]


# ── questions ──────────────────────────────────────────────────────────────────────────────
def asks(
    kind: str, text: str, options: tuple[Option, ...] = (), **more: Any
) -> Callable[..., Awaitable[Any]]:
    async def script(run: FakeSession) -> RunVerdict:
        fakes.frozen_step(run)
        fakes.planned_step(run)
        await run.ask(kind, text, options, **more)
        return "passed"

    return script


YES_NO = (Option("yes", "Yes", "it is changed"), Option("no", "No", "nothing is changed"))


@pytest.mark.parametrize(
    ("kind", "options", "default", "unattended", "marked"),
    [
        ("confirm", fakes.GO, "go", True, "go"),
        ("confirm", fakes.GO, "go", False, "stop"),  # dangerous: the harmless choice has the focus
        ("accept", YES_NO, "yes", True, "yes"),
        ("failed", fakes.FAILED, "stop", False, "stop"),
        ("drift", YES_NO, "no", False, "no"),
        ("host_key", YES_NO, "no", False, "no"),
        ("host_key", YES_NO, "", False, "no"),
        ("choice", YES_NO, "", False, "yes"),
        ("evidence", YES_NO, "yes", False, "yes"),
    ],
)
async def test_questions_with_choices(
    kind: str, options: tuple[Option, ...], default: str, unattended: bool, marked: str
) -> None:
    script = asks(kind, "What is it?", options, default=default, unattended=unattended)
    async with driven(script) as (pilot, run):
        await until(pilot, "What is it?")
        text = await until(pilot, options[-1].consequence[:14])
        words = " ".join(text.split())
        assert all(option.label in words and option.consequence in words for option in options)
        label = next(option.label for option in options if option.value == marked)
        assert f"▶ {label}" in text
        await pilot.press("enter")
        await until(pilot, "The run has ended")
        assert run.answers[0].value == marked
        assert (run.answers[0].by, run.answers[0].via) == ("ana", "tui")


async def test_the_plan_stands_above_the_question() -> None:
    async with driven(fakes.asking) as (pilot, _):
        await until(pilot, "Do this?")
        text = await until(pilot, "upload config.tar.gz")
        assert text.index("upload config.tar.gz") < text.index("Do this?")


async def test_what_failed_stands_above_the_question() -> None:
    async with driven(fakes.failing) as (pilot, _):
        await until(pilot, "What now?")
        text = await until(pilot, "STILL RUNNING on vm2")
        assert text.index("✗ failed vm2") < text.index("What now?")
        assert text.index("Next: Make room on vm2") < text.index("What now?")
        assert text.index("STILL RUNNING on vm2") < text.index("What now?")


async def test_a_name_must_be_typed_and_esc_declines() -> None:
    async with driven(asks("name", "This plan destroys vm1. Type its name to go on.")) as (pilot, run):
        await until(pilot, "DANGER")
        await pilot.press("enter")
        assert "Nothing is typed yet" in await until(pilot, "Nothing")
        await pilot.press(*"vm1", "enter")
        await until(pilot, "The run has ended")
        assert run.answers[0].value == "vm1"
    async with driven(asks("name", "This plan destroys vm1.")) as (pilot, run):
        await until(pilot, "DANGER")
        await pilot.press("escape")
        await until(pilot, "The run has ended")
        assert run.answers[0].value == ""


async def test_a_secret_is_masked_and_handed_over_as_a_secret() -> None:
    async with driven(asks("secret", "Admin password")) as (pilot, run):
        await until(pilot, "A secret is needed")
        await pilot.press(*"hunter2")
        assert "hunter2" not in seen(pilot)
        await pilot.press("enter")
        await until(pilot, "The run has ended")
        answer = run.answers[0]
        assert answer.value == ""
        assert answer.secret is not None and answer.secret.reveal() == "hunter2"


async def test_text_is_free_and_letters_are_text() -> None:
    async with driven(asks("text", "Why is it skipped?")) as (pilot, run):
        await until(pilot, "In your words")
        await pilot.press(*"qnex", "enter")
        await until(pilot, "The run has ended")
        assert run.answers[0].value == "qnex"


async def test_evidence_has_several_lines_and_may_name_a_file(tmp_path: Any) -> None:
    file = tmp_path / "dig.txt"
    file.write_text("ok")
    async with driven(asks("evidence", "Point the DNS at the VMs. What did you do?")) as (pilot, run):
        await until(pilot, "Your work")
        await pilot.press("f2")
        await until(pilot, "Say what you did")
        pilot.app.screen.query_one(TextArea).text = "changed A\nwaited"
        field = pilot.app.screen.query_one("#file", Input)
        field.value = str(tmp_path / "nothing")
        await pilot.press("f2")
        await until(pilot, "No such file")
        field.value = str(file)
        await pilot.press("f2")
        await until(pilot, "The run has ended")
        value = run.answers[0].value
        assert value.startswith(f"changed A\nwaited\nfile: {file} (2 B, sha256 2689367b")


async def test_only_a_file_is_its_path() -> None:
    async with driven(asks("evidence", "Which file shows it?")) as (pilot, run):
        await until(pilot, "Your work")
        pilot.app.screen.query_one("#file", Input).value = "/tmp/shot.png"
        await pilot.press("f2")
        await until(pilot, "The run has ended")
        assert run.answers[0].value == "/tmp/shot.png"


async def test_a_question_that_has_just_appeared_takes_no_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    async with driven(fakes.asking, guard=60) as (pilot, run):
        await until(pilot, "Do this?")
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert not run.answers


# ── keys at any moment ─────────────────────────────────────────────────────────────────────
async def test_notes_and_issues_at_any_moment() -> None:
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "working")
        await pilot.press("n")
        await until(pilot, "Note on step unpack")
        await pilot.press(*"sl", "tab", *"o", "shift+tab", *"w", "enter")
        await pilot.press("f4")
        await until(pilot, "Issue on step unpack")
        await pilot.press(*"disk", "enter")
        await until(pilot, "Your issue is on record.")
        assert run.calls == [
            ("note", "note", "slow", "ana", "unpack"),
            ("note", "issue", "disk", "ana", "unpack"),
        ]


@pytest.mark.parametrize("script", [fakes.forever, asks("text", "Why?")])
async def test_contact_and_help_are_one_key_away(script: Any) -> None:
    async with driven(script, size=(100, 80)) as (pilot, _):
        await until(pilot, "step 2 of 3")
        await pilot.press("f5")
        await until(pilot, "+49 30 1234567")
        await pilot.press("escape", "f1")
        text = await until(pilot, "What the signs mean")
        assert "Put a note on the record" in text
        await pilot.press("f5")
        await until(pilot, "+49 30 1234567")


async def test_cancelling_asks_and_then_tells_who_is_gone() -> None:
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "working")
        await pilot.press("x")
        assert "▶ Let it go on" in await until(pilot, "Cancel step unpack?")
        await pilot.press("enter")
        assert not run.calls
        await pilot.press("x", "down", "enter")
        await until(pilot, "waiting for vm2, vm3 to be gone")
        assert run.calls == [("cancel", "ana")]
        run.emit(
            fakes.CancelConfirmed(step="unpack", host="vm2", gone=True),
            fakes.CancelConfirmed(step="unpack", host="vm3", gone=False),
        )
        text = await until(pilot, "vm3: STILL RUNNING")
        assert "vm2: confirmed gone" in text


async def test_checks_are_run_again_off_the_record() -> None:
    async with driven(fakes.forever) as (pilot, _):
        await until(pilot, "working")
        await pilot.press("c")
        assert "✗ FAIL vm1  compose.file_found: no compose file" in await until(pilot, "off the record")


async def test_before_a_step_acted_its_after_checks_are_not_judged() -> None:
    async with driven(fakes.asking, size=(120, 40)) as (pilot, _):
        await until(pilot, "Do this?")
        await pilot.press("c")
        text = await until(pilot, "off the record")
        assert "Only after the step" in text
        assert "no compose file" not in text


async def test_a_step_that_is_looked_at_again_tells_of_its_earlier_attempt() -> None:
    async def resumed(run: FakeSession) -> RunVerdict:
        fakes.frozen_step(run)
        fakes.planned_step(run)
        run.emit(StepEnded(step="unpack", attempt=1, verdict="fail", how="acted", reason="No space left."))
        run.emit(RunResumed(by="ana", pc="laptop", tool="0"), seconds=60)
        await run.note("note", "go on", "ana")
        await asyncio.Event().wait()
        return "passed"

    async with driven(resumed, size=(120, 40)) as (pilot, _):
        await until(pilot, "looking at what an earlier attempt left")
        await until(pilot, "▶ looking   2 Unpack")
        text = await until(pilot, "✗ failed No space left.")
        assert text.index("Earlier attempt") < text.index("✗ failed No space left.")


async def test_a_run_that_stopped_says_how_to_go_on_and_is_closed_on_leaving() -> None:
    async def stopping(run: FakeSession) -> RunVerdict:
        fakes.frozen_step(run)
        return "stopped"

    class Listing(FakeWorkbench):
        def __init__(self, session: FakeSession) -> None:
            super().__init__(session)
            self.session = session

        def runs(self) -> list[RunSummary]:
            closed.append(("close",) in self.session.calls)
            return super().runs()

    closed: list[bool] = []
    async with driven(stopping, bench=Listing) as (pilot, _):
        await until(pilot, "Stopped. q, then enter on the run, goes on.")
        await pilot.press("q")
        await until(pilot, "What is to be recovered?")
        await pilot.app.workers.wait_for_complete()
        assert closed == [False, True]  # closed before home reads the list again


async def test_leaving_explains_and_closes_the_run() -> None:
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "working")
        await pilot.press("q")
        text = await until(pilot, "Leave the run?")
        assert f"runbook resume {run.id}" in text
        assert "Now running on vm2, vm3" in text
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, RunScreen)
        await pilot.press("q", "down", "down", "enter")
        await until(pilot, "What is to be recovered?")
        assert ("close",) in run.calls
        assert pilot.app.exit_code == EXIT_WAITS  # type: ignore[attr-defined]


async def test_stopping_after_this_step() -> None:
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "working")
        await pilot.press("q", "down", "enter")
        await until(pilot, "· then stops")
        assert ("stop",) in run.calls


# ── when the program itself fails ──────────────────────────────────────────────────────────
async def test_a_failing_engine_shows_it_and_does_not_take_the_app_down() -> None:
    async def broken(run: FakeSession) -> RunVerdict:
        fakes.frozen_step(run)
        raise ZeroDivisionError("a [/defect]")

    async with driven(broken) as (pilot, _):
        text = await until(pilot, "The program itself failed")
        assert "ZeroDivisionError: a [/defect]" in text
        await pilot.press("escape")
        await until(pilot, "✗ not running")
        await pilot.press("q")
        await until(pilot, "What is to be recovered?")
        assert pilot.app.exit_code == EXIT_FAILED  # type: ignore[attr-defined]


async def test_a_failing_report_or_note_shows_it() -> None:
    class NoReport(FakeWorkbench):
        def report(self, run: str, form: str = "md") -> str:
            raise StateError("No journal.", next="Look in the folder.")

    async with driven(fakes.forever, bench=NoReport) as (pilot, _):
        await until(pilot, "working")
        await pilot.press("r")
        await until(pilot, "No journal.")
        await pilot.press("escape", "q")
        await until(pilot, "working")


async def test_the_report_is_shown_and_written() -> None:
    async with driven(fakes.forever) as (pilot, _):
        await until(pilot, "working")
        await pilot.press("r")
        await until(pilot, "Drill report")
        await pilot.press("w")
        text = await until(pilot, "Written: /runs/fake/report.json")
        assert "Written: /runs/fake/report.md" in text
        assert "Report of " in text
        await pilot.press("q")
        await until(pilot, "working")


def lend_in_test(pilot: Pilot[None], monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no terminal in a test: what the app would lend is this process's own standard input."""
    monkeypatch.setattr(pilot.app, "suspend", nullcontext)
    screen = pilot.app.screen
    assert isinstance(screen, RunScreen)
    screen.bridge.lender = screen.lend


async def test_a_shell_is_awaited_while_the_run_goes_on(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "was-here"
    async with driven(fakes.forever) as (pilot, run):
        run.shell_argv = ["touch", str(marker)]
        await until(pilot, "working")
        lend_in_test(pilot, monkeypatch)
        await pilot.press("s")
        await until(pilot, "A shell on which machine?")
        await pilot.press("enter")
        for _ in range(100):
            if marker.exists():
                break
            await pilot.pause(0.05)
        assert marker.exists()
        await until(pilot, "working")


async def test_a_workbench_may_be_made_after_the_first_paint() -> None:
    app = RunbookApp(lambda: FakeWorkbench(), clock=FakeClock())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "Full system restore")
        await pilot.press("q")
    assert app.exit_code == EXIT_OK


async def test_a_warning_stays_in_sight() -> None:
    async def warned(run: FakeSession) -> RunVerdict:
        run.emit(AttemptStarted(step="freeze", attempt=1, hosts=("backup",)))
        run.emit(StepEnded(step="freeze", attempt=1, verdict="warn", how="acted"))
        run.emit(AttemptStarted(step="unpack", attempt=1, hosts=("vm1",)))
        await asyncio.Event().wait()
        return "passed"

    async with driven(warned, size=(120, 40)) as (pilot, _):
        now = await until(pilot, "step 2 of 3 · ! 1 warning")
        assert "! passed    1 Freeze" in now


async def test_escape_leads_out_of_the_large_output() -> None:
    async with driven(fakes.forever, size=(120, 40)) as (pilot, _):
        await until(pilot, "file-059")
        await pilot.press("o")
        await gone(pilot, "Checks before the step")
        await pilot.press("escape")
        assert "file-059" in await until(pilot, "Checks before the step")
