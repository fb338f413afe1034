"""Whole runs of the command line on the practice lab, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runbook.errors import StateError
from runbook.events import ActStarted, JobStarted, Record
from runbook.record import journal

#: seconds for anything here; a whole run takes less than one minute on two quiet cores
LIMIT = 240.0
ROOT = Path(__file__).parents[2]


def command(state: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "runbook.cli", "--state", str(state), *words]


def runbook(state: Path, *words: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end, without a terminal."""
    return subprocess.run(
        command(state, *words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        **kwargs,
    )


def start(state: Path, *words: str) -> subprocess.Popen[bytes]:
    return _popen(state, command(state, *words))


def start_app(state: Path) -> subprocess.Popen[bytes]:
    """The app, driven by ``tests.lab.appdriver``: it starts a run, or goes on with the one there is."""
    return _popen(state, [sys.executable, "-m", "tests.lab.appdriver", str(state)])


def _popen(state: Path, argv: list[str]) -> subprocess.Popen[bytes]:
    with (state.parent / "stderr.log").open("ab") as told:
        return subprocess.Popen(
            argv,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=told,
            start_new_session=True,
        )


def records(state: Path) -> list[Record]:
    folders = sorted((state / "runs").glob("*/journal.jsonl"))
    if not folders:
        return []
    try:
        return journal.read(folders[-1].parent)
    except StateError:
        return []


def kill_when(process: subprocess.Popen[bytes], state: Path, seen: Callable[[list[Record]], bool]) -> None:
    """SIGKILL the program (and not what it left running) as soon as the journal shows it."""
    end = time.monotonic() + LIMIT
    while not seen(records(state)):
        still_runs(process, state)
        if time.monotonic() > end:
            raise TimeoutError("the journal never showed it")
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def still_runs(process: subprocess.Popen[bytes], state: Path) -> None:
    if process.poll() is not None:
        told = (state.parent / "stderr.log").read_text()[-3000:]
        raise AssertionError(
            f"ended with {process.returncode} before it could be killed:\n{told}\n{tail(records(state))}"
        )


def tail(found: list[Record], count: int = 12) -> str:
    """The last events, for the message of a test that fails."""
    return "\n".join(repr(record.event) for record in found[-count:])


def event(kind: type, **fields: Any) -> Callable[[list[Record]], bool]:
    """True once the journal holds such an event."""

    def seen(found: list[Record]) -> bool:
        return any(
            isinstance(record.event, kind)
            and all(getattr(record.event, name) == value for name, value in fields.items())
            for record in found
        )

    return seen


#: in the middle of OpenTofu, of unpacking, of compose
MOMENTS = (
    event(JobStarted, step="deploy"),
    event(ActStarted, step="unpack"),
    event(JobStarted, step="couchdb"),
)


@contextmanager
def state_of(folder: Path) -> Iterator[Path]:
    """A state folder whose lab is taken down at the end."""
    state = folder / "state"
    state.mkdir()
    try:
        yield state
    finally:
        runbook(state, "lab", "down")
