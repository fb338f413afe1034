"""One run, held open by this process: its journal, its engine, its front end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook import __version__
from runbook.clock import Clock
from runbook.errors import StateError
from runbook.events import CheckDone, Event, Mode, NoteAdded, Record, RunResumed, RunVerdict
from runbook.front import FrontEnd
from runbook.guide.model import Guide
from runbook.hosts.registry import SiteHosts
from runbook.record.journal import Journal
from runbook.record.state import RunState
from runbook.redact import Redactor
from runbook.running.desk import Desk
from runbook.running.engine import Catalog, Engine
from runbook.secrets import Secret, SecretStore
from runbook.site.model import Site
from runbook.tofu import program as tofu
from runbook.whoami import operator, this_pc


@dataclass
class Session:
    """``go`` drives the run; everything else may be called while it does."""

    id: str
    folder: Path
    guide: Guide
    site: Site
    mode: Mode
    state: RunState
    journal: Journal
    redactor: Redactor
    catalog: Catalog
    clock: Clock
    resumed: bool = False
    _engine: Engine | None = None
    _hosts: SiteHosts | None = None
    _driver: asyncio.Task[RunVerdict] | None = field(default=None, init=False)

    async def go(self, front: FrontEnd) -> RunVerdict:
        """Drive the run until it ends or stops. Raises WaitsForPerson and other RunbookErrors."""
        self._driver = asyncio.current_task()
        engine = self._engine = self._build(front)
        if self.resumed:
            await engine.emit(RunResumed(by=operator(self.site), pc=this_pc(), tool=__version__))
        return await engine.run()

    def _build(self, front: FrontEnd) -> Engine:
        async def emit(event: Event) -> Record:
            return await engine.emit(event)

        async def ask_secret(text: str, label: str) -> Secret:
            return await desk.ask_secret(self.state.current, text, label)

        async def accept_key(host: str, fingerprint: str) -> bool:
            return await engine.accept_key(host, fingerprint)

        async def ask_outputs() -> Mapping[str, Any]:
            operator_pc = await engine.hosts.open("operator")
            look = engine.look(self.guide.steps[0], operator_pc, ())
            return await (await tofu.workshop(look)).outputs(look)

        secrets = SecretStore(learn=self.redactor.learn, ask=ask_secret)
        desk = Desk(front, emit, secrets.learn, count=self.state.questions_asked)
        self._hosts = SiteHosts(
            self.site,
            lambda: self.state.outputs,
            jobs_dir=self.folder / "jobs",
            accept_key=accept_key,
            ask_outputs=ask_outputs,
        )
        engine = Engine(
            guide=self.guide,
            site=self.site,
            mode=self.mode,
            journal=self.journal,
            state=self.state,
            catalog=self.catalog,
            hosts=self._hosts,
            secrets=secrets,
            redactor=self.redactor,
            run_dir=self.folder,
            clock=self.clock,
            desk=desk,
            show=front.record,
            live=front.live,
        )
        return engine

    @property
    def _running(self) -> Engine:
        if self._engine is None:
            raise StateError("The run is not driven yet.", next="Start or resume it first.")
        return self._engine

    async def note(self, kind: str, text: str, by: str, step: str = "") -> None:
        """A remark at any moment; onto the record."""
        event = NoteAdded(kind="issue" if kind == "issue" else "note", text=text, by=by, step=step)
        await self._running.emit(event)

    async def cancel_step(self, by: str) -> bool:
        """False when nothing runs that could be cancelled."""
        return await self._running.cancel_step(by)

    async def stop(self) -> None:
        """Stop after what runs now; the run can be resumed."""
        self._running.stopping = True

    async def recheck(self) -> list[CheckDone]:
        """The current step's checks again, read-only and off the record."""
        step = next((step for step in self.guide.steps if step.id == self.state.current), None)
        return await self._running.recheck(step) if step else []

    async def shell(self, host: str, by: str) -> int:
        """Give the person a shell there, on record; its exit status. The run goes on meanwhile. Raises
        RunbookError when none can be had; it says what to type instead."""
        return await self._running.shells.open(host, by, self.state.current)

    async def save_report(self) -> list[Path]:
        """Write the report's files into the run's folder; that they are there goes on record."""
        from runbook.report import saving

        paths, written = await asyncio.to_thread(saving.write, self.folder)
        if written is not None:
            await self._running.emit(written)
        return paths

    async def close(self) -> None:
        """Leave: what runs as a job goes on, the journal is closed. Nothing is cancelled."""
        if self._engine is not None:
            self._engine.leaving = True
        driver = self._driver
        if driver is not None and not driver.done() and driver is not asyncio.current_task():
            driver.cancel()
            await asyncio.gather(driver, return_exceptions=True)
        if self._hosts is not None:
            await self._hosts.close()
        if not self.state.unfinished_jobs():
            tofu.forget_plans(self.folder)
        await self.journal.close()
