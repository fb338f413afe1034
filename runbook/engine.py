"""Drives one run: before-checks, probe, plan, question, act, after-checks, verdict.

Resuming is the same path: unfinished jobs are followed to their end, earlier steps are probed
again (*journal says* against *world says*), and the run goes on at the first step that is not done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from runbook.action import Action, Plan, Probe
from runbook.check import Check
from runbook.clock import Clock
from runbook.context import Context, Look, Secrets
from runbook.desk import Desk
from runbook.errors import ActionFailed, CouldNotLook, HostError, OutcomeUnknown, RunbookError, TimedOut
from runbook.events import (
    ActEnded,
    ActStarted,
    AttemptStarted,
    CancelConfirmed,
    CancelRequested,
    CheckDone,
    Event,
    How,
    JobEnded,
    Live,
    Mode,
    Noted,
    Option,
    Planned,
    Probed,
    Record,
    RunEnded,
    RunVerdict,
    Saved,
    StepEnded,
    Verdict,
)
from runbook.guide import Guide, Step, substitute
from runbook.hosts import jobs
from runbook.hosts.base import Host, Hosts, Machine
from runbook.journal import Journal
from runbook.judge import judge
from runbook.redact import Redactor
from runbook.site import Site
from runbook.state import RunState
from runbook.units import duration
from runbook.voice import AttemptVoice

#: hosts of one step worked on side by side
SIDE_BY_SIDE = 10
#: a plan confirmed later than this many seconds after it was made is made anew and compared
PLAN_STALE_AFTER = 30.0
#: how long a job that was found running may go on when a run is resumed
JOB_LIMIT = 4 * 3600.0


Outcomes = Literal["done", "failed", "unknown", "cancelled"]


class Catalog(Protocol):
    def action(self, name: str) -> Action: ...

    def check(self, name: str) -> Check: ...


class _Stop(Exception):
    """The person wants the run to stop here, to be resumed later."""


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
    _acting: set[asyncio.Task[Any]] = field(default_factory=set, init=False)

    # ── the run ────────────────────────────────────────────────────────────────────────────
    async def run(self) -> RunVerdict:
        """Drive the run until it ends or stops. Raises WaitsForPerson when a question finds nobody."""
        try:
            if any(step.attempts for step in self.state.steps.values()):
                await self._pick_up()
            for step in self.guide.steps:
                if not self._done(step.id):
                    await self._step(step)
                if self.stopping:
                    raise _Stop("stopped between steps")
        except _Stop as stop:
            await self.emit(RunEnded(verdict="stopped", reason=str(stop)))
            return "stopped"
        verdict: RunVerdict = "completed with deviations" if self.state.deviations else "passed"
        await self.emit(RunEnded(verdict=verdict))
        return verdict

    def _done(self, step: str) -> bool:
        known = self.state.steps.get(step)
        return known is not None and known.done

    async def emit(self, event: Event) -> Record:
        """Into the journal first; only then is it true, and shown."""
        record = await self.journal.append(event)
        self.state.apply(record)
        self.show(record)
        return record

    # ── picking up after a stop or a kill ──────────────────────────────────────────────────
    async def _pick_up(self) -> None:
        for job in self.state.unfinished_jobs():
            await self._follow(job.step, job.attempt, job.host, job.job)
        for step in self.guide.steps:
            if not self._done(step.id):
                break
            if step.action and self.state.steps[step.id].how in ("acted", "already"):
                await self._look_back(step)

    async def _follow(self, step: str, attempt: int, host_name: str, job: str) -> None:
        """A job that outlived us: follow it to its end before anything else looks at the world."""
        host = await self.hosts.open(host_name)
        voice = AttemptVoice(self, step, attempt, host, tag="resumed")
        try:
            voice.waiting(f"job {job}, begun before this program was stopped", JOB_LIMIT)
            status = await jobs.follow(host, job, voice.sink, offset=0, timeout=JOB_LIMIT)
        finally:
            kept = voice.close()
        words = {
            "done": f"ended with exit status {status.exit_status} while this program was away",
            "absent": "was never started",
            "lost": "is gone without an exit status (the machine was restarted?)",
        }.get(status.kind, status.kind)
        await self.emit(
            Noted(step=step, attempt=attempt, host=host_name, text=f"Job {job} {words}.", data=kept)
        )
        await self.emit(
            JobEnded(step=step, attempt=attempt, host=host_name, job=job, exit_status=status.exit_status)
        )
        await jobs.remove(host, job)

    async def _look_back(self, step: Step) -> None:
        action, params = self._action(step)
        attempt = self.state.steps[step.id].attempts[-1].number
        drifted = []
        for machine in self._where(step, action):
            probe = await self._probe(step, action, params, machine)
            await self._probed(step, attempt, machine, probe, "resume")
            if probe.satisfied is False:
                drifted.append(f"{machine.name}: {probe.summary}")
        if not drifted:
            return
        choice = await self.desk.ask(
            step.id,
            "drift",
            f"The journal says step {step.id} passed; the world says:\n" + "\n".join(drifted),
            (
                Option("again", "Run the step again", "it is probed, planned and asked for anew"),
                Option("keep", "Go on all the same", "recorded as a deviation"),
                Option("stop", "Stop and resume later", "nothing is changed"),
            ),
            default="stop",
        )
        if choice == "stop":
            raise _Stop(f"step {step.id} is no longer as it was")
        if choice == "keep":
            await self._end_step(step, attempt, "warn", "overridden", reason="kept although it drifted")
            return
        await self._step(step)

    # ── a step ─────────────────────────────────────────────────────────────────────────────
    async def _step(self, step: Step) -> None:
        only: tuple[str, ...] = ()  # a retry of the failed hosts
        while True:
            known = self.state.steps.get(step.id)
            attempt = len(known.attempts) + 1 if known else 1
            problem, failed = await self._attempt(step, attempt, only)
            if not problem:
                return
            only = await self._after_failure(step, attempt, problem, failed)
            if self._done(step.id):
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
                how, problems = await self._do(step, attempt, on)
            except RunbookError as error:
                return str(error), ()
            if how == "skipped":
                return "", ()
            if problems:
                return "; ".join(f"{host}: {text}" for host, text in problems.items()), tuple(problems)
        return await self._conclude(step, attempt, on, how), ()

    async def _conclude(self, step: Step, attempt: int, on: tuple[Machine, ...], how: How) -> str:
        """The after-checks, whoever did the work; ends the step when they hold."""
        if bad := await self.check(step, attempt, "after", on):
            return "After this step: " + "; ".join(bad)
        done = self.state.steps[step.id].attempts[-1].checks
        remarks = any(check.verdict != "pass" for check in done)
        await self._end_step(step, attempt, "warn" if remarks else "pass", how)
        return ""

    async def _end_step(
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

    # ── probe, plan, question, act ─────────────────────────────────────────────────────────
    def _action(self, step: Step) -> tuple[Action, Any]:
        assert step.action
        action = self.catalog.action(step.action)
        values = substitute(step.with_, self.site, self.state.saved)
        try:
            return action, msgspec.convert(values, action.params)
        except msgspec.ValidationError as error:
            raise ActionFailed(
                f"Step {step.id}: its parameters do not fit {step.action}: {error}. Nothing was changed."
            ) from None

    def _where(self, step: Step, action: Action) -> list[Machine]:
        machines = self.hosts.select(step.on)
        return machines if action.scope == "per_host" else machines[:1]

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

    async def _probe(self, step: Step, action: Action, params: Any, machine: Machine) -> Probe:
        try:
            host = await self.hosts.open(machine.name)
            look = self.look(step, host, tuple(self.hosts.select(step.on)))
            return await action.probe(look, params)
        except (CouldNotLook, HostError) as error:
            return Probe(satisfied=None, summary=str(error))

    async def _probed(self, step: Step, attempt: int, machine: Machine, probe: Probe, phase: Any) -> None:
        await self.emit(
            Probed(
                step=step.id,
                attempt=attempt,
                host=machine.name,
                satisfied=probe.satisfied,
                summary=probe.summary,
                evidence=probe.evidence,
                phase=phase,
            )
        )

    async def _do(self, step: Step, attempt: int, on: tuple[Machine, ...]) -> tuple[How, dict[str, str]]:
        """Probe, plan, ask and act. How it was done, and the hosts that failed with their reason."""
        action, params = self._action(step)
        where = list(on) if action.scope == "per_host" else list(on[:1])
        probes = await asyncio.gather(*(self._probe(step, action, params, machine) for machine in where))
        for machine, probe in zip(where, probes, strict=True):
            await self._probed(step, attempt, machine, probe, "plan")
        if all(probe.satisfied for probe in probes):
            evidence = "\n".join(
                f"{machine.name}: {probe.summary}" for machine, probe in zip(where, probes, strict=True)
            )
            if await self._accept(step, evidence):
                for probe in probes:
                    await self._save(step, probe.outputs)
                return "already", {}
            todo = where
        else:
            todo = [m for m, probe in zip(where, probes, strict=True) if not probe.satisfied]
            for probe in probes:
                if probe.satisfied:
                    await self._save(step, probe.outputs)
        plans = await self._confirmed_plans(step, attempt, action, params, todo, on)
        if plans is None:
            return "skipped", {}
        return "acted", await self._act_all(step, attempt, action, params, plans, on)

    async def _accept(self, step: Step, evidence: str) -> bool:
        choice = await self.desk.ask(
            step.id,
            "accept",
            f"The world already is as this step wants it:\n{evidence}",
            (
                Option("accept", "Accept it as it is", "the checks after the step still judge"),
                Option("run", "Run the step all the same", "it is planned and asked for first"),
                Option("stop", "Stop and resume later", "nothing is changed"),
            ),
            default="accept",
            unattended=True,
        )
        if choice == "stop":
            raise _Stop(f"stopped at step {step.id}")
        return choice == "accept"

    async def _plan(
        self, step: Step, action: Action, params: Any, todo: list[Machine], on: tuple[Machine, ...]
    ) -> dict[str, Plan]:
        async def one(machine: Machine) -> Plan:
            host = await self.hosts.open(machine.name)
            return await action.plan(self.look(step, host, on), params)

        plans = await asyncio.gather(*(one(machine) for machine in todo))
        return {machine.name: plan for machine, plan in zip(todo, plans, strict=True)}

    async def _confirmed_plans(
        self,
        step: Step,
        attempt: int,
        action: Action,
        params: Any,
        todo: list[Machine],
        on: tuple[Machine, ...],
    ) -> dict[str, Plan] | None:
        """Plans that a person confirmed and that still hold; None when the step is skipped."""
        note = ""
        while True:
            made_at = self.clock.monotonic()
            plans = await self._plan(step, action, params, todo, on)
            for name, plan in plans.items():
                await self.emit(
                    Planned(
                        step=step.id,
                        attempt=attempt,
                        host=name,
                        summary=plan.summary,
                        items=plan.items,
                        changes=plan.changes or step.changes,
                        digest=plan.digest(),
                    )
                )
            choice = await self._confirm(step, plans, note)
            if choice == "stop":
                raise _Stop(f"stopped at the plan of step {step.id}")
            if choice == "skip":
                reason = await self.desk.ask(step.id, "text", f"Why is step {step.id} skipped?")
                await self._end_step(step, attempt, "unknown", "skipped", reason=reason, by=self.desk.last_by)
                return None
            if self.clock.monotonic() - made_at < PLAN_STALE_AFTER:
                return plans
            again = await self._plan(step, action, params, todo, on)
            if all(again[name].digest() == plan.digest() for name, plan in plans.items()):
                return again
            note = "The world changed since that plan was made. This is a new plan.\n"

    async def _confirm(self, step: Step, plans: dict[str, Plan], note: str) -> str:
        digest = "+".join(plan.digest() for plan in plans.values())
        changes = next((plan.changes for plan in plans.values() if plan.changes), step.changes)
        text = note + "\n".join(f"{name}: {plan.summary}" for name, plan in plans.items())
        if changes:
            text += f"\nThis {changes}."
        danger = sorted({word for plan in plans.values() for word in plan.danger})
        choice = await self.desk.ask(
            step.id,
            "confirm",
            text,
            (
                Option("go", "Do it", changes),
                Option("skip", "Skip this step", "a reason is asked for; the run cannot end as passed"),
                Option("stop", "Stop and resume later", "nothing is changed"),
            ),
            default="go",
            plan_digest=digest,
            unattended=not danger,
        )
        if choice != "go":
            return choice
        for word in danger:
            typed = await self.desk.ask(
                step.id, "name", f"This plan destroys {word}. Type its name to go on.", plan_digest=digest
            )
            if typed.strip() != word:
                return "stop"
        return "go"

    async def _act_all(
        self,
        step: Step,
        attempt: int,
        action: Action,
        params: Any,
        plans: dict[str, Plan],
        on: tuple[Machine, ...],
    ) -> dict[str, str]:
        limit = asyncio.Semaphore(SIDE_BY_SIDE)
        problems: dict[str, str] = {}

        async def one(name: str, plan: Plan) -> None:
            async with limit:
                problem = await self._act(step, attempt, action, params, name, plan, on)
            if problem:
                problems[name] = problem

        async with asyncio.TaskGroup() as group:
            for name, plan in plans.items():
                group.create_task(one(name, plan))
        self.cancelling = False
        return problems

    async def _act(
        self,
        step: Step,
        attempt: int,
        action: Action,
        params: Any,
        name: str,
        plan: Plan,
        on: tuple[Machine, ...],
    ) -> str:
        """One host's act, on the record. Returns the problem, or "" when it ended well."""
        await self.emit(ActStarted(step=step.id, attempt=attempt, host=name, digest=plan.digest()))
        outcome: Outcomes = "failed"
        summary, then = "", ""
        voice: AttemptVoice | None = None
        try:
            host = await self.hosts.open(name)
            voice = AttemptVoice(self, step.id, attempt, host)
            context = Context(**vars(self.look(step, host, on)), voice=voice)
            result = await self._in_time(step, voice, action.act(context, params, plan))
            await self._save(step, result.outputs)
            outcome, summary = "done", result.summary
        except asyncio.CancelledError:
            if not self.cancelling:
                raise  # the program leaves: jobs go on, the journal shows the act as unfinished
            outcome, summary = "cancelled", "Cancelled here."
        except OutcomeUnknown as error:
            outcome, summary, then = "unknown", error.what, error.next
        except RunbookError as error:
            summary, then = error.what, error.next
        except Exception as error:  # a defect of ours must not take the run down
            summary = f"The program itself failed here: {type(error).__name__}: {error}."
            then = "What was changed is not known: look at the checks."
        kept: dict[str, Any] = {}
        if voice is not None:
            await voice.settled()
            kept = voice.close()
        await self.emit(
            ActEnded(
                step=step.id, attempt=attempt, host=name, outcome=outcome, summary=summary, next=then, **kept
            )
        )
        return "" if outcome == "done" else f"{summary} {then}".strip()

    async def _in_time(self, step: Step, voice: AttemptVoice, work: Awaitable[Any]) -> Any:
        """The step's limit for one host; waiting for people does not count (see voice.ask)."""
        task = asyncio.ensure_future(work)
        self._acting.add(task)
        try:
            async with asyncio.timeout(step.timeout) as limit:
                voice.deadline = limit
                return await task
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimedOut(
                voice.host.name,
                f"No end after {duration(step.timeout or 0)}, the step's limit, on {voice.host.name}.",
                gone=None,
            ) from None
        finally:
            self._acting.discard(task)

    async def _save(self, step: Step, outputs: Any) -> None:
        values = {
            name: value for name, value in dict(outputs).items() if "*" in step.save or name in step.save
        }
        if values:
            await self.emit(Saved(step=step.id, values=values))

    # ── when a step failed ─────────────────────────────────────────────────────────────────
    async def _after_failure(
        self, step: Step, attempt: int, problem: str, failed: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Offer what can be done. Returns the hosts a retry is for; ends the step or stops the run."""
        options = [Option("retry", "Try the step again", "probed, planned and asked for anew")]
        if failed and len(failed) < len(self.state.steps[step.id].attempts[-1].hosts):
            options.append(Option("retry_failed", "Try the failed hosts again", ", ".join(failed)))
        options += [
            Option("by_hand", "I did it by hand", "the same checks judge"),
            Option("skip", "Skip it", "a reason is asked for; the run cannot end as passed"),
            Option("override", "Accept it as it is", "against the checks; a reason is asked for"),
            Option("stop", "Stop and resume later", "nothing more is changed"),
        ]
        while True:
            choice = await self.desk.ask(
                step.id, "failed", f"Step {step.id} did not pass. {problem}", tuple(options), default="stop"
            )
            if choice == "retry":
                return ()
            if choice == "retry_failed":
                return failed
            if choice == "stop":
                await self._end_step(step, attempt, "fail", "acted", reason=problem)
                raise _Stop(f"step {step.id} failed")
            if choice in ("skip", "override"):
                word: How = "skipped" if choice == "skip" else "overridden"
                reason = await self.desk.ask(step.id, "text", f"Why is step {step.id} {word}?")
                await self._end_step(step, attempt, "unknown", word, reason=reason, by=self.desk.last_by)
                return ()
            on = tuple(self.hosts.select(step.on))
            problem = await self._conclude(step, attempt, on, "by_hand")
            if not problem:
                return ()

    # ── cancelling ─────────────────────────────────────────────────────────────────────────
    async def cancel_step(self, by: str) -> None:
        """Cancel what acts now; each host then says whether the process is gone."""
        running = [task for task in self._acting if not task.done()]
        if not running or not self.state.current:
            return
        self.cancelling = True
        await self.emit(CancelRequested(step=self.state.current, by=by))
        for task in running:
            task.cancel()

    async def cancelled(self, step: str, host: str, gone: bool | None, detail: str) -> None:
        await self.emit(CancelConfirmed(step=step, host=host, gone=gone, detail=detail))

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
