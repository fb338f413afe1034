"""The backups as calendars: what is shown, what enter tells, verifying, giving up, fetching."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from textual.app import App
from textual.pilot import Pilot

from runbook.backup.inventory import Item
from runbook.backup.overview import Overview
from runbook.backup.verifying.report import Report
from runbook.errors import HostError, RunbookError
from tests.tui.screen import gone, seen, until
from tests.unit.test_backup_overview import NOW, daily, drawn, verified
from tui.app import RunbookApp
from tui.screens.backups import BackupsScreen, Tick

FOUND = [daily(26, verified=verified("sound")), daily(25), daily(24, verified=verified("damaged")), daily(22)]


def report(verdict: Any = "sound", **more: Any) -> Report:
    known: dict[str, Any] = {
        "id": "20261125",
        "path": "/backup/daily/20261125",
        "at": datetime(2026, 11, 26, tzinfo=UTC),
        "made": None,
        "way": None,
        "files": 25,
        "bytes": 1000,
        "nodes": ("10.0.1.10",),
        "documents": {"10.0.1.10/openedx_1": 1234},
        "problems": (),
        "remarks": (),
        "notes": (),
        "findings": (),
        "unproven": ("that it can be restored: only a restore proves that",),
        "lacks": (),
        "earlier": "",
        "print": "",
        "listed": False,
        "ledger": "/backup/daily/.runbook-verified.jsonl",
    }
    return Report(verdict=verdict, **(known | more))


class Deeds:
    """Scripted; ``asked`` is what was to be verified."""

    def __init__(self, answer: Report | Exception | None = None) -> None:
        self.answer, self.asked, self.looks, self.ended = answer, list[str](), 0, False

    async def look(self) -> Overview:
        self.looks += 1
        return Overview(at=NOW, rows=tuple(drawn(FOUND)))

    async def verify(self, item: Item, tick: Tick) -> Report:
        self.asked.append(item.path)
        tick(500, 1000)
        if self.answer is None:
            try:
                await asyncio.sleep(3600)
            finally:
                self.ended = True
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


class Host(App[None]):
    CSS_PATH = RunbookApp.CSS_PATH

    def __init__(self, deeds: Deeds) -> None:
        super().__init__()
        self.deeds, self.result = deeds, "nothing yet"

    def on_mount(self) -> None:
        def left(id: str | None) -> None:
            self.result = str(id)

        self.push_screen(BackupsScreen(self.deeds), left)  # type: ignore[arg-type]

    def action_leave(self) -> None:
        assert isinstance(self.screen, BackupsScreen)
        self.screen.leave()


@asynccontextmanager
async def shown(deeds: Deeds, size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[Pilot[Any], Host]]:
    app = Host(deeds)
    async with app.run_test(size=size) as pilot:
        await until(pilot, "Backup VM, daily")
        yield pilot, app


async def test_a_week_of_days_with_a_word_for_each() -> None:
    async with shown(Deeds()) as (pilot, _):
        now = await until(pilot, "20261126")
        (days,) = [line for line in now.splitlines() if "Thu 26 Nov" in line]
        assert days.startswith(
            "▶Thu 26 Nov Wed 25 Nov Tue 24 Nov Mon 23 Nov Sun 22 Nov Sat 21 Nov Fri 20 Nov"
        )
        assert "✓ verified ○ present  ✗ damaged  ✗ missing  ○ present  ✗ missing" in now
        await pilot.press("right", "right")
        assert "20261124  ✗ damaged" in await until(pilot, "20261124")


async def test_one_that_lacks_offers_nothing_to_do() -> None:
    async with shown(Deeds()) as (pilot, app):
        await pilot.press("right", "right", "right", "enter")
        assert "should have made it" in await until(pilot, "Backup VM, daily: 20261123")
        assert "Verify" not in seen(pilot)
        await pilot.press("escape")
        await gone(pilot, "should have made it")
        await pilot.press("escape")
        await pilot.pause()
        assert app.result == "None"


async def test_verified_from_there_and_looked_at_again() -> None:
    deeds = Deeds(report(remarks=("node-10.0.1.10/x: look",)))
    async with shown(deeds) as (pilot, _):
        await pilot.press("right", "enter")
        await until(pilot, "last verified: never")
        await pilot.press("up", "up", "up", "enter")
        now = await until(pilot, "Backup 20261125: sound")
        assert "1,234 documents read in 25 files" in now and "! node-10.0.1.10/x: look" in now
        assert "only a restore proves that" in now
        assert deeds.asked == ["/backup/daily/20261125"]
        await until(pilot, "On record in")
        assert deeds.looks == 2


async def test_a_damaged_one_says_what_to_do_next() -> None:
    async with shown(Deeds(report("damaged", problems=("openedx_1.json: cut off",))), (120, 40)) as (
        pilot,
        _,
    ):
        await pilot.press("right", "enter")
        await until(pilot, "Verify it")
        await pilot.press("up", "up", "up", "enter")
        now = await until(pilot, "Backup 20261125: damaged")
        assert "✗ openedx_1.json: cut off" in now and "Use another backup until then" in now


async def test_giving_up_ends_the_work() -> None:
    deeds = Deeds()
    async with shown(deeds) as (pilot, _):
        await pilot.press("right", "enter")
        await until(pilot, "Verify it")
        await pilot.press("up", "up", "up", "enter")
        await until(pilot, "500 B of 1.0 kB")
        await pilot.press("escape")
        await gone(pilot, "Esc gives up")
        await pilot.pause()
        assert deeds.ended


async def test_what_cannot_be_verified_says_why_and_the_screen_goes_on() -> None:
    error: RunbookError = HostError("backup", "backup: no byte moved for 300s.", next="Try again.")
    async with shown(Deeds(error)) as (pilot, _):
        await pilot.press("right", "enter")
        await until(pilot, "Verify it")
        await pilot.press("up", "up", "up", "enter")
        now = await until(pilot, "could not be verified")
        assert "no byte moved" in now and "Try again." in now
        await pilot.press("escape")
        await gone(pilot, "could not be verified")


async def test_fetching_is_left_to_a_run() -> None:
    async with shown(Deeds()) as (pilot, app):
        await pilot.press("right", "enter")
        await until(pilot, "Fetch it")
        await pilot.press("up", "enter")
        await pilot.pause()
        assert app.result == "20261125"
