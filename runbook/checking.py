"""Checks by themselves: read-only, outside a run, for a person or a program."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
from tabulate import tabulate

from runbook import catalog
from runbook.errors import EXIT_FAILED, EXIT_OK, RunbookError, UseError
from runbook.events import CheckDone
from runbook.guide import check as guidecheck
from runbook.guide.calls import CheckCall, parse_call
from runbook.looking import STEP, looker
from runbook.running.judge import judge
from runbook.text import printable
from runbook.workbench import Workbench


def run_checks(bench: Workbench, names: list[str], *, run: str = "", as_json: bool = False) -> int:
    """Run the named checks (all when none is named) and print them. Exit code 1 when one failed
    or could not look. ``run``: take settings and saved values from that run."""
    try:
        calls = [parse_call(name) for name in names or catalog.check_names()]
    except ValueError as error:
        raise UseError(str(error), next="`runbook check list` names the checks.") from None
    for call in calls:
        if call.name not in catalog.check_names():
            raise UseError(f"There is no check {call.name}.", next="`runbook check list` names them.")
        if problems := guidecheck.arguments(call, catalog.check(call.name).function):
            raise UseError("\n".join(problems), next="Nothing was asked.")
    done = asyncio.run(_run(bench, calls, run))
    if as_json:
        print(msgspec.json.encode(done).decode())
    else:
        rows = [
            (d.verdict.upper(), d.check, d.host, printable(d.expected), printable(d.observed)) for d in done
        ]
        headers = ("verdict", "check", "host", "expected", "observed")
        print(tabulate(rows, headers=headers, maxcolwidths=[None, 30, None, 30, 50]))
    return EXIT_OK if done and all(d.verdict in ("pass", "warn") for d in done) else EXIT_FAILED


async def _run(bench: Workbench, calls: list[CheckCall], run: str) -> list[CheckDone]:
    async with looker(bench, run) as found:
        with suppress(RunbookError):  # a check that needs the machines says what is not known
            await found.hosts.learn()
        on = tuple(machine for machine in found.hosts.machines() if machine.role == "production")
        return [done async for done in judge(found, STEP, 0, "after", calls, on)]
