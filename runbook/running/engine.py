"""Drives one run: before-checks, probe, plan, question, act, after-checks, verdict.

Resuming is the same path: unfinished jobs are followed to their end, earlier steps are probed
again (*journal says* against *world says*), and the run goes on at the first step that is not done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from runbook.action import Action
from runbook.check import Check
from runbook.clock import Clock
from runbook.context import Look, Secrets
from runbook.errors import CouldNotLook, RunbookError, WaitsForPerson
from runbook.events import (
    AttemptStarted,
    CancelRequested,
    CheckDone,
    Event,
    How,
    Live,
    Mode,
    NoteAdded,
    Option,
    Record,
    RunEnded,
    RunVerdict,
    StepEnded,
    Verdict,
    Waiting,
)
from runbook.guide.model import Guide, Step
from runbook.hosts.base import Host, Hosts, Machine
from runbook.record.journal import Journal
from runbook.record.state import RunState
from runbook.redact import Redactor
from runbook.running.acting import Acting, Stop
from runbook.running.desk import Desk
from runbook.running.failing import Failing
from runbook.running.judge import judge
from runbook.running.resuming import Resuming
from runbook.running.shells import Shells
from runbook.site.model import Site
from runbook.wording import named

#: seconds to ask OpenTofu which machines there are
LEARN_LIMIT = 180.0
Shown = TypeVar("Shown")


class Catalog(Protocol):
    def action(self, name: str) -> Action: ...

    def check(self, name: str) -> Check: ...


@dataclass
class Engine:
    guide: Guide
    site: Site
    mode: Mode
    journal: Journal
    state: RunState
    catalog: Catalog
    hosts: Hosts
    secrets: Secrets
    redactor: Redactor
    run_dir: Path
    clock: Clock
    desk: Desk
    show: Callable[[Record], None]
    live: Callable[[Live], None]

    cancelling: bool = field(default=False, init=False)
    stopping: bool = field(default=False, init=False)
    #: the program goes away: jobs are left running, to be followed on resume
    leaving: bool = field(default=False, init=False)
    acting: Acting = field(init=False)
    shells: Shells = field(init=False)
    _writing: set[asyncio.Task[Record]] = field(default_factory=set, init=False)
    #: the front end failed to show something
    _blind: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.acting, self.shells = Acting(self), Shells(self)
        draw = self.live
        self.live = lambda live: self._shown(draw, live)

    # ── the run ────────────────────────────────────────────────────────────────────────────
    async def run(self) -> RunVerdict:
        """Drive the run until it ends or stops. Raises WaitsForPerson when a question finds nobody."""
        resumed = any(step.attempts for step in self.state.steps.values())
        if resumed:
            self.live(Waiting(step="", host="operator", what="which machines there are", limit=LEARN_LIMIT))
        with contextlib.suppress(RunbookError, TimeoutError):  # the step that needs it says what is not known
            async with self.limit(LEARN_LIMIT):
                await self.hosts.learn()
        try:
            if resumed:
                await Resuming(self).pick_up()
            for step in self.guide.steps:
                if self.done(step.id):
                    continue
                if self.stopping:
                    raise Stop("stopped between steps")
                await self.step(step)
        except Stop as stop:
            await self.emit(RunEnded(verdict="stopped", reason=str(stop)))
            return "stopped"
        verdict: RunVerdict = "completed with deviations" if self.state.deviations else "passed"
        await self.emit(RunEnded(verdict=verdict))
        return verdict

    def done(self, step: str) -> bool:
        known = self.state.steps.get(step)
        return known is not None and known.done

    async def emit(self, event: Event) -> Record:
        """Into the journal first; only then is it true, and shown. What was begun is finished, state
        and screen included, even when the caller is cancelled: they are never behind the journal."""
        return await asyncio.shield(self.later(event))

    async def _write(self, event: Event) -> Record:
        record = await self.journal.append(event)
        self.state.apply(record)
        self._shown(self.show, record)
        return record

    def _shown(self, show: Callable[[Shown], None], what: Shown) -> None:
        """A front end that cannot show something must not end the work that it shows. That it could
        not goes on record, once; the next question finds out whether anybody is there."""
        try:
            show(what)
        except Exception as error:
            if not self._blind:
                self._blind = True
                text = f"The screen failed ({type(error).__name__}: {error}); the run went on."
                self.later(NoteAdded(kind="issue", text=text, by="runbook", step=self.state.current))

    def later(self, event: Event) -> asyncio.Task[Record]:
        """emit() without waiting for it."""
        task = asyncio.ensure_future(self._write(event))
        self._writing.add(task)
        task.add_done_callback(self._written)
        return task

    def _written(self, task: asyncio.Task[Record]) -> None:
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()  # seen even if nobody waits for it any more

    # ── a step ─────────────────────────────────────────────────────────────────────────────
    async def step(self, step: Step) -> None:
        only: tuple[str, ...] = ()  # a retry of the failed hosts
        while True:
            known = self.state.steps.get(step.id)
            attempt = len(known.attempts) + 1 if known else 1
            problem, failed = await self._attempt(step, attempt, only)
            if not problem:
                return
            only = await Failing(self).decide(step, attempt, problem, failed)
            if self.done(step.id):
                return

    async def _attempt(self, step: Step, attempt: int, only: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """One attempt. Returns ("", ()) when the step ended, else the problem and the failed hosts."""
        try:
            on = tuple(self.hosts.select(step.on))
        except CouldNotLook as error:
            await self.emit(AttemptStarted(step=step.id, attempt=attempt, hosts=()))
            return str(error), ()
        if only:
            on = tuple(machine for machine in on if machine.name in only) or on
        names = tuple(machine.name for machine in on)
        await self.emit(AttemptStarted(step=step.id, attempt=attempt, hosts=names))
        if bad := await self.check(step, attempt, "before", on):
            return "Before this step: " + "; ".join(bad), ()
        how: How = "checked"
        if step.action:
            try:
                how, problems = await self.acting.do(step, attempt, on)
            except WaitsForPerson:
                raise
            except RunbookError as error:
                return str(error), ()
            if how == "skipped":
                return "", ()
            if problems:
                return "; ".join(named(host, text) for host, text in problems.items()), tuple(problems)
        return await self.conclude(step, attempt, on, how), ()

    async def conclude(
        self, step: Step, attempt: int, on: tuple[Machine, ...], how: How, *, reason: str = "", by: str = ""
    ) -> str:
        """The after-checks, whoever did the work; ends the step when they hold."""
        if bad := await self.check(step, attempt, "after", on):
            return "After this step: " + "; ".join(bad)
        done = self.state.steps[step.id].attempts[-1].checks
        remarks = any(check.verdict != "pass" for check in done)
        await self.end_step(step, attempt, "warn" if remarks else "pass", how, reason=reason, by=by)
        return ""

    async def end_step(
        self, step: Step, attempt: int, verdict: Verdict, how: How, *, reason: str = "", by: str = ""
    ) -> None:
        await self.emit(
            StepEnded(step=step.id, attempt=attempt, verdict=verdict, how=how, reason=reason, by=by)
        )

    async def check(self, step: Step, attempt: int, phase: str, on: tuple[Machine, ...]) -> list[str]:
        """Run a phase's checks onto the record; the lines of those that stop the step."""
        calls = step.before if phase == "before" else step.after
        bad = []
        async for done in judge(self, step, attempt, phase, calls, on):
            await self.emit(done)
            if done.required and done.verdict in ("fail", "unknown"):
                bad.append(f"{done.check} on {done.host}: {done.observed}")
        return bad

    def look(self, step: Step, host: Host, on: tuple[Machine, ...]) -> Look:
        return Look(
            site=self.site,
            mode=self.mode,
            step=step.id,
            host=host,
            on=on,
            hosts=self.hosts,
            saved=self.state.saved,
            secrets=self.secrets,
            run_dir=self.run_dir,
            clock=self.clock,
        )

    def limit(self, seconds: float | None) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """A time limit, for which waiting for people does not count."""
        return self.desk.limit(seconds)

    # ── cancelling ─────────────────────────────────────────────────────────────────────────
    async def cancel_step(self, by: str) -> bool:
        """Cancel what acts now; each host then says whether the process is gone. False when there is
        nothing to cancel. A second cancel does nothing: it would only disturb that look."""
        if self.cancelling or not (self.acting.busy or self.acting.tasks) or not self.state.current:
            return self.cancelling
        self.cancelling = True
        try:
            await self.emit(CancelRequested(step=self.state.current, by=by))
        except RunbookError:
            self.cancelling = False
            raise
        if self.cancelling:  # it may all have ended meanwhile
            for task in self.acting.tasks:
                task.cancel()
        return True

    async def accept_key(self, host: str, fingerprint: str) -> bool:
        """First contact with a machine: a person compares its fingerprint."""
        choice = await self.desk.ask(
            self.state.current,
            "host_key",
            f"{host} is not known yet. Its host key's fingerprint is {fingerprint}. "
            "Compare it with the machine's console.",
            (
                Option("accept", "It is the same: trust it", "kept in this site's known_hosts"),
                Option("refuse", "Do not connect", "nothing is sent to it"),
            ),
            default="refuse",
        )
        return choice == "accept"

    async def recheck(self, step: Step) -> list[CheckDone]:
        """The step's checks again, read-only and off the record."""
        on = tuple(self.hosts.select(step.on))
        return [done async for done in judge(self, step, 0, "after", step.before + step.after, on)]
