"""Jobs: long commands that outlive the connection and this program. The same for every host.

A job is a folder ``<jobs_dir>/<id>`` (0700) with
  pid   the runner's process id, its start time and the machine's boot id
  out   what it printed, stdout and stderr in order
  rc    its exit status, once it ended

The runner leads a session and process group of its own. It becomes *the* job by linking its pid
file into place, which only one can do: so starting twice, from two places, or again after a kill
at any moment, runs the command at most once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from runbook.errors import HostError, OutcomeUnknown, TimedOut, Unreachable
from runbook.hosts import jobscripts
from runbook.hosts.base import Completed, Host, Sink
from runbook.hosts.processes import from_home, with_env

#: bytes of output fetched at once
_CHUNK = 1_000_000
#: seconds one look waits there for something new
_WAIT = 20
#: seconds of trying to reach the host again before the outcome counts as unknown
PATIENCE = 300.0


@dataclass(frozen=True)
class JobStatus:
    """``absent`` never started (or removed), ``running``, ``done`` with its exit status as the
    shell counts it (128+n for a signal), ``lost`` gone without one: killed, or a reboot."""

    kind: Literal["absent", "running", "done", "lost"]
    exit_status: int | None = None
    size: int = 0  #: bytes of output so far


async def start(
    host: Host,
    job: str,
    argv: Sequence[str],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> Literal["started", "running", "done"]:
    """Start it, or find it. ``stdin`` never stands in a file that has a name.

    Raises OutcomeUnknown when it was started before and is gone without an exit status (or the
    connection was lost: call again), HostError when it could not be started (nothing was run).
    """
    args = [from_home(cwd or "."), str(len(stdin)), jobscripts.RUNNER, *with_env(argv, env)]
    done = await _script(host, jobscripts.START, job, *args, stdin=stdin, timeout=60)
    match done.stdout.split():
        case [b"started"]:
            return "started"
        case [b"running", *_]:
            return "running"
        case [b"done", *_]:
            return "done"
        case [b"lost", *_]:
            raise lost(host, job)
    raise HostError(
        host.name,
        f"{host.name}: job {job} could not be started: {_why(done)}. Nothing was run.",
    )


async def status(host: Host, job: str) -> JobStatus:
    """What is true of it now. Raises HostError when it cannot be looked at."""
    done = await _script(host, jobscripts.STATUS, job)
    return _status(host, job, done, done.stdout)


async def follow(
    host: Host,
    job: str,
    sink: Sink,
    *,
    offset: int = 0,
    timeout: float = 3600.0,
    patience: float = PATIENCE,
    trouble: Callable[[str], None] | None = None,
) -> JobStatus:
    """Its output from ``offset`` on until it is ``done``, ``lost`` or ``absent``: no byte lost or
    doubled, also over lost connections (``trouble`` hears of them).

    Raises TimeoutError (the job goes on), and OutcomeUnknown when the host could not be reached
    for ``patience`` seconds (the job may go on: follow it again).
    """
    try:
        async with asyncio.timeout(timeout):
            while True:
                seen, data = await _look(host, job, offset, patience, trouble)
                if data:
                    sink(data)
                    offset += len(data)
                elif seen.kind != "running":
                    return seen
    except TimeoutError as error:
        raise TimeoutError(
            f"Job {job} on {host.name} did not end within {timeout:g}s; it goes on."
        ) from error


async def _look(
    host: Host, job: str, offset: int, patience: float, trouble: Callable[[str], None] | None
) -> tuple[JobStatus, bytes]:
    loop = asyncio.get_running_loop()
    began, pause = loop.time(), 0.5
    while True:
        try:
            args = (str(offset), str(_CHUNK), str(_WAIT))
            done = await _script(host, jobscripts.LOOK, job, *args, timeout=_WAIT + 60)
            head, found, data = done.stdout.partition(b"\n")
            if not found:
                raise HostError(host.name, f"{host.name}: job {job} cannot be looked at: {_why(done)}.")
            return _status(host, job, done, head), data
        except (Unreachable, OutcomeUnknown, TimedOut) as error:
            if loop.time() - began + pause > patience:
                raise OutcomeUnknown(
                    host.name,
                    f"Connection to {host.name} lost; outcome of job {job} unknown. {error.what}",
                    next="Nothing was run again. Resume when it can be reached: its job is followed on.",
                ) from error
            if trouble:
                trouble(f"Connection to {host.name} lost; reconnecting to its job. Nothing was run again.")
            await asyncio.sleep(pause)
            pause = min(pause * 2, 15)


async def cancel(host: Host, job: str, *, grace: float = 10.0) -> bool | None:
    """TERM to its process group, ``grace`` seconds later KILL, then look: True it is gone, False
    STILL RUNNING, None could not look. A job that was killed is ``done`` with 137 or 143."""
    try:
        done = await _script(host, jobscripts.CANCEL, job, str(max(1, int(grace * 10))), timeout=grace + 45)
    except HostError:
        return None
    return {b"gone": True, b"running": False}.get(done.stdout.strip())


async def remove(host: Host, job: str) -> None:
    """Remove its folder. A job that still runs is left alone: HostError."""
    done = await _script(host, jobscripts.REMOVE, job)
    if not done.ok:
        raise HostError(host.name, f"{host.name}: job {job} was not removed: {_why(done)}.")


def lost(host: Host, job: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        host.name,
        f"Job {job} on {host.name} is gone without an exit status (killed, or the machine was "
        "restarted); outcome unknown.",
        next="Look at what the checks say before running it again.",
    )


async def _script(
    host: Host, text: str, job: str, *args: str, stdin: bytes = b"", timeout: float = 60.0
) -> Completed:
    folder = f"{from_home(host.jobs_dir)}/{_folder_name(job)}"
    argv = ["sh", "-c", text, "job", folder, *args]
    return await host.run(argv, stdin=stdin, timeout=timeout, limit=2 * _CHUNK)


def _folder_name(job: str) -> str:
    """Any id as one plain file name."""
    name = quote(job, safe="")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _status(host: Host, job: str, done: Completed, line: bytes) -> JobStatus:
    match line.split():
        case [b"absent"]:
            return JobStatus("absent")
        case [b"running", size]:
            return JobStatus("running", None, int(size))
        case [b"lost", size]:
            return JobStatus("lost", None, int(size))
        case [b"done", code, size]:
            return JobStatus("done", int(code), int(size))
    raise HostError(host.name, f"{host.name}: job {job} cannot be looked at: {_why(done)}.")


def _why(done: Completed) -> str:
    text = (done.stderr or done.stdout).decode(errors="replace").strip()
    return text.splitlines()[-1] if text else f"exit status {done.exit_status}"
