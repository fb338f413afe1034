"""The world looked at outside of a run: read-only, for checks and tools by themselves."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook import catalog
from runbook.clock import Clock
from runbook.context import Look
from runbook.errors import UseError
from runbook.events import Live, Mode
from runbook.guide.file import Section
from runbook.guide.model import Step
from runbook.hosts.base import Host, Machine
from runbook.hosts.registry import SiteHosts
from runbook.record import journal
from runbook.record.state import replay
from runbook.redact import Redactor
from runbook.running.judge import Checks
from runbook.secrets import Secret, SecretStore
from runbook.site import model as sites
from runbook.site.model import Site
from runbook.tofu import program as tofu
from runbook.workbench import Workbench

if TYPE_CHECKING:
    from runbook.hosts.connection import AcceptKey

#: the step that stands for "by themselves": it is in no file
STEP = Step("check", "Checks", "", on="each production", section=Section("", "", 0, "", "", {}, ()))


def _nothing(live: Live) -> None:
    pass


@dataclass
class Looker:
    site: Site
    mode: Mode
    hosts: SiteHosts
    secrets: SecretStore
    saved: Mapping[str, Mapping[str, Any]]
    run_dir: Path
    clock: Clock
    redactor: Redactor
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

    async def here(self) -> Look:
        """From this PC, once."""
        return self.look(STEP, await self.hosts.open("operator"), ())


@asynccontextmanager
async def looker(
    bench: Workbench, run: str = "", accept_key: AcceptKey | None = None
) -> AsyncIterator[Looker]:
    """``run``: take settings and saved values from that run. Machines that neither name are asked of
    OpenTofu's outputs. A machine met for the first time is not trusted unless ``accept_key`` says so."""
    site, mode, saved, folder = _world(bench, run)
    outputs = {name: value for values in saved.values() for name, value in values.items()}

    async def ask(text: str, label: str) -> Secret:
        if not sys.stdin.isatty():
            raise UseError(f"{label} is asked for, and this is not a terminal.")
        return Secret(await asyncio.to_thread(getpass.getpass, f"{text}: "), label)

    async def ask_outputs() -> Mapping[str, Any]:
        look = await found.here()
        return await (await tofu.workshop(look)).outputs(look)

    hosts = SiteHosts(
        site, lambda: outputs, jobs_dir=folder / "jobs", accept_key=accept_key, ask_outputs=ask_outputs
    )
    redactor = Redactor()
    secrets = SecretStore(learn=redactor.learn, ask=ask)
    found = Looker(site, mode, hosts, secrets, saved, folder, bench.clock, redactor)
    try:
        yield found
    finally:
        await hosts.close()


def _world(bench: Workbench, run: str) -> tuple[Site, Mode, Mapping[str, Mapping[str, Any]], Path]:
    if run:
        folder = bench.folder(run)
        state = replay(journal.read(folder))
        return sites.from_record(state.site), state.mode, state.saved, folder
    return bench.settings(), "recovery", {}, bench.state
