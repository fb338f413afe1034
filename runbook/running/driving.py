"""Driving a run with plain lines, from a command: to its end, its report and its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from runbook.errors import EXIT_FAILED, EXIT_OK, EXIT_UNKNOWN, EXIT_WAITS
from runbook.events import RunVerdict
from runbook.headless import PlainFront
from runbook.record.state import RunState
from runbook.running.session import Session
from runbook.whoami import operator
from runbook.workbench import Workbench


def narrate(text: str) -> None:
    print(f"Waiting for {text} …", file=sys.stderr, flush=True)


def drive(
    bench: Workbench, open_run: Callable[[], Awaitable[Session]], *, yes: bool = False, output: bool = False
) -> int:
    """Open the run and drive it; prints the report's paths. Returns the exit code; raises
    KeyboardInterrupt when it was told to end, RunbookError when it could not be opened or waits."""

    async def work() -> int:
        session = await open_run()
        front = PlainFront(session.guide, operator(session.site), yes=yes, output=output)
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            if not session.resumed:
                for record in session.journal.records():
                    front.record(record)
            verdict = await session.go(front)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            await session.close()
            for path in bench.save_report(session.id):
                _tell(str(path))
        return _exit_code(session.state, verdict)

    return asyncio.run(work())


def _tell(line: str) -> None:
    """To whoever reads it. The exit code is the run's own, also when nobody does any more."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit_code(state: RunState, verdict: RunVerdict) -> int:
    if verdict != "stopped":
        return EXIT_OK if verdict == "passed" else EXIT_FAILED
    last = [step.attempts[-1] for step in state.steps.values() if step.attempts]
    if any(host.outcome == "unknown" for attempt in last for host in attempt.hosts.values()):
        return EXIT_UNKNOWN
    return EXIT_FAILED if any(step.verdict == "fail" for step in state.steps.values()) else EXIT_WAITS
