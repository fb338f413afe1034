"""What every front end starts from: guides, runs, starting one, going on with one, its report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runbook import __version__, catalog, guide as guides, journal, site as sites
from runbook.clock import Clock, SystemClock
from runbook.errors import RunbookError, StateError, UseError
from runbook.events import Mode, RunStarted
from runbook.journal import Journal, RunSummary
from runbook.report import json as report_json, markdown as report_markdown
from runbook.session import Session, operator, this_pc
from runbook.site import Contact, Site
from runbook.state import RunState, replay
from runbook.text import Redactor

SIMULATED = (
    "the machines, their SSH servers, docker and compose, CouchDB, LMS, Studio, Caddy and DNS are the "
    "practice lab's; OpenTofu is real where the lab found it",
)


@dataclass(frozen=True)
class GuideInfo:
    name: str
    title: str
    summary: str
    modes: tuple[str, ...]


def _quiet(text: str) -> None:
    pass


@dataclass
class Workbench:
    """``state`` is the folder of all runs; ``site_path`` the settings for drill and recovery
    (practice has the lab's own). ``backup`` overrides which backup a new run uses."""

    state: Path
    site_path: Path | None = None
    backup: str = ""
    clock: Clock = field(default_factory=SystemClock)

    # ── what there is ──────────────────────────────────────────────────────────────────────
    def guides(self) -> list[GuideInfo]:
        found = (guides.load(name) for name in guides.shipped())
        return [GuideInfo(g.name, g.title, g.summary, g.modes) for g in found]

    def runs(self) -> list[RunSummary]:
        """Newest first."""
        return journal.runs(self.state)

    def _site(self) -> Site | None:
        return sites.load(self.site_path) if self.site_path else None

    @property
    def site_problem(self) -> str:
        """Why drill and recovery cannot start; empty when they can."""
        try:
            return "" if self._site() else "No runbook.toml yet: `runbook site init` makes a first one."
        except RunbookError as error:
            return str(error)

    @property
    def site_name(self) -> str:
        try:
            found = self._site()
        except RunbookError:
            return ""
        return found.name if found else ""

    def contacts(self) -> tuple[Contact, ...]:
        try:
            found = self._site()
        except RunbookError:
            return ()
        return found.contacts if found else ()

    @property
    def operator(self) -> str:
        try:
            found = self._site()
        except RunbookError:
            found = None
        return operator(found) if found else ""

    # ── starting and going on ──────────────────────────────────────────────────────────────
    async def start(
        self, guide: str, mode: Mode, name: str = "", on_wait: Callable[[str], None] = _quiet
    ) -> Session:
        """A new run. Everything is read and refused before anything is touched."""
        plan = guides.resolve(guides.load(guide))
        guides.check(plan, catalog)
        if mode not in plan.modes:
            raise UseError(
                f"The guide {plan.name} is not made for {mode}.", next=f"Its modes: {', '.join(plan.modes)}."
            )
        lab_id = ""
        if mode == "practice":
            on_wait("the practice lab: four machines are started on this PC")
            lab_id, site_path = await self._lab(fresh=True)
        elif self.site_path is None:
            raise UseError(
                f"A {mode} needs the settings of your installation.",
                next="`runbook site init` makes a first runbook.toml; `--site FILE` names another.",
            )
        else:
            site_path = self.site_path
        site = sites.load(site_path)
        if self.backup:
            site = sites.with_backup(site, self.backup)
        redactor = Redactor()
        run = journal.new_run_id(self.state, plan.name, mode, self.clock, name)
        folder = self.state / "runs" / run
        book = Journal.create(folder, self.clock, redactor)
        started = RunStarted(
            run=run,
            guide=plan.text,
            guide_name=plan.name,
            guide_sha256=hashlib.sha256(plan.text.encode()).hexdigest(),
            title=plan.title,
            site=sites.masked(site),
            mode=mode,
            tool=__version__,
            by=operator(site),
            pc=this_pc(),
            lab=lab_id,
            simulated=SIMULATED if mode == "practice" else (),
        )
        state = RunState()
        state.apply(await book.append(started))
        return Session(run, folder, plan, site, mode, state, book, redactor, catalog, self.clock)

    async def resume(self, run: str, on_wait: Callable[[str], None] = _quiet) -> Session:
        """Go on with a run: its own guide and settings, not the files of today."""
        folder = self.folder(run)
        redactor = Redactor()
        book = Journal.open(folder, self.clock, redactor)
        try:
            state = replay(book.records())
            if state.verdict in ("passed", "completed with deviations", "failed"):
                raise StateError(
                    f"Run {run} has ended ({state.verdict}); it cannot be resumed.",
                    next=f"`runbook report {run}` shows it.",
                )
            if state.mode == "practice":
                on_wait("the practice lab")
                lab_id, _ = await self._lab(fresh=False)
                if lab_id != state.lab:
                    raise StateError(
                        f"The practice lab of run {run} is gone (it was taken down or started anew).",
                        next="Start a new practice run.",
                    )
            plan = guides.parse(state.guide, name=state.guide_name)
            site = sites.from_masked(state.site)
        except BaseException:
            await book.close()
            raise
        return Session(
            run, folder, plan, site, state.mode, state, book, redactor, catalog, self.clock, resumed=True
        )

    async def _lab(self, *, fresh: bool) -> tuple[str, Path]:
        from runbook import lab

        info = await lab.up(self.state, fresh=fresh)
        return info.id, info.site

    # ── looking at a run ───────────────────────────────────────────────────────────────────
    def folder(self, run: str) -> Path:
        """The run's folder; "latest" and "" mean the newest. Raises UseError when there is none."""
        known = self.runs()
        if run in ("", "latest"):
            if not known:
                raise UseError("There are no runs yet.", next=f"They are kept in {self.state / 'runs'}.")
            return self.state / "runs" / known[0].id
        if all(summary.id != run for summary in known):
            near = ", ".join(summary.id for summary in known[:5]) or "none"
            raise UseError(f"There is no run {run}.", next=f"The newest are: {near}.")
        return self.state / "runs" / run
