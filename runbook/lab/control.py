"""The lab from outside: start it, ask it, end it. JSON lines over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

import runbook
from runbook.errors import StateError
from runbook.lab.layout import Layout

#: seconds a lab may take to start, and to end, on a slow machine
START_LIMIT = 60.0
END_LIMIT = 15.0


class LabError(StateError):
    """The practice lab cannot do that, or is not there."""


class LabInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What ``lab.json`` says of a running lab."""

    id: str
    pid: int
    socket: str
    created: str  #: UTC, ISO 8601
    ports: dict[str, int]  #: SSH port on loopback by machine name
    dns_port: int
    tofu: str  #: the OpenTofu or Terraform program; a stand-in says so in ``version``
    #: what the lab does not do for real, in words for a report
    simulated: tuple[str, ...] = ()


def site_file(state: Path) -> Path:
    """The practice site's ``runbook.toml``."""
    return Layout.of(state).site_file


async def up(state: Path, *, fresh: bool = False, tofu: str = "") -> LabInfo:
    """The running lab of this state folder, started when there is none. ``fresh`` ends one that
    runs; ``tofu="stand-in"`` leaves a real tofu or terraform alone. A lab whose daemon died
    (power cut, kill) is cleared away and made anew, under another id. Raises LabError."""
    layout = Layout.of(state)
    if fresh:
        await down(state)
    running = await status(state)
    if running is not None:
        return running
    layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        await asyncio.wait_for(_spawn(layout, tofu), START_LIMIT)
        while (running := await status(state)) is None:
            # another caller's daemon was quicker; wait for that one
            if not await asyncio.to_thread(_holder, layout):
                text = f"The practice lab did not start:\n{_tail(layout.log)}"
                raise LabError(text, next="Nothing is running.")
            await asyncio.sleep(0.03)
    except TimeoutError:
        text = f"The practice lab was not ready after {START_LIMIT:.0f} s:\n{_tail(layout.log)}"
        await down(state)
        raise LabError(text, next="It was ended again.") from None
    return running


async def down(state: Path) -> bool:
    """End the daemon and all it started, and remove the lab's folder. False: there was none."""
    layout = Layout.of(state)
    if not layout.root.exists():
        return False
    info = _read(layout)
    pid = await asyncio.to_thread(_holder, layout)
    if pid:
        with contextlib.suppress(OSError, LabError):
            await asyncio.wait_for(call(state, "down"), END_LIMIT)
        await _gone(layout, pid)
    if info is not None:
        from runbook.lab import processes

        await asyncio.to_thread(processes.end_marked, f"{info.id}/")
    await asyncio.to_thread(_remove, layout)
    return True


async def status(state: Path) -> LabInfo | None:
    """The lab that runs and answers, or None."""
    layout = Layout.of(state)
    info = _read(layout)
    if info is None:
        return None
    try:
        answer = await asyncio.wait_for(call(state, "ping"), 5.0)
    except (OSError, LabError, TimeoutError):
        return None
    return info if answer == info.id else None


async def call(state: Path, verb: str, **args: Any) -> Any:
    """Ask the daemon. Raises LabError with its message when it refuses, or when none runs."""
    path = str(Layout.of(state).socket)
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=64 * 1024 * 1024)
    except OSError:
        raise LabError("The practice lab is not running.", next="Start it with: runbook lab up") from None
    try:
        writer.write(msgspec.json.encode({"verb": verb, **args}) + b"\n")
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if not line:
        raise LabError(f"The practice lab ended while it was asked to {verb}.")
    answer = msgspec.json.decode(line)
    if "error" in answer:
        raise LabError(str(answer["error"]))
    return answer.get("ok")


def _read(layout: Layout) -> LabInfo | None:
    try:
        return msgspec.json.decode(layout.info.read_bytes(), type=LabInfo)
    except (OSError, msgspec.MsgspecError):
        return None


async def _spawn(layout: Layout, tofu: str) -> None:
    """Start the daemon and wait for the line it prints when ready, or for its end. A shell starts
    it and goes at once: so it is nobody's child here, and outlives the caller."""
    package_parent = str(Path(runbook.__file__).resolve().parent.parent)
    paths = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    if tofu:
        environment["RUNBOOK_LAB_TOFU"] = tofu
    command = [sys.executable, "-m", "runbook.lab.daemon", str(layout.root)]
    with layout.log.open("ab") as log:
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            '"$@" &',
            "sh",
            *command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert shell.stdout is not None
    await shell.wait()
    await shell.stdout.readline()


def _holder(layout: Layout) -> int:
    """The pid of the daemon that holds the lock; 0 when nobody does (a pid left in the file
    proves nothing: only the lock does)."""
    try:
        with layout.lock.open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = lock.read().strip()
                return int(text) if text.isdigit() else 0
    except OSError:
        pass
    return 0


async def _gone(layout: Layout, pid: int) -> None:
    limit = time.monotonic() + END_LIMIT
    for number in (signal.SIGTERM, signal.SIGKILL):
        while time.monotonic() < limit:
            if await asyncio.to_thread(_holder, layout) != pid:
                return
            await asyncio.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        limit = time.monotonic() + 5.0


def _remove(layout: Layout) -> None:
    shutil.rmtree(layout.root, ignore_errors=True)
    if layout.socket.parent != layout.root:
        shutil.rmtree(layout.socket.parent, ignore_errors=True)
    if layout.root.exists():
        raise LabError(f"{layout.root} could not be removed whole.", next="Remove it by hand.")


def _tail(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
