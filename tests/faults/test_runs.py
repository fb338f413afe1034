"""Runs that meet each other, are interrupted, have nobody to ask, or were tampered with."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook.events import Asked, JobEnded, JobStarted, RunEnded, StepEnded
from runbook.lab.samplesite import toml
from tests.faults.test_refused import SETTINGS
from tests.faults.world import Scene, until
from tests.lab import runs


class Work:
    """Runs of work.md: its first step waits for the file ``go``, its second looks for ``ready``."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.folder = scene, scene.folder / "work"
        self.folder.mkdir()
        self.site = scene.folder / "runbook.toml"
        self.site.write_text(toml(SETTINGS | {"backup": {"local": str(self.folder)}}))
        self.started: list[subprocess.Popen[bytes]] = []

    def words(self, *more: str) -> tuple[str, ...]:
        return ("--site", str(self.site), "run", self.scene.guide("work"), "--mode", "drill", *more)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        process = runs.start(self.scene.state, *words)
        self.started.append(process)
        return process

    def begun(self) -> subprocess.Popen[bytes]:
        """A run whose first step is at work."""
        process = self.start(*self.words("--yes", "--name", "one"))
        until(lambda: (self.folder / "begun").exists() or process.poll() is not None)
        assert process.poll() is None, self.told()
        return process

    def touch(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()

    def count(self, name: str) -> int:
        path = self.folder / name
        return len(path.read_text().splitlines()) if path.exists() else 0

    def told(self) -> str:
        return (self.scene.state.parent / "stderr.log").read_text()


@pytest.fixture
def work(scene: Scene) -> Iterator[Work]:
    made = Work(scene)
    yield made
    made.touch("go")  # whatever still waits for it ends
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.wait()
    log = scene.state.parent / "stderr.log"
    if log.exists():
        assert "Traceback" not in log.read_text()
        scene.said.append(log.read_text())


def test_two_programs_on_one_journal(work: Work) -> None:
    first = work.begun()
    before = len(work.scene.records())
    for words in (("resume",), ("resume", "one", "--yes")):
        done = work.scene.runbook(*words)
        assert done.returncode == 2
        assert f"open elsewhere: process {first.pid} on " in done.stderr
        assert "Nothing was changed." in done.stderr
    assert len(work.scene.records()) == before
    taken = work.scene.runbook(*work.words("--yes", "--name", "one"))
    assert taken.returncode == 2 and "There is already a run named one." in taken.stderr
    work.touch("go", "ready")
    assert first.wait(60) == 0, work.told()
    assert work.count("begun") == work.count("finished") == 1


def test_a_finished_run_cannot_be_resumed(work: Work) -> None:
    work.touch("go", "ready")
    assert work.scene.runbook(*work.words("--yes")).returncode == 0
    (run,) = (work.scene.state / "runs").iterdir()
    before = (run / "journal.jsonl").read_bytes()
    done = work.scene.runbook("resume", "--yes")
    assert done.returncode == 2
    assert f"Run {run.name} has ended (passed); it cannot be resumed." in done.stderr
    assert f"runbook report {run.name}" in done.stderr
    assert (run / "journal.jsonl").read_bytes() == before
    assert work.count("begun") == 1


def test_interrupted_by_the_keyboard(work: Work) -> None:
    """Exit 130; the job goes on by itself; the resumed run takes its end for what it is."""
    process = work.begun()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130, work.told()
    assert "interrupted. Jobs on hosts go on; `runbook resume` follows them." in work.told()
    assert not work.scene.events(JobEnded), "the job is still at work"
    work.touch("go", "ready")
    until(lambda: work.count("finished"))  # though no program is there
    done = work.scene.runbook("resume", "--yes")
    assert done.returncode == 0, done.stderr
    (ended,) = [e for e in work.scene.events(JobEnded) if e.step == "wait"]
    assert ended.exit_status == 0
    assert "while this program was away" in done.stderr
    assert work.count("begun") == work.count("finished") == 1, "it was run once and no more"


def test_terminated_and_resumed_while_the_job_is_at_work(work: Work) -> None:
    process = work.begun()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 130, work.told()
    second = work.start("resume", "--yes")
    until(lambda: "job" in work.told().partition("Resumed by")[2])
    assert second.poll() is None
    work.touch("go", "ready")
    assert second.wait(60) == 0, work.told()
    assert work.count("begun") == work.count("finished") == 1


def test_a_failing_step_with_yes(work: Work) -> None:
    work.touch("go")
    done = work.scene.runbook(*work.words("--yes"))
    assert done.returncode == 1
    assert "ls ready ended with exit status 2: " in done.stderr
    assert "Run stopped. step look failed" in done.stderr
    assert [(e.step, e.verdict) for e in work.scene.events(StepEnded)] == [("wait", "pass"), ("look", "fail")]
    assert [path.rpartition("/")[2] for path in done.stdout.splitlines()] == ["report.md", "report.json"]
    assert work.count("begun") == 1


def test_a_command_is_not_run_twice_unattended(work: Work) -> None:
    """It may be unsafe to repeat, and only a person can know."""
    work.touch("go")
    assert work.scene.runbook(*work.words("--yes")).returncode == 1
    work.touch("ready")
    again = work.scene.runbook("resume", "--yes")
    assert again.returncode == 3, again.stderr
    assert "This was run before on operator (attempt 1: failed). Is it safe to run it twice?" in again.stderr
    assert len(work.scene.events(JobStarted)) == 2, "one job for each step"
    assert work.count("begun") == 1, "the step that had passed was not run again"


def test_nobody_to_ask(work: Work) -> None:
    done = work.scene.runbook(*work.words())
    assert done.returncode == 3
    assert "Step wait waits for a person: " in done.stderr
    assert "Go on with `runbook resume` on a terminal" in done.stderr
    assert [event.kind for event in work.scene.events(Asked)] == ["confirm"], "one question, no more"
    assert not work.scene.events(JobStarted)
    assert work.count("begun") == 0
    again = work.scene.runbook("resume")
    assert again.returncode == 3 and work.count("begun") == 0
    work.touch("go", "ready")
    last = work.scene.runbook("resume", "--yes")
    assert last.returncode == 0, last.stderr
    assert work.scene.events(RunEnded)[-1].verdict == "passed"
    assert work.scene.runbook("report", "verify").returncode == 0


def _change(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def test_a_damaged_run(work: Work) -> None:
    work.touch("go", "ready")
    scene = work.scene
    assert scene.runbook(*work.words("--yes", "--name", "one")).returncode == 0
    run = scene.state / "runs" / "one"
    assert scene.runbook("report", "verify", "one").returncode == 0
    output = next((run / "output").iterdir())
    kept = {path: path.read_bytes() for path in (run / "journal.jsonl", run / "report.md", output)}
    lines = kept[run / "journal.jsonl"].splitlines(keepends=True)

    def told() -> str:
        done = scene.runbook("report", "verify", "one")
        assert done.returncode == 1
        for path, data in kept.items():
            path.write_bytes(data)
        return done.stdout

    _change(run / "journal.jsonl", b'"exit_status":0', b'"exit_status":1')
    assert "journal: " in told()
    (run / "journal.jsonl").write_bytes(b"".join(lines[:4] + lines[5:]))
    assert "journal: " in told()
    (run / "journal.jsonl").write_bytes(b"")
    assert "journal" in told()
    _change(run / "report.md", b"passed", b"failed")
    assert "report.md: " in told()
    output.write_bytes(kept[output] + b"and more\n")
    assert f"output/{output.name}: " in told()
    output.unlink()
    assert f"output/{output.name}: " in told()
    (run / "output" / "invented.log").write_bytes(b"something\n")
    assert "output/invented.log: the journal does not name this file" in told()


def test_a_damaged_journal_is_not_written_to(work: Work) -> None:
    work.touch("go")
    assert work.scene.runbook(*work.words("--yes", "--name", "one")).returncode == 1
    journal = work.scene.state / "runs" / "one" / "journal.jsonl"
    _change(journal, b'"verdict":"pass"', b'"verdict":"fail"')
    before = journal.read_bytes()
    done = work.scene.runbook("resume", "one", "--yes")
    assert done.returncode == 2
    assert "record" in done.stderr and "runbook:" in done.stderr
    assert journal.read_bytes() == before


def test_a_practice_run_whose_lab_is_gone(scene: Scene) -> None:
    guide = scene.guide("look")
    done = scene.runbook("run", guide, "--mode", "practice")
    assert done.returncode == 3
    (run,) = (scene.state / "runs").iterdir()
    before = (run / "journal.jsonl").read_bytes()
    assert scene.runbook("lab", "down").returncode == 0
    again = scene.runbook("resume", "--yes")
    assert again.returncode == 2
    assert f"The practice lab of run {run.name} is gone" in again.stderr
    assert "Start a new practice run." in again.stderr
    assert not scene.layout.root.exists(), "and no other one was started in its place"
    assert (run / "journal.jsonl").read_bytes() == before


def test_a_practice_lab_is_not_taken_from_a_run_that_uses_it(scene: Scene) -> None:
    guide = scene.folder / "slow.md"
    guide.write_text(
        (Path(scene.guide("look"))).read_text().replace('"touch", "written-by-the-run"', '"sleep", "300"')
    )
    first = runs.start(scene.state, "run", str(guide), "--mode", "practice", "--yes")
    try:
        until(lambda: scene.events(JobStarted))
        lab = scene.layout.info.read_bytes()
        done = scene.runbook("run", scene.guide("look"), "--mode", "practice", "--yes")
        assert done.returncode == 2
        assert "The practice lab is in use by run " in done.stderr
        assert scene.layout.info.read_bytes() == lab
        assert len(list((scene.state / "runs").iterdir())) == 1
    finally:
        first.kill()
        first.wait()
