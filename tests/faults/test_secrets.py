"""Secrets stay where they belong, also on the longest way and when a run is broken off.

(Every other test here is under the same watch: see conftest.)"""

from __future__ import annotations

import os
import signal

from runbook.events import JobEnded, JobStarted
from tests.faults.world import Processes, Scene, until
from tests.lab import runs


def test_a_restore_with_every_secret_in_use(scene: Scene, processes: Processes) -> None:
    """OpenTofu's token, CouchDB's password, cookie and secret: none is in a file, an output, a
    process's arguments, or the environment of a program on a VM."""
    scene.up()
    site = scene.site(lambda data: data["machines"].pop("production"))
    done = scene.run("deploy", site=site)
    assert done.returncode == 0, done.stderr
    done = scene.run("short-restore", "--output")
    assert done.returncode == 0, done.stderr
    assert scene.runbook("report", "--format", "json").returncode == 0
    assert processes.ours > 100
    assert len([*scene.state.glob("runs/*/output/*")]) > 5


def test_an_apply_that_was_left_alone(scene: Scene) -> None:
    """Interrupted while OpenTofu is at work: it finishes, and leaves no plan file with secrets."""
    scene.up()
    site = scene.site(lambda data: data["machines"].pop("production"))
    words = ("--site", str(site), "run", scene.guide("deploy"), "--mode", "recovery", "--yes")
    program = runs.start(scene.state, *words)
    until(lambda: [*scene.state.glob("runs/*/tofu/*.events")] or program.poll() is not None)
    os.kill(program.pid, signal.SIGINT)
    assert program.wait(60) == 130
    assert scene.events(JobStarted) and not scene.events(JobEnded)
    until(lambda: all(one["running"] for one in scene.call("status")["machines"].values()))
    until(lambda: not [*scene.state.glob("runs/*/tofu/*.plan")])
    scene.search()
    again = scene.runbook("resume", "--yes")
    assert again.returncode == 0, again.stderr
