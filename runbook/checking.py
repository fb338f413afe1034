"""Checks by themselves: read-only, outside a run, for a person or a program."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from tabulate import tabulate

from runbook import catalog, journal
from runbook import site as sites
from runbook.calls import CheckCall, parse_call
from runbook.clock import Clock
from runbook.context import Look
from runbook.errors import EXIT_FAILED, EXIT_OK, UseError
from runbook.events import CheckDone, Live, Mode
from runbook.guide import Step
from runbook.guidefile import Section
from runbook.hosts.base import Host, Machine
from runbook.hosts.registry import SiteHosts
from runbook.judge import Checks, judge
from runbook.redact import Redactor
from runbook.secrets import Secret, SecretStore
from runbook.site import Site
from runbook.state import replay
from runbook.text import printable
from runbook.workbench import Workbench

#: the step that stands for "by themselves" is in no file
_NOWHERE = Section("", "", 0, "", "", {}, ())


def _nothing(live: Live) -> None:
    pass


@dataclass
class _Looker:
    site: Site
    mode: Mode
    hosts: SiteHosts
    secrets: SecretStore
    saved: Mapping[str, Mapping[str, Any]]
    run_dir: Path
    clock: Clock
    catalog: Checks = catalog
    live: Callable[[Live], None] = field(default=_nothing)

    def limit(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(seconds)

    def look(self, step: Step, host: Host, on: tuple[Machine, ...]) -> Look:
        return Look(
            site=self.site,
            mode=self.mode,
            step=step.id,
            host=host,
            on=on,
            hosts=self.hosts,
            saved=self.saved,
            secrets=self.secrets,
            run_dir=self.run_dir,
            clock=self.clock,
        )


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
    site, mode, saved, folder = _world(bench, run)
    redactor = Redactor()

    async def ask(text: str, label: str) -> Secret:
        if not sys.stdin.isatty():
            raise UseError(f"{label} is asked for, and this is not a terminal.")
        typed = await asyncio.to_thread(getpass.getpass, f"{text}: ")
        return Secret(typed, label)

    async def accept_key(host: str, fingerprint: str) -> bool:
        return False  # checks by themselves never trust a new machine

    outputs = {name: value for values in saved.values() for name, value in values.items()}
    hosts = SiteHosts(site, lambda: outputs, jobs_dir=folder / "jobs", accept_key=accept_key)
    looker = _Looker(
        site, mode, hosts, SecretStore(learn=redactor.learn, ask=ask), saved, folder, bench.clock
    )
    step = Step("check", "Checks", "", on="each production", section=_NOWHERE)
    try:
        on = tuple(m for m in hosts.machines() if m.role == "production")
        return [done async for done in judge(looker, step, 0, "after", calls, on)]
    finally:
        await hosts.close()


def _world(bench: Workbench, run: str) -> tuple[Site, Mode, Mapping[str, Mapping[str, Any]], Path]:
    if run:
        folder = bench.folder(run)
        state = replay(journal.read(folder))
        return sites.from_record(state.site), state.mode, state.saved, folder
    return bench.settings(), "recovery", {}, bench.state
