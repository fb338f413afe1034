"""The program itself on a real terminal: a step fails, a person opens a shell, comes back, goes on."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from runbook.events import Answered, Asked, RunEnded, ShellClosed, ShellOpened
from runbook.record import journal
from runbook.report.verify import verify

SITE = """\
name = "Somewhere"
operator = "ana"
[platform]
domain = "learn.example.test"
[couchdb]
password = { env = "RUNBOOK_PASSWORD" }
cookie = { env = "RUNBOOK_COOKIE" }
secret = { env = "RUNBOOK_SECRET" }
"""
GUIDE = """\
+++
title = "Work on this PC"
modes = ["drill"]
+++
# Work on this PC

## Look for a file

```toml step
id     = "look"
action = "command"
after  = ["hosts.disk_free(min='1kB')"]
[with]
argv = ["ls", "{folder}/ready"]
```
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runbook.toml").write_text(SITE)
    (tmp_path / "work.md").write_text(GUIDE.replace("{folder}", str(tmp_path)))
    return tmp_path


def words(folder: Path) -> list[str]:
    own = ["--state", str(folder / "state"), "--site", str(folder / "runbook.toml")]
    return [*own, "run", str(folder / "work.md"), "--mode", "drill", "--name", "one"]


@pytest.fixture
def program(folder: Path) -> Iterator[Any]:
    spawned = pexpect.spawn(
        sys.executable,
        ["-m", "runbook.cli", *words(folder)],
        env=os.environ | {"SHELL": "/bin/sh", "PS1": "THE-SHELL$ ", "ENV": ""},
        timeout=60,
        dimensions=(40, 100),
        encoding="utf-8",
    )
    yield spawned
    spawned.close(force=True)


def events(folder: Path) -> list[Any]:
    return [record.event for record in journal.read(folder / "state" / "runs" / "one")]


def test_a_shell_and_back(folder: Path, program: Any) -> None:
    program.expect("> ")
    program.sendline("go")
    program.expect("look did not pass")
    program.expect("shell .*Open a shell on this PC")
    program.expect("> ")
    program.sendline("shell")
    program.expect("A shell on this PC")
    program.expect("THE-SHELL")
    program.sendline("sleep 60")
    program.sendintr()  # for the shell's own program, not for the run
    program.expect("THE-SHELL")
    program.sendline(f"touch {folder}/ready; exit")
    program.expect("the shell was open for")
    program.expect("look did not pass")
    program.expect("> ")
    program.sendline("retry")
    program.expect("Is it safe to run it twice")
    program.expect("> ")
    program.sendline("go")
    program.expect("Run passed")
    program.expect(pexpect.EOF)
    program.wait()
    assert program.exitstatus == 0
    found = events(folder)
    (opened,) = [event for event in found if isinstance(event, ShellOpened)]
    (closed,) = [event for event in found if isinstance(event, ShellClosed)]
    assert (opened.host, opened.by, opened.standing) == ("operator", "ana", True)
    assert closed.id == opened.id and closed.seconds > 0
    kinds = [event.kind for event in found if isinstance(event, Asked)]
    assert kinds == ["confirm", "failed", "failed", "confirm"]
    assert [event.value for event in found if isinstance(event, Answered)] == ["go", "shell", "retry", "go"]
    assert verify(folder / "state" / "runs" / "one").ok
    report = (folder / "state" / "runs" / "one" / "report.md").read_text()
    assert "A shell was open on operator for" in report


@pytest.mark.parametrize(("ready", "verdict", "code"), [(True, "passed", 0), (False, "stopped", 1)])
def test_a_reader_that_goes_away_does_not_end_the_run(
    folder: Path, ready: bool, verdict: str, code: int
) -> None:
    """``… --yes 2>&1 | head -1``: the work goes on, and the exit code is the run's own."""
    if ready:
        (folder / "ready").touch()
    line = shlex.join([sys.executable, "-m", "runbook.cli", *words(folder), "--yes"])
    done = subprocess.run(
        ["bash", "-c", f"{line} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith("Work on this PC") and done.stderr == ""
    assert [event.verdict for event in events(folder) if isinstance(event, RunEnded)] == [verdict]
    assert done.returncode == code
