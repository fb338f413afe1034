"""Killed in the middle, four times, on real machines; and a machine that is not the one it was."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runbook.errors import StateError
from runbook.events import ActStarted, JobEnded, JobStarted, Noted, Record, RunEnded, RunResumed
from runbook.record import journal
from runbook.report.verify import verify
from tests.real.choice import Choice
from tests.real.person import Person, drive
from tests.real.platform import PRODUCTION, Platform, platform, union
from tests.real.test_full_restore import NEVER, OWN, pytestmark  # noqa: F401
from tests.real.waiting import wait_until

ROOT = Path(__file__).parents[2]
#: seconds for one stretch of the run; four times what it takes on two idle cores
LIMIT = 400.0


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, couchdb: Choice) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("real") / "p", couchdb) as found:
        yield found


def start(real: Platform, how: str) -> subprocess.Popen[bytes]:
    with (real.folder / "stderr.log").open("ab") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.real.person", str(real.folder), how],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=told,
            start_new_session=True,
        )


def run_folder(real: Platform) -> Path | None:
    found = sorted((real.state / "runs").glob("*/journal.jsonl"))
    return found[-1].parent if found else None


def records(real: Platform) -> list[Record]:
    folder = run_folder(real)
    try:
        return journal.read(folder) if folder else []
    except StateError:
        return []


def written(real: Platform) -> int:
    """Bytes of the journal so far."""
    folder = run_folder(real)
    return (folder / "journal.jsonl").stat().st_size if folder else 0


def kill_when(process: subprocess.Popen[bytes], real: Platform, seen: Callable[[list[Record]], bool]) -> None:
    """SIGKILL the program, and not what it left running, as soon as the journal shows it."""
    end, size = time.monotonic() + LIMIT, -1
    while True:
        # read again only when there is more: the program needs the processor too
        if (now := written(real)) != size:
            size = now
            if seen(records(real)):
                break
        if process.poll() is not None:
            told = (real.folder / "stderr.log").read_text()[-3000:]
            raise AssertionError(f"ended with {process.returncode} before it could be killed:\n{told}")
        if time.monotonic() > end:
            raise TimeoutError("the journal never showed it")
        time.sleep(0.005)
    os.kill(process.pid, 9)
    process.wait()


def event(which: type, step: str, **data: object) -> Callable[[list[Record]], bool]:
    def seen(found: list[Record]) -> bool:
        return any(
            isinstance(record.event, which)
            and record.event.step == step  # type: ignore[attr-defined]
            and all(record.event.data.get(name) == value for name, value in data.items())  # type: ignore[attr-defined]
            for record in found
        )

    return seen


def either(*moments: Callable[[list[Record]], bool]) -> Callable[[list[Record]], bool]:
    return lambda found: any(seen(found) for seen in moments)


def test_killed_in_opentofu_unpacking_compose_and_restore(real: Platform) -> None:
    """SIGKILL each time; `resume` each time; it ends passed, as if nothing had happened."""
    # OpenTofu's provisioners are waiting for the cloud when the program dies
    real.gate.clear()
    process = start(real, "start")
    try:
        wait_until("the cloud to be asked for machines", lambda: real.waiting > len(PRODUCTION), LIMIT)
        kill_when(process, real, event(JobStarted, "deploy"))
        real.gate.set()
        wait_until("the machines", lambda: all(real.vms[name].process for name in PRODUCTION), LIMIT)
        for moment in (
            event(ActStarted, "unpack"),
            event(JobStarted, "couchdb"),
            event(Noted, "restore", kind="restore"),
        ):
            process = start(real, "resume")
            kill_when(process, real, moment)
        process = start(real, "resume")
        assert process.wait(LIMIT) == 0, (real.folder / "stderr.log").read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
        real.gate.set()
    found = [record.event for record in records(real)]
    assert isinstance(found[-1], RunEnded) and found[-1].verdict == "passed"
    assert len([e for e in found if isinstance(e, RunResumed)]) == 4
    jobs = {e.job for e in found if isinstance(e, JobStarted)}
    assert jobs == {e.job for e in found if isinstance(e, JobEnded)}, "every job's end is on record"
    assert sorted(real.created) == sorted(["backup", *PRODUCTION]), "no machine was made twice"
    folder = run_folder(real)
    assert folder and verify(folder).ok
    for database, expected in union(real.folder / "openedx-backups" / real.backup_id).items():
        if database not in NEVER:
            there = real.couchdb.documents(database)
            own = OWN.get(database, set())
            assert {i: d for i, d in there.items() if i not in own} == {
                i: d for i, d in expected.items() if i not in own
            }, database
    canaries = real.canaries
    for path in filter(Path.is_file, real.state.rglob("*")):
        assert not [canary for canary in canaries if canary in path.read_bytes()], path


def test_a_rebuilt_machine_is_refused_until_a_person_looks(real: Platform) -> None:
    """vm2 comes back with another host key: nothing is sent to it, and nobody waits for it."""
    vm = real.vms["vm2"]
    vm.power_off()
    (vm.root / "etc/ssh/host_ed25519").unlink()
    vm.power_on()
    person = Person(real.folder)
    verdict, _ = asyncio.run(drive(real.folder, person))
    assert verdict == "stopped"
    (problem,) = person.problems
    assert problem.startswith("deploy: failed") and "Host key of vm2 CHANGED" in problem
    assert not [wait for wait in person.waits if wait.host == "vm2"], "waiting does not change a key back"
    before, _, since = (vm.root / "vm.log").read_text().rpartition("Server listening")
    assert "Accepted publickey" in before and "Accepted publickey" not in since
