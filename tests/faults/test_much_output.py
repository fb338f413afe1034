"""What a talkative machine does to us: nothing, and every line is kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from runbook.events import ActEnded
from tests.faults.world import SECRETS, Processes, Scene
from tests.lab.runs import command

FEW, MANY = 2_000, 200_000


def listen(scene: Scene, count: int) -> int:
    """One run that is told ``count`` lines; the most memory the program had, in kB."""
    guide = scene.folder / f"talkative-{count}.md"
    guide.write_text(Path(scene.guide("talkative")).read_text().replace("@COUNT@", str(count)))
    words = ("--site", str(scene.site()), "run", str(guide), "--mode", "recovery", "--yes")
    log = scene.folder / "stderr.log"
    with log.open("wb") as told:
        program = subprocess.Popen(
            command(scene.state, *words, "--name", f"run-{count}", "--output"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=told,
        )
        _, status, used = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
    assert program.returncode == 0, log.read_text()[-3000:]
    assert log.read_text().count(" | line ") == count, "each one was also shown"
    return used.ru_maxrss


def test_two_hundred_thousand_lines(scene: Scene) -> None:
    """They are kept whole, with their hash on record, and do not make the program grow with them."""
    scene.up()
    few, many = listen(scene, FEW), listen(scene, MANY)
    assert many < 2 * few, f"{few} kB for {FEW} lines, {many} kB for {MANY}"
    expected = "".join(f"line {n} of a program that has much to say\n" for n in range(1, MANY + 1)).encode()
    (ended,) = scene.events(ActEnded)
    kept = (scene.state / "runs" / f"run-{MANY}" / ended.output).read_bytes()
    assert kept == expected
    assert ended.output_bytes == len(expected)
    assert ended.output_sha256 == hashlib.sha256(expected).hexdigest()
    assert scene.runbook("report", "verify", f"run-{MANY}").returncode == 0


def test_the_watch_on_secrets_sees_them(processes: Processes) -> None:
    """The very watch that every test here is under, on a process that gives one away."""
    with subprocess.Popen(["sh", "-c", "read _", SECRETS["HCLOUD_TOKEN"]], stdin=subprocess.PIPE) as waiting:
        while not processes.seen:
            assert waiting.poll() is None
        waiting.communicate(b"\n")
    assert any("read _" in line for line in processes.seen)
    processes.seen.clear()


def test_the_search_for_secrets_finds_them(scene: Scene) -> None:
    (scene.state / "runs").mkdir()
    leak = scene.state / "runs" / "leak.log"
    leak.write_text(f"login with {SECRETS['COUCHDB_COOKIE']}\n")
    with pytest.raises(AssertionError, match=r"leak\.log holds 1 secrets"):
        scene.search()
    leak.unlink()
