"""Jobs: at most once, never lost, ended for certain. The same on this PC and over SSH."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runbook.errors import HostError, OutcomeUnknown
from runbook.hosts import jobs, jobscripts
from runbook.hosts.base import Host
from runbook.hosts.local import LocalHost
from runbook.hosts.ssh import SshHost
from tests.unit.sshserver import SshServer, alive, until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    server = SshServer(tmp_path / "server")
    await server.start()
    server.trust()
    yield server
    await server.stop()


@pytest.fixture
async def vm(server: SshServer) -> AsyncIterator[SshHost]:
    host = server.host(jobs_dir="state/jobs")
    yield host
    await host.close()


@pytest.fixture
def home(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(server.home))
    return server.home


@pytest.fixture(params=["local", "ssh", "bash", "busybox"])
def host(
    request: pytest.FixtureRequest,
    home: Path,
    vm: SshHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Host:
    if request.param in ("bash", "busybox"):  # other shells than this system's sh
        program = shutil.which(request.param)
        if program is None:
            pytest.skip(f"no {request.param}")
        names = ["sh"]
        if request.param == "busybox":
            listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
            names = listed.stdout.split()
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(program)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return vm if request.param == "ssh" else LocalHost(jobs_dir=home / "state/jobs", grace=0.5)


def count(home: Path) -> int:
    return len((home / "ran").read_text().splitlines()) if (home / "ran").exists() else 0


async def test_from_start_to_end(host: Host, home: Path) -> None:
    seen = bytearray()
    command = ["sh", "-c", 'cat; pwd; echo "$A"; echo oh >&2; exit 7']
    (home / "in side").mkdir()
    assert (
        await jobs.start(host, "one", command, cwd="in side", env={"A": "x y"}, stdin=b"typed\n") == "started"
    )
    status = await jobs.follow(host, "one", seen.extend)
    assert (status.kind, status.exit_status, status.size) == ("done", 7, len(seen))
    assert seen.decode() == f"typed\n{home}/in side\nx y\noh\n"
    assert await jobs.start(host, "one", ["false"]) == "done"
    assert await jobs.status(host, "one") == status
    await jobs.remove(host, "one")
    assert (await jobs.status(host, "one")).kind == "absent"
    assert not list((home / "state/jobs").iterdir())


async def test_started_twice_runs_once(host: Host, home: Path) -> None:
    command = ["sh", "-c", "echo x >> ran; while [ ! -e go ]; do sleep 0.05; done"]
    answers = await asyncio.gather(*(jobs.start(host, "one", command) for _ in range(6)))
    assert sorted(answers) == ["running"] * 5 + ["started"]
    assert await jobs.start(host, "one", command) == "running"
    (home / "go").touch()
    assert (await jobs.follow(host, "one", lambda chunk: None)).kind == "done"
    assert count(home) == 1


async def test_private_and_without_leftovers(host: Host, home: Path) -> None:
    await jobs.start(host, "one", ["sh", "-c", "cat > kept; umask > mask"], stdin=b"hush")
    await jobs.follow(host, "one", lambda chunk: None)
    folder = home / "state/jobs/one"
    assert folder.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in folder.iterdir()) == ["out", "pid", "rc"]
    assert not any(b"hush" in path.read_bytes() for path in folder.iterdir())
    assert (home / "kept").read_bytes() == b"hush"
    assert (home / "mask").read_text().strip().endswith("22")  # the command has the user's own umask


async def test_any_id_is_one_folder(host: Host, home: Path) -> None:
    for job in ("../../x", "a/b", "..", "-rf", "$(id)", "drill-2026Q4-tofu-3f", "ü"):
        await jobs.start(host, job, ["true"])
        assert (await jobs.follow(host, job, lambda chunk: None)).exit_status == 0
        await jobs.remove(host, job)
    assert sorted(path.name for path in home.iterdir()) == ["state"]


async def test_nothing_runs_without_its_folder_or_its_whole_input(host: Host, home: Path) -> None:
    with pytest.raises(HostError, match="Nothing was run"):
        await jobs.start(host, "one", ["touch", "ran"], cwd="nowhere")
    assert (await jobs.status(host, "one")).kind == "absent"
    folder = str(home / "state/jobs/one")
    cut = ["sh", "-c", jobscripts.START, "job", folder, ".", "100", jobscripts.RUNNER, "touch", "ran"]
    assert not (await host.run(cut, stdin=b"half")).ok
    assert (await jobs.status(host, "one")).kind == "absent"
    assert count(home) == 0


async def test_follow_from_any_place(host: Host, home: Path) -> None:
    await jobs.start(host, "one", ["printf", "0123456789\\0\\377"])
    for offset in (0, 4, 12):
        seen = bytearray()
        await jobs.follow(host, "one", seen.extend, offset=offset)
        assert bytes(seen) == b"0123456789\0\xff"[offset:]


async def test_output_comes_while_it_runs(host: Host, home: Path) -> None:
    seen = bytearray()
    await jobs.start(host, "one", ["sh", "-c", "printf '5%%\\r'; while [ ! -e go ]; do sleep 0.05; done"])
    task = asyncio.create_task(jobs.follow(host, "one", seen.extend))
    await until(lambda: bytes(seen) == b"5%\r")
    (home / "go").touch()
    assert (await task).kind == "done"


async def test_follow_has_a_limit_and_the_job_goes_on(host: Host, home: Path) -> None:
    await jobs.start(host, "one", ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"])
    with pytest.raises(TimeoutError, match="it goes on"):
        await jobs.follow(host, "one", lambda chunk: None, timeout=0.5)
    assert (await jobs.status(host, "one")).kind == "running"
    (home / "go").touch()
    assert (await jobs.follow(host, "one", lambda chunk: None)).exit_status == 0


async def test_cancel_lets_it_finish_its_way(host: Host, home: Path) -> None:
    command = "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.05; done"
    await jobs.start(host, "one", ["sh", "-c", command])
    seen = bytearray()
    task = asyncio.create_task(jobs.follow(host, "one", seen.extend))
    await until(lambda: b"up" in seen)
    assert await jobs.cancel(host, "one") is True
    status = await task
    assert (status.kind, status.exit_status) == ("done", 4)
    assert seen.endswith(b"bye\n")


async def test_cancel_kills_what_does_not_listen(host: Host, home: Path) -> None:
    command = "trap '' TERM; sleep 99 & echo $! > pid.new; mv pid.new pid; while :; do sleep 0.05; done"
    await jobs.start(host, "one", ["sh", "-c", command])
    await until((home / "pid").exists)
    assert await jobs.cancel(host, "one", grace=0.3) is True
    assert not alive(int((home / "pid").read_text()))
    assert (await jobs.status(host, "one")).exit_status == 137
    assert await jobs.cancel(host, "one") is True
    assert await jobs.cancel(host, "never was") is True


async def test_a_killed_job_is_lost_and_not_run_again(host: Host, home: Path) -> None:
    await jobs.start(host, "one", ["sh", "-c", "echo x >> ran; echo begun; sleep 99"])
    await until(lambda: count(home))
    leader = int((home / "state/jobs/one/pid").read_text().split()[0])
    os.killpg(leader, signal.SIGKILL)
    await until(lambda: not alive(leader))
    seen = bytearray()
    assert (await jobs.follow(host, "one", seen.extend)).kind == "lost"
    assert seen == b"begun\n"
    with pytest.raises(OutcomeUnknown, match="without an exit status"):
        await jobs.start(host, "one", ["sh", "-c", "echo x >> ran"])
    assert count(home) == 1
    await jobs.remove(host, "one")
    assert await jobs.start(host, "one", ["true"]) == "started"


async def test_what_goes_on_without_its_runner_is_running(host: Host, home: Path) -> None:
    await jobs.start(host, "one", ["sh", "-c", "echo $$ > pid.new; mv pid.new pid; exec sleep 99"])
    await until((home / "pid").exists)
    os.kill(int((home / "state/jobs/one/pid").read_text().split()[0]), signal.SIGKILL)
    assert (await jobs.status(host, "one")).kind == "running"
    with pytest.raises(HostError, match="still runs"):
        await jobs.remove(host, "one")
    assert await jobs.cancel(host, "one") is True
    assert not alive(int((home / "pid").read_text()))


async def test_a_reused_process_number_is_not_our_job(host: Host, home: Path) -> None:
    await jobs.start(host, "one", ["true"])
    await jobs.follow(host, "one", lambda chunk: None)
    folder = home / "state/jobs/one"
    (folder / "rc").unlink()
    bystander = await asyncio.create_subprocess_exec("sleep", "99", start_new_session=True)
    try:
        _, start, boot = (folder / "pid").read_text().split()
        start = str(int(start) - 1000)  # clock ticks: not by chance the bystander's own
        for pid_file in (f"{bystander.pid} {start} {boot}\n", f"{bystander.pid} 1 another-boot\n"):
            (folder / "pid").write_text(pid_file)
            assert (await jobs.status(host, "one")).kind == "lost"
            assert await jobs.cancel(host, "one", grace=0.2) is True
            assert alive(bystander.pid)
    finally:
        bystander.kill()
        await bystander.wait()


async def test_killed_while_starting_at_any_moment(home: Path) -> None:
    """kill -9 of whoever starts it: asking again starts it once, or finds it."""
    host = LocalHost(jobs_dir=home / "state/jobs")
    chance = random.Random(4)
    for n in range(25):
        job, ran = f"job{n}", home / f"ran{n}"
        command = ["sh", "-c", f"cat >/dev/null; echo x >> ran{n}"]
        argv = ["sh", "-c", jobscripts.START, "job", str(home / "state/jobs" / job), ".", "5"]
        starter = await asyncio.create_subprocess_exec(
            *argv,
            jobscripts.RUNNER,
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        assert starter.stdin is not None
        starter.stdin.write(b"input")
        starter.stdin.close()
        await asyncio.sleep(chance.random() * 0.03)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(starter.pid, signal.SIGKILL)
        await starter.wait()
        answer = await jobs.start(host, job, command, stdin=b"input")
        assert answer in ("started", "running", "done")
        assert (await jobs.follow(host, job, lambda chunk: None)).exit_status == 0
        assert ran.read_text() == "x\n"


async def test_no_byte_lost_or_doubled_over_lost_connections(
    vm: SshHost, server: SshServer, home: Path
) -> None:
    command = (
        "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; [ $((i % 20)) -ne 0 ] || sleep 0.1; done"
    )
    seen, heard = bytearray(), []
    await jobs.start(vm, "one", ["sh", "-c", f"{command}; exit 5"])
    task = asyncio.create_task(jobs.follow(vm, "one", seen.extend, trouble=heard.append))
    for lines in (20, 60, 100, 180, 240):
        await until(lambda lines=lines: seen.count(b"\n") >= lines)  # type: ignore[misc]
        server.cut()
    status = await task
    assert status.exit_status == 5
    assert seen.decode() == "".join(f"line {n}\n" for n in range(1, 301))
    assert heard


async def test_a_host_that_stays_away_is_outcome_unknown(vm: SshHost, server: SshServer, home: Path) -> None:
    await jobs.start(vm, "one", ["sh", "-c", "echo $$ > pid; sleep 1"])
    await server.stop()
    with pytest.raises(OutcomeUnknown, match="job one unknown"):
        await jobs.follow(vm, "one", lambda chunk: None, patience=1.0)
    assert await jobs.cancel(vm, "one") is None
    await server.start()
    assert (await jobs.follow(vm, "one", lambda chunk: None)).exit_status == 0
