"""Looking at the app's screen as text, and driving it to a point."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from tests.tui.fakes import FakeClock, FakeSession, FakeWorkbench, Script
from tui.app import RunbookApp
from tui.widgets.question import QuestionPanel


def seen(pilot: Pilot[Any]) -> str:
    """All that is on the screen now."""
    return "\n".join(strip.text.rstrip() for strip in pilot.app.screen._compositor.render_strips())


async def until(pilot: Pilot[Any], text: str, tries: int = 200) -> str:
    """The screen, once ``text`` is on it."""
    for _ in range(tries):
        await pilot.pause(0.02)
        if text in (now := seen(pilot)):
            return now
    raise AssertionError(f"{text!r} did not appear:\n{seen(pilot)}")


async def gone(pilot: Pilot[Any], text: str, tries: int = 200) -> str:
    """The screen, once ``text`` is no longer on it."""
    for _ in range(tries):
        await pilot.pause(0.02)
        if text not in (now := seen(pilot)):
            return now
    raise AssertionError(f"{text!r} did not go away:\n{seen(pilot)}")


async def settled(pilot: Pilot[Any], looks: int = 6) -> str:
    """The screen, once nothing on it has changed for so many looks, a refresh of the output apart."""
    same, last = 0, ""
    for _ in range(400):
        await pilot.pause(0.12)
        now = seen(pilot)
        same, last = (same + 1, now) if now == last else (0, now)
        if same >= looks:
            return now
    raise AssertionError(f"the screen never came to rest:\n{last}")


@asynccontextmanager
async def driven(
    script: Script,
    *,
    size: tuple[int, int] = (80, 24),
    guard: float = 0.0,
    bench: type[FakeWorkbench] = FakeWorkbench,
    mode: str = "practice",
) -> AsyncIterator[tuple[Pilot[None], FakeSession]]:
    """The app in a run that follows the script; the clock stands still unless the script moves it."""
    clock = FakeClock()
    run = FakeSession(script, clock, mode)
    app = RunbookApp(bench(run), "full-system-restore", mode, clock=clock)
    before, QuestionPanel.guard = QuestionPanel.guard, guard
    try:
        async with app.run_test(size=size, notifications=True) as pilot:
            yield pilot, run
    finally:
        QuestionPanel.guard = before
