"""How the screens look, narrow, wide, very wide and without colour. Time stands still.

After a wanted change: ``pytest tests/tui/test_snapshots.py --snapshot-update``, and look at them.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui import fakes
from tests.tui.fakes import FakeSession, FakeWorkbench, summary
from tests.tui.screen import settled, until
from tui.app import RunbookApp

#: the version the pictures were drawn with; another one draws differently
DRAWN_WITH = "8.2.8"
pytestmark = pytest.mark.skipif(
    version("textual") != DRAWN_WITH, reason=f"pictures are of Textual {DRAWN_WITH}"
)
SIZES = [(80, 24), (120, 40), (160, 50)]
#: scene -> text that shows it is there, mode
SCENES = {
    "home": ("r-open", "practice"),
    "running": ("file-059", "practice"),
    "asking": ("Stop and resume later", "drill"),
    "failed": ("What now?", "recovery"),
    "mode": ("In which mode?", "practice"),
    "help": ("Everywhere", "practice"),
    "contact": ("+49 30 1234567", "practice"),
    "cancel": ("Cancel step unpack?", "drill"),
    "report": ("Drill report", "practice"),
}
SCRIPTS = {"asking": fakes.asking, "failed": fakes.failing}
PRESSED = {"help": "question_mark", "contact": "e", "cancel": "x", "report": "r"}


def scene(name: str) -> tuple[RunbookApp, Any]:
    sign, mode = SCENES[name]
    runs = [summary("r-open", "stopped", "unpack", "drill"), summary("r-old", "passed")]
    run = FakeSession(SCRIPTS.get(name, fakes.forever), mode=mode)
    bench = FakeWorkbench(run, problem="No settings found." if name == "home" else "", runs=runs)
    at_once = (None, None) if name in ("home", "mode") else ("full-system-restore", mode)
    app = RunbookApp(bench, *at_once, clock=run.clock)

    async def before(pilot: Pilot[None]) -> None:
        if name == "mode":
            await until(pilot, "r-open")
            await pilot.press("enter")
        elif name in PRESSED:
            await until(pilot, "working")
            await until(pilot, "file-059")
            await pilot.press(PRESSED[name])
        await until(pilot, sign)
        await settled(pilot)

    return app, before


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SCENES)
def test_looks(name: str, size: tuple[int, int], snap_compare: Any) -> None:
    app, before = scene(name)
    assert snap_compare(app, terminal_size=size, run_before=before)


@pytest.mark.parametrize("name", ["home", "running", "asking", "failed"])
def test_looks_without_colour(name: str, snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app, before = scene(name)
    assert snap_compare(app, terminal_size=(80, 24), run_before=before)
