"""The app and plain lines take turns on one killed run: either goes on where the other was."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from runbook.events import ActStarted, RunEnded, RunResumed, StepEnded
from tests.lab.databases import backed_up, kill_in_the_middle, restored
from tests.lab.runs import (
    LIMIT,
    MOMENTS,
    command,
    event,
    kill_when,
    records,
    runbook,
    start,
    start_app,
    state_of,
)


async def test_the_app_is_killed_in_four_steps_and_goes_on(tmp_path: Path) -> None:
    """SIGKILL of the app itself in OpenTofu, unpacking, compose and the middle of a database."""
    with state_of(tmp_path) as state:
        for moment in MOMENTS:
            await asyncio.to_thread(kill_when, start_app(state), state, moment)
        there, whole = await kill_in_the_middle(start_app(state), state)
        assert 0 < there < whole
        last = start_app(state)
        assert await asyncio.to_thread(last.wait, LIMIT) == 0, (tmp_path / "stderr.log").read_text()[-3000:]

        found = [record.event for record in records(state)]
        # what follows it is that the report was written
        assert [e.verdict for e in found if isinstance(e, RunEnded)][-1] == "passed"
        assert len([e for e in found if isinstance(e, RunResumed)]) == 4
        assert runbook(state, "report", "verify").returncode == 0
        assert await restored(state) == backed_up(state)


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
        kill_when(start(state, "resume", "--yes"), state, event(StepEnded, step="unpack"))
        assert "Resumed by" in (tmp_path / "stderr.log").read_text()
        assert event(RunResumed)(records(state))
