"""The app in a process of its own, which a test can kill: ``python -m tests.lab.appdriver STATE``.

It starts the guide on the practice lab, or goes on with the run that is there, and presses Enter at
every question. Its exit status is 0 once the run has ended; the journal tells with which verdict.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from runbook.workbench import Workbench
from tests.lab.runs import LIMIT
from tests.tui.screen import seen, until
from tui.app import RunbookApp
from tui.widgets.choices import Choices

GUIDE = "full-system-restore"


async def drive(state: Path) -> None:
    bench = Workbench(state)
    going_on = bool(bench.runs())
    app = RunbookApp(bench) if going_on else RunbookApp(bench, GUIDE, "practice")
    async with app.run_test(size=(80, 24)) as pilot:
        if going_on:
            await until(pilot, "unfinished")
            while not app.home.query_one(Choices).value.startswith("run:"):  # Enter is for the marked one
                await pilot.press("down")
                await pilot.pause(0.05)
            await pilot.press("enter")
        end = time.monotonic() + LIMIT
        while not any(said in (now := seen(pilot)) for said in ("The run has ended", "Stopped")):
            if time.monotonic() > end:
                raise TimeoutError(now)
            if "your answer is needed" in now:
                await pilot.press("enter")
            await pilot.pause(0.1)


if __name__ == "__main__":
    asyncio.run(drive(Path(sys.argv[1])))
