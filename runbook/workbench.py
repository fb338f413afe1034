"""What every front end starts from: guides, runs, starting one, going on with one, its report."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from runbook import __version__, catalog
from runbook.clock import Clock, SystemClock
from runbook.errors import GuideError, RunbookError, StateError, UseError
from runbook.events import Mode, RunStarted
from runbook.guide import check as guidecheck
from runbook.guide import model as guides
from runbook.guide.model import Guide
from runbook.record import runs as run_folders
from runbook.record.journal import Journal
from runbook.record.runs import RunSummary
from runbook.record.state import RunState, replay
from runbook.redact import Redactor
from runbook.site import model as sites
from runbook.site.model import Contact, Site
from runbook.whoami import operator, this_pc

if TYPE_CHECKING:
    from runbook.lab.control import LabInfo
    from runbook.running.session import Session


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
    (practice has the lab's own), ``site`` stands in their place. ``backup`` overrides which backup a
    new run uses."""

    state: Path
    site_path: Path | None = None
    backup: str = ""
    site: Site | None = None
    clock: Clock = field(default_factory=SystemClock)

    # ── what there is ──────────────────────────────────────────────────────────────────────
    def guides(self) -> list[GuideInfo]:
        found = (guides.load(name) for name in guides.shipped())
        return [GuideInfo(g.name, g.title, g.summary, g.modes) for g in found]

    def runs(self) -> list[RunSummary]:
        """Newest first."""
        return run_folders.runs(self.state)

    def settings(self) -> Site:
        """The site of drills and recoveries. Raises UseError, SiteError."""
        if self.site is not None:
            return self.site
        return sites.load(sites.find(self.site_path, os.environ, Path.cwd()), state=self.state)

    def _known_site(self) -> Site | None:
        try:
            return self.settings()
        except RunbookError:
            return None

    @property
    def site_problem(self) -> str:
        """Why drill and recovery cannot start; empty when they can."""
        try:
            self.settings()
        except RunbookError as error:
            return str(error)
        return ""

    @property
    def site_name(self) -> str:
        site = self._known_site()
        return site.name if site else ""

    def contacts(self) -> tuple[Contact, ...]:
        site = self._known_site()
        return site.contacts if site else ()

    @property
    def operator(self) -> str:
        return operator(self._known_site())

    # ── starting and going on ──────────────────────────────────────────────────────────────
    async def start(
        self,
        guide: str | Guide,
        mode: Mode,
        name: str = "",
        on_wait: Callable[[str], None] = _quiet,
        *,
        same_lab: bool = False,
    ) -> Session:
        """A new run. Everything is read and refused before anything is touched. ``same_lab``: practice
        goes on in the lab that runs, with what is in it, instead of one that is new."""
        plan = guides.load(guide) if isinstance(guide, str) else guide
        if problems := guidecheck.check(plan, catalog):
            raise GuideError(problems)
        if mode not in plan.modes:
            raise UseError(
                f"The guide {plan.name} is not made for {mode}.", next=f"Its modes: {', '.join(plan.modes)}."
            )
        lab_id = ""
        simulated: tuple[str, ...] = ()
        if mode == "practice":
            if busy := [one.id for one in self.runs() if one.mode == "practice" and one.status == "running"]:
                raise StateError(
                    f"The practice lab is in use by run {busy[0]}, which a new run would take it from.",
                    next="Go on there, or end that program first; or practise in another folder (--state).",
                )
            from runbook.lab import control

            lab = await self._running_lab()
            if same_lab and lab is None:
                raise StateError(
                    "The practice lab does not run, so there is nothing to work on.",
                    next="Practise a restore first: runbook run full-system-restore --mode practice",
                )
            on_wait("the practice lab" + ("" if same_lab else ": four machines are started on this PC"))
            # one that no run has used yet was started by hand, perhaps with faults: it is taken as it is
            used = lab is not None and any(run.lab == lab.id for run in self.runs())
            info = await control.up(self.state, fresh=used and not same_lab)
            lab_id, simulated = info.id, info.simulated
            site = sites.load(control.site_file(self.state), state=self.state)
        else:
            site = self.settings()
        if self.backup:
            site = replace(site, backup=replace(site.backup, id=self.backup))
        redactor = Redactor()
        run = run_folders.new_run_id(self.state, plan.name, mode, self.clock, name)
        folder = self.state / "runs" / run
        book = Journal.create(folder, self.clock, redactor)
        started = RunStarted(
            run=run,
            guide=plan.text,
            guide_name=plan.name,
            guide_sha256=plan.sha256,
            title=plan.title,
            site=sites.masked(site),
            mode=mode,
            tool=__version__,
            by=operator(site),
            pc=this_pc(),
            lab=lab_id,
            simulated=simulated,
        )
        state = RunState()
        state.apply(await book.append(started))
        from runbook.running.session import Session  # with it the SSH client, a fifth of a second

        return Session(run, folder, plan, site, mode, state, book, redactor, catalog, self.clock)

    async def resume(self, run: str, on_wait: Callable[[str], None] = _quiet) -> Session:
        """Go on with a run: its own guide and settings, not the files of today."""
        folder = self.folder(run)
        redactor = Redactor()
        book = Journal.open(folder, self.clock, redactor)
        try:
            state = replay(book.records())
            if state.started is None:
                raise StateError(
                    f"The journal of {run} holds no beginning of a run.", next="Start a new one."
                )
            if state.verdict in ("passed", "completed with deviations", "failed"):
                raise StateError(
                    f"Run {run} has ended ({state.verdict}); it cannot be resumed.",
                    next=f"`runbook report {run}` shows it.",
                )
            if state.mode == "practice":
                on_wait("the practice lab")
                # looked for, never started: a new lab would have none of what this run made
                lab = await self._running_lab()
                if lab is None or lab.id != state.lab:
                    raise StateError(
                        f"The practice lab of run {run} is gone (it was taken down or started anew).",
                        next="Start a new practice run.",
                    )
            plan = guides.parse(state.guide, name=state.guide_name)
            site = sites.from_record(state.site)
        except BaseException:
            await book.close()
            raise
        from runbook.running.session import Session

        return Session(
            run, folder, plan, site, state.mode, state, book, redactor, catalog, self.clock, resumed=True
        )

    async def _running_lab(self) -> LabInfo | None:
        from runbook.lab import control

        return await control.status(self.state)

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

    def report(self, run: str, form: str = "md") -> str:
        """The drill report of a run: Markdown ("md") or JSON ("json")."""
        from runbook import report

        return report.text(self.folder(run), form)

    def save_report(self, run: str) -> list[Path]:
        """Write the report's files into the run's folder; their paths."""
        from runbook import report

        return report.save(self.folder(run))
