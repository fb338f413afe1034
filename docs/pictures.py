"""Makes the pictures of the README from a real practice run: python docs/pictures.py FOLDER

Writes run.svg and report.svg into FOLDER; a browser turns them into PNG.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from runbook.lab import control
from runbook.workbench import Workbench
from tui.app import RunbookApp


async def shoot(folder: Path) -> None:
    state = Path(tempfile.mkdtemp(prefix="runbook-pictures-"))
    app = RunbookApp(Workbench(state), "full-system-restore", "practice")
    try:
        async with app.run_test(size=(120, 36)) as pilot:

            def seen() -> str:
                return "\n".join(strip.text for strip in app.screen._compositor.render_strips())

            taken = False
            while "The run has ended" not in seen():
                await pilot.pause(0.2)
                if "your answer is needed" in seen():
                    await pilot.pause(0.5)
                    if not taken and "Restore the documents" in seen() and "restore 5" in seen():
                        (folder / "run.svg").write_text(app.export_screenshot())
                        taken = True
                    await pilot.press("enter")
            await pilot.pause(1)
            await pilot.press("r")
            await pilot.pause(1)
            (folder / "report.svg").write_text(app.export_screenshot())
    finally:
        await control.down(state)


asyncio.run(shoot(Path(sys.argv[1])))
