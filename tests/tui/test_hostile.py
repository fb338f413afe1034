"""Text from outside can neither crash the app, nor be taken for markup, nor reach the terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Log

from runbook.errors import HostError
from runbook.events import (
    ActEnded,
    ActStarted,
    AttemptStarted,
    CancelConfirmed,
    NoteAdded,
    Noted,
    Option,
    Output,
    Planned,
    Probed,
    Progress,
    RunVerdict,
    StepEnded,
    Waiting,
)
from runbook.guide.model import parse
from runbook.site.model import Contact
from runbook.workbench import GuideInfo
from tests.tui import fakes
from tests.tui.fakes import FakeSession, FakeWorkbench, summary
from tests.tui.screen import driven, seen, until
from tui.app import RunbookApp
from tui.bridge import KEPT_LINES

BAD = (
    "[/foo] [options] [@click=app.quit] \x1b]0;owned\x07\x1b[2J\x9b3m \u202eevil\u2066 \x07\x00 line\rredrawn"
)
NEVER = ("\x1b", "\x9b", "\x07", "\x00", "\u202e", "\u2066", "\r")


def harmless(text: str) -> None:
    assert not [sign for sign in NEVER if sign in text]
    assert "[/foo] [options]" in text


async def bad_events(run: FakeSession) -> RunVerdict:
    run.emit(AttemptStarted(step="unpack", attempt=1, hosts=("vm1", BAD)))
    run.emit(fakes.check(BAD, BAD, "fail", BAD, phase="before", expected=BAD))
    run.emit(fakes.check(BAD, BAD, "warn", BAD, expected=BAD))
    run.emit(Probed(step="unpack", attempt=1, host=BAD, satisfied=False, summary=BAD))
    run.emit(Probed(step="unpack", attempt=1, host=BAD, satisfied=False, summary=BAD, phase="resume"))
    plan = Planned(
        step="unpack",
        attempt=1,
        host=BAD,
        summary=BAD,
        items=(BAD, f"+{BAD}\n-{BAD}"),
        changes=BAD,
        digest="",
    )
    run.emit(plan)
    run.emit(ActStarted(step="unpack", attempt=1, host=BAD, digest=""))
    run.emit(
        Noted(step="unpack", attempt=1, host=BAD, text=BAD),
        NoteAdded(kind="note", text=BAD, by=BAD, step="unpack"),
    )
    run.live(
        Output(step="unpack", host=BAD, lines=(BAD, BAD)),
        Progress(step="unpack", host=BAD, what=BAD, done=1, unit=BAD),
        Waiting(step="unpack", host="vm1", what=BAD, limit=10),
    )
    await run.ask("confirm", BAD, (Option("go", BAD, BAD), Option("stop", "Stop", BAD)), default="go")
    run.emit(CancelConfirmed(step="unpack", host=BAD, gone=None, detail=BAD))
    run.emit(
        ActEnded(step="unpack", attempt=1, host=BAD, outcome="failed", summary=BAD, next=BAD, output=BAD)
    )
    run.emit(StepEnded(step="unpack", attempt=1, verdict="fail", how="acted", reason=BAD, by=BAD))
    await run.ask("text", BAD, default=BAD)
    raise HostError("vm1", BAD, next=BAD)


async def test_nothing_that_a_run_says_does_harm() -> None:
    async with driven(bad_events, size=(120, 60)) as (pilot, _):
        harmless(await until(pilot, "Do this?"))
        await pilot.press("down", "enter")
        harmless(await until(pilot, "In your words"))
        await pilot.press("enter")
        harmless(await until(pilot, "What to do next"))
        await pilot.press("escape", "tab")
        harmless(seen(pilot))
        await pilot.press("c")
        await until(pilot, "off the record")
        await pilot.press("escape", "s")
        harmless(await until(pilot, "A shell on which machine?"))


async def test_guides_settings_runs_and_contacts_do_no_harm() -> None:
    bad_title = fakes.GUIDE.replace("Unpack the configuration on each VM", "[/foo] [options] [b]x")

    class Bad(FakeWorkbench):
        site_name = BAD

        def guides(self) -> list[GuideInfo]:
            return [GuideInfo("full-system-restore", BAD, BAD, ("practice",))]

        def contacts(self) -> tuple[Contact, ...]:
            return (Contact(name=BAD, role=BAD, phone=BAD, email=BAD, when=BAD),)

    run = FakeSession(fakes.forever)
    run.guide = parse(bad_title, name="full-system-restore")
    bench = Bad(run, problem=BAD, runs=[summary(BAD, "unfinished", BAD, BAD), summary("x" + BAD, BAD)])
    bench.report_text = f"# Report\n\n{BAD}\n"
    app = RunbookApp(bench, clock=run.clock)
    async with app.run_test(size=(120, 60), notifications=True) as pilot:
        harmless(await until(pilot, "Unfinished"))
        await pilot.press("e")
        harmless(await until(pilot, "phone"))
        await pilot.press("escape", "up", "r", "enter")
        harmless(await until(pilot, "In which mode?"))
        await pilot.press("enter")
        harmless(await until(pilot, "2 [/foo]"))
        await pilot.press("r")
        text = await until(pilot, "Report")
        assert not [sign for sign in NEVER if sign in text]


async def test_a_notification_is_never_markup() -> None:
    async with driven(fakes.asking) as (pilot, run):
        run.reports = [Path("/runs/[/foo] [options]/report.md")]
        await until(pilot, "Do this?")
        await pilot.press("enter")
        await until(pilot, "/runs/[/foo]")


@pytest.mark.parametrize("hosts", [1, 3])
async def test_200_000_lines_neither_freeze_the_keys_nor_grow(hosts: int) -> None:
    total = 200_000

    async def flood(run: FakeSession) -> RunVerdict:
        fakes.planned_step(run)
        for number in range(0, total, 100):
            for host in range(hosts):
                lines = tuple(f"vm{host} line {n} " + "x" * 60 for n in range(number, number + 100))
                run.live(Output(step="unpack", host=f"vm{host}", lines=lines))
            await asyncio.sleep(0)
        await asyncio.Event().wait()
        return "passed"

    async with driven(flood) as (pilot, run):
        await until(pilot, "lines")
        await pilot.press("e")  # in the middle of it
        await until(pilot, "+49 30 1234567")
        await pilot.press("escape")
        run.clock.seconds += 1
        await until(pilot, f"line {total - 1}", tries=1000)
        log = pilot.app.screen.query_one(Log)
        bridge: Any = pilot.app.screen.bridge  # type: ignore[attr-defined]
        assert log.line_count <= KEPT_LINES
        assert all(len(kept.lines) == KEPT_LINES and kept.total == total for kept in bridge.output.values())


async def test_scrolling_up_stops_following_new_lines_are_counted_and_end_follows() -> None:
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "file-059")
        await pilot.press("o", "pageup")
        run.live(Output(step="unpack", host="vm2", lines=tuple(f"new {n}" for n in range(40))))
        text = await until(pilot, "40 new: End")
        assert "new 39" not in text
        await pilot.press("end")
        text = await until(pilot, "new 39")
        assert "new: End" not in text


async def test_each_machine_has_its_own_output() -> None:
    async with driven(fakes.forever) as (pilot, run):
        await until(pilot, "file-059")
        run.live(Output(step="unpack", host="vm3", lines=("only on three",)))
        await pilot.press("3")
        await until(pilot, "only on three")
        await pilot.press("1")
        text = await until(pilot, "60 lines")
        assert "only on three" not in text
