"""Commands on a host: the same promises on this PC and over SSH."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runbook.errors import CouldNotLook, HostError, OutcomeUnknown, TimedOut, Unreachable
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
    host = server.host()
    yield host
    await host.close()


@pytest.fixture(params=["local", "ssh"])
async def host(
    request: pytest.FixtureRequest, server: SshServer, vm: SshHost, monkeypatch: pytest.MonkeyPatch
) -> Host:
    monkeypatch.setenv("HOME", str(server.home))
    return vm if request.param == "ssh" else LocalHost(grace=0.5)


async def test_output_status_and_input(host: Host) -> None:
    done = await host.run(["sh", "-c", "cat; echo oh >&2; exit 3"], stdin=b"a\0b\n")
    assert (done.exit_status, done.stdout, done.stderr, done.ok) == (3, b"a\0b\n", b"oh\n", False)
    assert (await host.run(["true"])).ok


async def test_arguments_reach_the_program_untouched(host: Host) -> None:
    hostile = ["$(touch x)", "`id`", "a'b\"c", "; rm -rf ~", "*", "", "two\nlines", "-n", "ü \\ !"]
    done = await host.run(["printf", "%s\\0", *hostile])
    assert done.stdout.split(b"\0")[:-1] == [item.encode() for item in hostile]


async def test_starts_at_home_and_knows_the_tilde(host: Host, server: SshServer) -> None:
    (server.home / "inner").mkdir()
    assert (await host.run(["pwd"])).stdout.decode().strip() == str(server.home)
    for folder in ("inner", "~/inner", str(server.home / "inner")):
        assert (await host.run(["pwd"], cwd=folder)).stdout.decode().strip() == str(server.home / "inner")


async def test_a_missing_folder_runs_nothing(host: Host, server: SshServer) -> None:
    with pytest.raises(HostError, match=r"no folder .*was not started"):
        await host.run(["touch", "~/was-here"], cwd="nowhere")
    assert not list(server.home.iterdir())


async def test_a_missing_program_is_127(host: Host) -> None:
    done = await host.run(["no-such-program"])
    assert done.exit_status == 127
    assert b"not found" in done.stderr


async def test_a_signal_shows_as_a_negative_number(host: Host) -> None:
    assert (await host.run(["sh", "-c", "kill -9 $$"])).exit_status == -9


async def test_variables(host: Host) -> None:
    done = await host.run(["sh", "-c", 'echo "$A/$HOME"'], env={"A": "x y'z"})
    assert done.stdout.startswith(b"x y'z//")


async def test_time_out_ends_the_whole_group_and_looks(host: Host, server: SshServer) -> None:
    pid = server.home / "pid"
    with pytest.raises(TimedOut, match="did not end within") as failure:
        await host.run(["sh", "-c", "sleep 99 & echo $! > pid; wait"], timeout=0.5)
    assert failure.value.gone is True
    assert not alive(int(pid.read_text()))


async def test_a_program_that_ignores_term_is_killed(host: Host, server: SshServer) -> None:
    with pytest.raises(TimedOut) as failure:
        await host.run(["sh", "-c", "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"], timeout=0.5)
    assert failure.value.gone is True
    assert not alive(int((server.home / "pid").read_text()))


async def test_cancel_ends_it_and_tells_the_listener(host: LocalHost | SshHost, server: SshServer) -> None:
    heard: list[tuple[bool | None, str]] = []
    host.cancel_listener = lambda gone, detail: heard.append((gone, detail))
    pid = server.home / "pid"
    task = asyncio.create_task(host.run(["sh", "-c", "echo $$ > pid.new; mv pid.new pid; exec sleep 99"]))
    await until(pid.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [gone for gone, _ in heard] == [True]
    assert not alive(int(pid.read_text()))


async def test_much_output_in_little_memory(host: Host) -> None:
    count = 0

    def sink(chunk: bytes) -> None:
        nonlocal count
        count += len(chunk)

    tracemalloc.start()
    try:
        done = await host.run(["seq", "200000"], sink=sink, limit=10_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == sum(len(str(n)) + 1 for n in range(1, 200001))
    assert done.truncated
    assert len(done.stdout) == 10_000
    assert peak < 20_000_000


async def test_both_streams_are_drained(host: Host) -> None:
    noisy = (
        "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done"
    )
    done = await host.run(["sh", "-c", f"{noisy}; echo end"])
    assert done.stdout == b"end\n"
    assert len(done.stderr) == 3000 * 41


async def test_progress_without_line_ends_comes_at_once(host: Host, server: SshServer) -> None:
    seen = bytearray()
    command = "printf '10%%\\r'; while [ ! -e go ]; do sleep 0.05; done; echo done"
    task = asyncio.create_task(host.run(["sh", "-c", command], sink=seen.extend))
    await until(lambda: seen == b"10%\r")
    (server.home / "go").touch()
    assert (await task).stdout == b"10%\rdone\n"


async def test_a_failing_sink_is_the_callers_error(host: Host) -> None:
    def sink(chunk: bytes) -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        await host.run(["echo", "x"], sink=sink)
    assert (await host.run(["true"])).ok


async def test_can_connect(host: Host, server: SshServer) -> None:
    assert await host.can_connect("127.0.0.1", server.port) is True
    assert await host.can_connect("127.0.0.1", 1) is False


async def test_forwards_reach_what_the_host_reaches(host: Host, server: SshServer) -> None:
    end = await host.forward("127.0.0.1", server.port)
    assert await host.forward("127.0.0.1", server.port) == end
    assert (await greeting(end.host, end.port)).startswith(b"SSH-2.0")


async def greeting(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()


# ── over SSH only ──────────────────────────────────────────────────────────────────────────
async def test_chatter_of_the_login_shell_is_no_output(vm: SshHost, server: SshServer) -> None:
    serve, noise = server._serve, "printf 'Welcome!\\nno line end'; "

    async def chatty(process: object) -> None:
        process._command = noise + process.command  # type: ignore[attr-defined]
        await serve(process)  # type: ignore[arg-type]

    await server.stop()
    server._serve = chatty  # type: ignore[method-assign,assignment]
    await server.start()
    assert (await vm.run(["echo", "mine"])).stdout == b"mine\n"


async def test_a_shell_that_never_starts_the_command(vm: SshHost, server: SshServer) -> None:
    async def refuse(process: object) -> None:
        process.stdout.write(b"This account is currently not available.\n")  # type: ignore[attr-defined]
        process.exit(1)  # type: ignore[attr-defined]

    await server.stop()
    server._serve = refuse  # type: ignore[method-assign,assignment]
    await server.start()
    with pytest.raises(Unreachable, match="Nothing was run"):
        await vm.run(["true"])


async def test_connection_lost_while_it_runs_is_outcome_unknown(vm: SshHost, server: SshServer) -> None:
    task = asyncio.create_task(vm.run(["sh", "-c", "touch began; sleep 99"]))
    await until((server.home / "began").exists)
    server.cut()
    with pytest.raises(OutcomeUnknown, match=r"outcome of sh .* unknown"):
        await task


async def test_the_next_use_connects_again(vm: SshHost, server: SshServer) -> None:
    end = await vm.forward("127.0.0.1", server.port)
    for _ in range(3):
        server.cut()
        assert (await vm.run(["echo", "x"])).stdout == b"x\n"
    server.cut()
    assert (await greeting(end.host, end.port)).startswith(b"SSH-2.0")


async def test_a_lost_connection_never_runs_a_command_twice(vm: SshHost, server: SshServer) -> None:
    outcomes = set()
    for n in range(30):
        task = asyncio.create_task(vm.run(["sh", "-c", f"echo x >> ran{n}"]))
        await asyncio.sleep(0.002 * n)
        server.cut()
        try:
            await task
            outcomes.add("done")
        except OutcomeUnknown:
            outcomes.add("unknown")
        except Unreachable:
            outcomes.add("unreachable")
            assert not (server.home / f"ran{n}").exists()
    for file in server.home.glob("ran*"):
        assert file.read_text() == "x\n"
    assert "done" in outcomes


async def test_at_most_six_sessions(vm: SshHost, server: SshServer) -> None:
    most = now = 0
    serve = server._serve

    async def counting(process: object) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await serve(process)  # type: ignore[arg-type]
        now -= 1

    await server.stop()
    server._serve = counting  # type: ignore[method-assign,assignment]
    await server.start()
    done = await asyncio.gather(*(vm.run(["sleep", "0.1"]) for _ in range(20)))
    assert all(one.ok for one in done)
    assert most == 6


async def test_forwarding_forbidden_means_could_not_look(vm: SshHost, server: SshServer) -> None:
    server.forwarding = False
    with pytest.raises(CouldNotLook, match="not here"):
        await vm.can_connect("127.0.0.1", server.port)


async def test_unreachable(vm: SshHost, server: SshServer) -> None:
    await server.stop()
    with pytest.raises(Unreachable, match=r"vm1 \(203.0.113.11\) cannot be reached"):
        await vm.run(["true"])


async def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda reader, writer: held.append(writer), "127.0.0.1", 0)
    server = SshServer(tmp_path / "s")
    port = silent.sockets[0].getsockname()[1]
    server.ssh_config.write_text(f"Host *\n  HostName 127.0.0.1\n  Port {port}\n")
    host = server.host(connect_timeout=0.3)
    with pytest.raises(Unreachable, match="no answer"):
        await host.run(["true"])
    for writer in held:
        writer.close()
    silent.close()


async def test_a_jump_host_is_checked_against_the_same_file(tmp_path: Path, server: SshServer) -> None:
    target = SshServer(tmp_path / "target")
    await target.start()
    server.ssh_config.write_text(
        f"Host 203.0.113.11\n  HostName 127.0.0.1\n  Port {target.port}\n  ProxyJump me@jump\n"
        f"Host jump\n  HostName 127.0.0.1\n  Port {server.port}\n"
    )
    target.authorized.write_bytes(server.authorized.read_bytes())
    asked = []

    async def accept(host: str, fingerprint: str) -> bool:
        asked.append(host)
        return True

    server.known_hosts.forget("203.0.113.11")
    host = server.host(accept)
    try:
        assert (await host.run(["pwd"])).stdout.decode().strip() == str(target.home)
    finally:
        await host.close()
        await target.stop()
    assert asked == ["vm1 (jump host jump)", "vm1"]
    assert server.logins == ["me"]
    names = [line.split()[0] for line in server.known_hosts.path.read_text().splitlines()]
    assert names == ["jump", "203.0.113.11"]


def test_shell_argv_checks_the_same_file(vm: SshHost, server: SshServer) -> None:
    argv = vm.shell_argv()
    assert argv[0] == "ssh"
    assert f'UserKnownHostsFile="{server.known_hosts.path}"' in argv
    assert "HostKeyAlias=203.0.113.11" in argv
    assert LocalHost().shell_argv() == [os.environ.get("SHELL") or "/bin/sh"]
