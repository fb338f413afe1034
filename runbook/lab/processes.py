"""Commands of an SSH session as real processes: their streams, signals, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import asyncssh

CHUNK = 128 * 1024
#: between asking a group to go and making it go, in seconds
GRACE = 0.3
#: the mark in a process's environment by which the lab knows its own: ``lab-id/vm-name``
MARK = "RUNBOOK_LAB"


async def on_pipes(
    process: asyncssh.SSHServerProcess[bytes], argv: list[str], cwd: Path, environment: dict[str, str]
) -> None:
    """Run without a terminal, as ``ssh host command`` does."""
    child = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=environment,
        start_new_session=True,
        umask=0o022,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        limit=CHUNK,
    )
    assert child.stdin and child.stdout and child.stderr
    feed = asyncio.create_task(_feed(process, child.stdin, child.pid))
    out = asyncio.create_task(_drain(child.stdout, process.stdout))
    err = asyncio.create_task(_drain(child.stderr, process.stderr))

    async def ended() -> None:
        await child.wait()
        await asyncio.gather(out, err, return_exceptions=True)

    await _until_end(process, child.pid, ended(), (feed, out, err))
    _report(process, child.returncode)


async def on_terminal(
    process: asyncssh.SSHServerProcess[bytes], argv: list[str], cwd: Path, environment: dict[str, str]
) -> None:
    """Run on a pseudo-terminal, as ``ssh -t`` and interactive shells do."""
    master, slave = pty.openpty()
    _resize(master, process.term_size)
    # A session's leader gets the first terminal it opens as its controlling one: so the shell
    # opens it by name, and no code runs between fork and exec.
    opener = 'tty=$1; shift; exec "$@" <"$tty" >"$tty" 2>&1'
    try:
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", opener, "sh", os.ttyname(slave), *argv,
            cwd=cwd, env=environment, start_new_session=True, umask=0o022,
            stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
        )  # fmt: skip
    finally:
        os.close(slave)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def readable() -> None:
        try:
            data = os.read(master, CHUNK)
        except OSError:  # EIO: the last process has closed the terminal
            data = b""
        if data:
            with contextlib.suppress(OSError, asyncssh.Error):
                process.stdout.write(data)
        else:
            loop.remove_reader(master)
            over.set()

    loop.add_reader(master, readable)
    feed = asyncio.create_task(_type(process, master, child.pid))

    async def ended() -> None:
        await child.wait()
        with contextlib.suppress(TimeoutError):  # a detached child may hold the terminal open
            await asyncio.wait_for(over.wait(), GRACE)

    try:
        await _until_end(process, child.pid, ended(), (feed,))
    finally:
        loop.remove_reader(master)
        os.close(master)
    _report(process, child.returncode)


async def _until_end(
    process: asyncssh.SSHServerProcess[bytes],
    pid: int,
    ended: object,
    tasks: tuple[asyncio.Task[None], ...],
) -> None:
    """Wait for the command or for the connection, whichever ends first; when the connection does,
    its process group goes (what has left the group with setsid stays)."""
    finished = asyncio.ensure_future(ended)  # type: ignore[call-overload]
    gone = asyncio.ensure_future(process.channel.wait_closed())
    try:
        await asyncio.wait({finished, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            await end_group(pid)
    finally:
        for task in (*tasks, finished, gone):
            task.cancel()
        await asyncio.gather(*tasks, finished, gone, return_exceptions=True)


async def end_group(pgid: int) -> None:
    """SIGHUP, a moment, SIGKILL."""
    for number in (signal.SIGHUP, signal.SIGKILL):
        if not _signal_group(pgid, number):
            return
        if number == signal.SIGHUP:
            await asyncio.sleep(GRACE)


def _signal_group(pgid: int, number: int) -> bool:
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


async def _feed(process: asyncssh.SSHServerProcess[bytes], stdin: asyncio.StreamWriter, pid: int) -> None:
    """Client to command. Signals and breaks arrive as exceptions of the read."""
    while True:
        try:
            data = await process.stdin.read(CHUNK)
        except asyncssh.SignalReceived as received:
            _signal_group(pid, getattr(signal, f"SIG{received.signal}", signal.SIGTERM))
            continue
        except asyncssh.BreakReceived:
            _signal_group(pid, signal.SIGINT)
            continue
        except asyncssh.TerminalSizeChanged:
            continue
        except (asyncssh.Error, OSError):
            return
        if not data:
            stdin.close()
            return
        try:
            stdin.write(data)
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # the command reads no further; keep listening for signals


async def _type(process: asyncssh.SSHServerProcess[bytes], master: int, pid: int) -> None:
    while True:
        try:
            data = await process.stdin.read(CHUNK)
        except asyncssh.TerminalSizeChanged as size:
            _resize(master, (size.width, size.height, size.pixwidth, size.pixheight))
            continue
        except asyncssh.SignalReceived as received:
            _signal_group(pid, getattr(signal, f"SIG{received.signal}", signal.SIGTERM))
            continue
        except asyncssh.BreakReceived:
            data = b"\x03"
        except (asyncssh.Error, OSError):
            return
        data = data or b"\x04"
        await asyncio.to_thread(os.write, master, data)
        if data == b"\x04" and process.stdin.at_eof():
            return


async def _drain(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    while data := await source.read(CHUNK):
        target.write(data)
        await target.drain()


def _resize(descriptor: int, size: tuple[int, int, int, int]) -> None:
    columns, rows, width, height = size
    packed = struct.pack("HHHH", rows or 24, columns or 80, width, height)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, packed)


def _report(process: asyncssh.SSHServerProcess[bytes], status: int | None) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        if status is not None and status < 0:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(255 if status is None else status)


def marked(whose: str) -> list[int]:
    """Processes that are still there, detached ones included, of ``lab-id/vm-name`` or, with
    ``lab-id/``, of all its VMs."""
    wanted = f"{MARK}={whose}"
    found: list[int] = []
    if sys.platform == "linux":
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if _is_of(wanted, os.fsdecode((entry / "environ").read_bytes()).split("\0")):
                        found.append(int(entry.name))
    else:
        command = ["ps", "-axEww", "-o", "pid=,command="]
        listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        for line in listing.splitlines():
            pid, *words = line.split()
            if _is_of(wanted, words):
                found.append(int(pid))
    return [pid for pid in found if pid != os.getpid()]


def _is_of(wanted: str, words: list[str]) -> bool:
    return any(word == wanted or (wanted.endswith("/") and word.startswith(wanted)) for word in words)


def end_marked(whose: str) -> int:
    """Kill them, until there are none (a shell may start one more); returns how many there were."""
    total = 0
    for _ in range(5):
        pids = marked(whose)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
        total += len(pids)
    return total
