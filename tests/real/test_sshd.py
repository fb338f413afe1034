"""Against OpenSSH's own sshd on loopback."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncssh
import pytest

from runbook.errors import (
    CouldNotLook,
    HostError,
    HostKeyChanged,
    HostKeyUnknown,
    LoginRefused,
    OutcomeUnknown,
    TimedOut,
    Unreachable,
)
from runbook.hosts import jobs, localfiles, transfer
from runbook.hosts.keys import fingerprint
from runbook.hosts.local import LocalHost
from runbook.hosts.ssh import SshHost
from tests.real.sshd import ADDRESS, Sshd
from tests.unit.sshserver import alive, until

pytestmark = pytest.mark.real("sshd")


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    sshd = Sshd(tmp_path / "sshd")
    sshd.start()
    yield sshd
    sshd.stop()


@pytest.fixture
async def vm(sshd: Sshd) -> AsyncIterator[SshHost]:
    sshd.trust()
    host = sshd.host()
    yield host
    await host.close()


def processes(group: int) -> list[str]:
    """What ps knows of a process group, zombies left out."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [row[2] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


# ── who it is ──────────────────────────────────────────────────────────────────────────────
async def test_an_unknown_key_is_asked_about_and_kept(sshd: Sshd) -> None:
    asked = []

    async def accept(host: str, fingerprint: str) -> bool:
        asked.append((host, fingerprint))
        return True

    with pytest.raises(HostKeyUnknown):
        await sshd.host().run(["true"])
    for _ in range(2):
        host = sshd.host(accept)
        assert (await host.run(["true"])).ok
        await host.close()
    assert asked == [("vm1", fingerprint(sshd.host_key))]
    assert sshd.known_hosts.path.read_text().startswith(f"{ADDRESS} ssh-ed25519 ")


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_a_changed_key_stops(sshd: Sshd, kind: str) -> None:
    sshd.trust()
    old = fingerprint(sshd.host_key)
    sshd.stop()
    sshd.new_host_key(kind)
    sshd.start()
    with pytest.raises(HostKeyChanged) as failure:
        await sshd.host().run(["true"])
    assert (failure.value.known, failure.value.offered) == (old, fingerprint(sshd.host_key))
    assert "Accepted" not in (sshd.folder / "log").read_text()
    assert sshd.known_hosts.forget(ADDRESS) == 1
    with pytest.raises(HostKeyUnknown):
        await sshd.host().run(["true"])


async def test_a_wrong_key_is_refused(sshd: Sshd, vm: SshHost) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(sshd.key)
    with pytest.raises(LoginRefused, match="refused the login"):
        await vm.run(["true"])


async def test_unreachable(sshd: Sshd, vm: SshHost) -> None:
    sshd.stop()
    with pytest.raises(Unreachable, match="Nothing was run there"):
        await vm.run(["true"])


async def test_openssh_itself_follows_shell_argv(sshd: Sshd, vm: SshHost) -> None:
    argv = [item for item in vm.shell_argv() if item != "-t"]
    assert (await vm.run(["true"])).ok
    ssh = await asyncio.create_subprocess_exec(
        *argv, "echo $HOME", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(ssh.communicate(), 30)
    assert out.decode().strip() == str(sshd.home)


# ── commands ───────────────────────────────────────────────────────────────────────────────
async def test_commands(vm: SshHost) -> None:
    done = await vm.run(["sh", "-c", 'cat; printf "%s" "$A" >&2; exit 3'], stdin=b"in\0", env={"A": "x 'y"})
    assert (done.exit_status, done.stdout, done.stderr) == (3, b"in\0", b"x 'y")
    assert (await vm.run(["sh", "-c", "kill -TERM $$"])).exit_status == -15
    assert (await vm.run(["no-such-program"])).exit_status == 127
    with pytest.raises(HostError, match="no folder"):
        await vm.run(["true"], cwd="nowhere")


async def test_time_out_ends_the_group(sshd: Sshd, vm: SshHost) -> None:
    assert (await vm.run(["true"])).ok  # what takes long on a busy machine is not the command's time
    with pytest.raises(TimedOut) as failure:
        await vm.run(["sh", "-c", "echo $$ > group; sleep 98 & sleep 99"], timeout=2)
    assert failure.value.gone is True
    assert processes(int((sshd.home / "group").read_text())) == []


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM HUP INT; "])
async def test_cancel_ends_the_group(sshd: Sshd, vm: SshHost, stubborn: str) -> None:
    heard: list[bool | None] = []
    vm.cancel_listener = lambda gone, detail: heard.append(gone)
    command = f"{stubborn}sleep 98 & echo $$ > new; mv new group; while :; do sleep 0.1; done"
    task = asyncio.create_task(vm.run(["sh", "-c", command]))
    await until((sshd.home / "group").exists)
    group = int((sshd.home / "group").read_text())
    assert len(processes(group)) >= 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == [True]
    assert processes(group) == []
    assert (await vm.run(["true"])).ok


async def test_what_cannot_be_looked_at_is_not_called_gone(sshd: Sshd, vm: SshHost) -> None:
    heard: list[bool | None] = []
    vm.cancel_listener = lambda gone, detail: heard.append(gone)
    command = "echo $$ > new; mv new group; exec sleep 99"
    task = asyncio.create_task(vm.run(["sh", "-c", command]))
    await until((sshd.home / "group").exists)
    group = int((sshd.home / "group").read_text())
    sshd.stop()
    task.cancel()
    with pytest.raises((asyncio.CancelledError, OutcomeUnknown)):
        await task
    assert heard in ([None], [])
    os.killpg(group, 9)


async def test_lost_while_it_runs(sshd: Sshd, vm: SshHost) -> None:
    task = asyncio.create_task(vm.run(["sh", "-c", "echo $$ > new; mv new group; sleep 99"]))
    await until((sshd.home / "group").exists)
    sshd.cut()
    with pytest.raises(OutcomeUnknown):
        await task
    group = int((sshd.home / "group").read_text())
    assert processes(group)  # it does go on: that is why nobody may say how it ended
    os.killpg(group, 9)
    assert (await vm.run(["echo", "again"])).stdout == b"again\n"


async def test_many_lines_in_little_memory(vm: SshHost) -> None:
    count, seen = 0, hashlib.sha256()

    def sink(chunk: bytes) -> None:
        nonlocal count
        count += len(chunk)
        seen.update(chunk)

    text = b"".join(b"%d and some more text\n" % n for n in range(1, 200_001))
    tracemalloc.start()
    try:
        script = "seq 200000 | sed 's/$/ and some more text/'"
        done = await vm.run(["sh", "-c", script], sink=sink, limit=100_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == len(text)
    assert seen.digest() == hashlib.sha256(text).digest()
    assert done.stdout == text[:100_000]
    assert peak < 20_000_000


async def test_more_at_once_than_a_connection_allows(vm: SshHost) -> None:
    done = await asyncio.gather(*(vm.run(["sh", "-c", f"sleep 0.1; echo {n}"]) for n in range(25)))
    assert [int(one.stdout) for one in done] == list(range(25))


async def test_a_server_without_a_free_session_is_asked_again(tmp_path: Path) -> None:
    """It counts those that are just ending too. Refused for good, it is said; nothing was run."""
    sshd = Sshd(tmp_path / "strict", extra=["MaxSessions 2"])
    sshd.start()
    sshd.trust()
    host = sshd.host()
    try:
        async with host.command(["sleep", "60"]) as one, host.command(["sleep", "60"]):
            waiting = asyncio.create_task(host.run(["echo", "late"]))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            one.close()
            assert (await waiting).stdout == b"late\n"
            async with host.command(["true"]):
                with pytest.raises(Unreachable, match="Nothing was run there"):
                    await host.run(["touch", "made"])
        assert not (sshd.home / "made").exists()
    finally:
        await host.close()
        sshd.stop()


# ── connections ────────────────────────────────────────────────────────────────────────────
async def test_connections_through_it(sshd: Sshd, vm: SshHost) -> None:
    assert await vm.can_connect("127.0.0.1", sshd.port) is True
    assert await vm.can_connect("127.0.0.1", 1) is False
    end = await vm.forward("127.0.0.1", sshd.port)
    for _ in range(2):  # also after the connection was lost
        reader, writer = await asyncio.open_connection(end.host, end.port)
        assert (await reader.readline()).startswith(b"SSH-2.0-OpenSSH")
        writer.close()
        sshd.cut()


async def test_forwarding_forbidden(tmp_path: Path) -> None:
    sshd = Sshd(tmp_path / "strict", extra=["AllowTcpForwarding no"])
    sshd.start()
    sshd.trust()
    host = sshd.host()
    try:
        with pytest.raises(CouldNotLook):
            await host.can_connect("127.0.0.1", sshd.port)
    finally:
        await host.close()
        sshd.stop()


# ── jobs ───────────────────────────────────────────────────────────────────────────────────
async def test_a_job_outlives_its_connection(sshd: Sshd, vm: SshHost) -> None:
    command = (
        "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; [ $((i % 20)) -ne 0 ] || sleep 0.1; done"
    )
    seen = bytearray()
    assert await jobs.start(vm, "one", ["sh", "-c", f"{command}; exit 5"]) == "started"
    task = asyncio.create_task(jobs.follow(vm, "one", seen.extend))
    for lines in (20, 120, 260):
        await until(lambda lines=lines: seen.count(b"\n") >= lines)  # type: ignore[misc]
        sshd.cut()
    status = await task
    assert (status.kind, status.exit_status) == ("done", 5)
    assert seen.decode() == "".join(f"line {n}\n" for n in range(1, 401))


async def test_a_job_is_found_by_another_program(sshd: Sshd, vm: SshHost) -> None:
    await jobs.start(vm, "one", ["sh", "-c", "while [ ! -e go ]; do sleep 0.1; done; echo x >> ran"])
    await vm.close()
    other = sshd.host()
    try:
        assert await jobs.start(other, "one", ["sh", "-c", "echo x >> ran"]) == "running"
        (sshd.home / "go").touch()
        assert (await jobs.follow(other, "one", lambda chunk: None)).exit_status == 0
    finally:
        await other.close()
    assert (sshd.home / "ran").read_text() == "x\n"


async def test_a_job_is_cancelled_for_certain(sshd: Sshd, vm: SshHost) -> None:
    await jobs.start(vm, "one", ["sh", "-c", "trap '' TERM; sleep 98 & while :; do sleep 0.1; done"])
    group = int((sshd.home / vm.jobs_dir / "one/pid").read_text().split()[0])
    assert await jobs.cancel(vm, "one", grace=0.3) is True
    assert processes(group) == []
    assert not alive(group)


# ── files ──────────────────────────────────────────────────────────────────────────────────
async def test_a_big_file_is_resumed(
    sshd: Sshd, vm: SshHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PAUSE", 0.05)
    big = tmp_path / "big"
    big.write_bytes(os.urandom(30_000_000))
    cuts: list[int] = []

    def cut(done: int, total: int) -> None:
        if done > 10_000_000 * (len(cuts) + 1) and len(cuts) < 2:
            cuts.append(done)
            sshd.cut()

    await vm.put_file(big, "up", tick=cut)
    assert len(cuts) == 2
    assert (sshd.home / "up").read_bytes() == big.read_bytes()
    cuts.clear()
    await vm.get_file("up", tmp_path / "down", tick=cut)
    assert len(cuts) == 2
    assert (tmp_path / "down").read_bytes() == big.read_bytes()


async def test_many_small_files(sshd: Sshd, vm: SshHost, tmp_path: Path) -> None:
    for n in range(2000):
        path = tmp_path / "tree" / str(n % 20) / f"file {n}\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(n))
    await vm.put_tree(tmp_path / "tree", "tree")
    await vm.get_tree("tree", tmp_path / "back")
    assert localfiles.manifest(tmp_path / "back") == localfiles.manifest(tmp_path / "tree")


async def test_an_unsafe_folder_is_refused(sshd: Sshd, vm: SshHost, tmp_path: Path) -> None:
    (sshd.home / "bad").mkdir()
    os.mkfifo(sshd.home / "bad" / "pipe")
    with pytest.raises(HostError, match=r"refused: pipe is a device"):
        await vm.get_tree("bad", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.real("root")
async def test_a_full_disk_is_said_and_resumed(sshd: Sshd, vm: SshHost, tmp_path: Path) -> None:
    small = sshd.home / "small"
    small.mkdir()
    here = LocalHost()
    if not (await here.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)])).ok:
        pytest.skip("may not mount a tmpfs here")  # as root in a container
    try:
        (small / "ballast").write_bytes(b"x" * 3_000_000)
        (small / "target").write_text("old")
        big = tmp_path / "big"
        big.write_bytes(os.urandom(5_000_000))
        with pytest.raises(HostError, match=r"No space left on device.*unchanged") as failure:
            await vm.put_file(big, "small/target")
        assert "goes on where it stopped" in failure.value.next
        assert (small / "target").read_text() == "old"
        kept = (small / "target.part").stat().st_size
        assert kept > 1_000_000
        with pytest.raises(HostError, match="No space left"):
            await vm.write_bytes("small/settings", b"x" * 2_000_000)
        assert not (small / "settings").exists()
        (small / "ballast").unlink()
        first: list[int] = []
        await vm.put_file(big, "small/target", tick=lambda done, total: first.append(done))
        assert first[0] > kept
        assert (small / "target").read_bytes() == big.read_bytes()
        with pytest.raises(HostError, match="No space left"):
            shutil.copytree(sshd.folder, tmp_path / "tree", ignore=lambda *_: ["home"])
            (tmp_path / "tree" / "big").write_bytes(big.read_bytes())
            await vm.put_tree(tmp_path / "tree", "small/tree")
        assert not (small / "tree").exists()
    finally:
        assert (await here.run(["umount", str(small)])).ok
