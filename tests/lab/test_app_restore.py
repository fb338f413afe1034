"""The app and plain lines take turns on one killed run: either goes on where the other was."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from runbook.events import ActStarted, JobStarted, Noted, RunEnded, RunResumed
from runbook.workbench import Workbench
from tests.lab.runs import LIMIT, command, event, kill_when, records, runbook, start, state_of
from tests.tui.screen import seen, until
from tui.app import RunbookApp


def restoring(found: list) -> bool:  # type: ignore[type-arg]
    return any(isinstance(r.event, Noted) and r.event.data.get("kind") == "restore" for r in found)


@pytest.mark.parametrize("moment", ["OpenTofu", "restore"])
async def test_a_killed_run_is_resumed_in_the_app(tmp_path: Path, moment: str) -> None:
    with state_of(tmp_path) as state:
        words = ("run", "full-system-restore", "--mode", "practice", "--yes")
        when = event(JobStarted, step="deploy") if moment == "OpenTofu" else restoring
        kill_when(start(state, *words), state, when)

        app = RunbookApp(Workbench(state))
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, "unfinished")
            await pilot.press("down", "enter")  # the unfinished run stands below the guide
            end = time.monotonic() + LIMIT
            while "The run has ended" not in seen(pilot):
                assert time.monotonic() < end, seen(pilot)
                if "your answer is needed" in seen(pilot):
                    await pilot.press("enter")
                await pilot.pause(0.1)
        found = [record.event for record in records(state)]
        assert isinstance(found[-1], RunEnded) and found[-1].verdict == "passed"
        assert [e for e in found if isinstance(e, RunResumed)]
        assert runbook(state, "report", "verify").returncode == 0


@pytest.mark.real("tmux")
def test_the_app_is_killed_and_plain_lines_go_on(tmp_path: Path) -> None:
    socket = f"rb{os.getpid()}"

    def tmux(*words: str) -> str:
        done = subprocess.run(["tmux", "-L", socket, *words], capture_output=True, text=True, check=True)
        return done.stdout

    with state_of(tmp_path) as state:
        app = command(state, "tui", "full-system-restore", "--mode", "practice")
        tmux("new-session", "-d", "-x", "80", "-y", "24", "-s", "app", f"exec {shlex.join(app)}")
        try:
            pid = int(tmux("list-panes", "-F", "#{pane_pid}"))
            end = time.monotonic() + LIMIT
            while not event(ActStarted, step="unpack")(records(state)):
                assert time.monotonic() < end, tmux("capture-pane", "-p")
                if "your answer is needed" in tmux("capture-pane", "-p"):
                    tmux("send-keys", "Enter")
                time.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
        finally:
            subprocess.run(["tmux", "-L", socket, "kill-server"], capture_output=True, check=False)
        done = runbook(state, "resume", "--yes")
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Resumed by" in done.stderr
