"""One step's action on its hosts: probe, plan, question, act; each on the record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from runbook.action import Action, Plan, Probe
from runbook.context import Context
from runbook.errors import (
    ActionFailed,
    OutcomeUnknown,
    RunbookError,
    TimedOut,
    WaitsForPerson,
)
from runbook.events import ActEnded, ActStarted, How, Option, Planned, Probed, Saved
from runbook.guide.model import Step, substitute
from runbook.hosts.base import Machine
from runbook.running.unjudged import unjudged
from runbook.running.voice import AttemptVoice
from runbook.together import together
from runbook.units import duration
from runbook.wording import named, place

if TYPE_CHECKING:
    from runbook.running.engine import Engine

#: hosts of one step worked on side by side
SIDE_BY_SIDE = 10
#: seconds to look at one host before a step, and to make its plan
PROBE_LIMIT = 900.0
PLAN_LIMIT = 3600.0
#: a plan confirmed later than this many seconds after it was made is made anew and compared
PLAN_STALE_AFTER = 30.0

Outcomes = Literal["done", "failed", "unknown", "cancelled"]


class Stop(Exception):
    """The person wants the run to stop here, to be resumed later."""


@dataclass
class Acting:
    engine: Engine
    #: acts that run now
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    #: a step is being acted on, also where a host has no task yet
    busy: bool = False
    #: an act asked and nobody was there: the run waits, once the other hosts are through
    nobody: WaitsForPerson | None = None

    def action(self, step: Step) -> tuple[Action, Any]:
        assert step.action
        action = self.engine.catalog.action(step.action)
        values = substitute(step.with_, self.engine.site, self.engine.state.saved)
        try:
            return action, msgspec.convert(values, action.params)
        except msgspec.ValidationError as error:
            raise ActionFailed(
                f"Step {step.id}: its parameters do not fit {step.action}: {error}. Nothing was changed."
            ) from None

    def where(self, step: Step, action: Action) -> list[Machine]:
        machines = self.engine.hosts.select(step.on)
        return machines if action.scope == "per_host" else machines[:1]

    async def probe(self, step: Step, action: Action, params: Any, machine: Machine) -> Probe:
        """What is true there now; what cannot be looked at is None, and says why."""
        try:
            async with self.engine.limit(PROBE_LIMIT):
                host = await self.engine.hosts.open(machine.name)
                look = self.engine.look(step, host, tuple(self.engine.hosts.select(step.on)))
                return await action.probe(look, params)
        except WaitsForPerson:
            raise
        except TimeoutError:
            return Probe(satisfied=None, summary=f"no answer within {duration(PROBE_LIMIT)}")
        except RunbookError as error:
            return Probe(satisfied=None, summary=str(error))
        except Exception as error:  # a defect of ours must not take the run down
            return Probe(satisfied=None, summary=f"the probe itself failed: {_defect(error)}")

    async def probed(self, step: Step, attempt: int, machine: Machine, probe: Probe, phase: Any) -> None:
        await self.engine.emit(
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

    async def do(self, step: Step, attempt: int, on: tuple[Machine, ...]) -> tuple[How, dict[str, str]]:
        """Probe, plan, ask and act. How it was done, and the hosts that failed with their reason."""
        action, params = self.action(step)
        where = list(on) if action.scope == "per_host" else list(on[:1])
        probes = await together(self.probe(step, action, params, machine) for machine in where)
        for machine, probe in zip(where, probes, strict=True):
            await self.probed(step, attempt, machine, probe, "plan")
        if all(probe.satisfied for probe in probes):
            evidence = "\n".join(
                named(machine.name, probe.summary) for machine, probe in zip(where, probes, strict=True)
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
            blind = {m.name for m, probe in zip(where, probes, strict=True) if probe.satisfied is None}
            for machine in list(todo):
                once = action.repeat == "never" or machine.name in blind
                if once and await self._done_before(step, attempt, machine):
                    todo.remove(machine)
        if not todo:
            return "acted", {}
        plans = await self._confirmed_plans(step, attempt, action, params, todo, on)
        if plans is None:
            return "skipped", {}
        return "acted", await self._act_all(step, attempt, action, params, plans, on)

    async def _done_before(self, step: Step, attempt: int, machine: Machine) -> bool:
        """What may not run twice, or cannot be looked at, is on record as done, and nobody has judged
        it: the program was stopped in between. It is not run again; the checks judge it now."""
        summary = unjudged(self.engine.state, step.id, machine.name)
        if summary:
            await self.engine.emit(
                ActEnded(step=step.id, attempt=attempt, host=machine.name, outcome="done", summary=summary)
            )
        return bool(summary)

    async def _accept(self, step: Step, evidence: str) -> bool:
        choice = await self.engine.desk.ask(
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
            raise Stop(f"stopped at step {step.id}")
        return choice == "accept"

    async def _plan(
        self, step: Step, action: Action, params: Any, todo: list[Machine], on: tuple[Machine, ...]
    ) -> dict[str, Plan]:
        async def one(machine: Machine) -> Plan:
            host = await self.engine.hosts.open(machine.name)
            try:
                async with self.engine.limit(PLAN_LIMIT):
                    return await action.plan(self.engine.look(step, host, on), params)
            except RunbookError:
                raise
            except TimeoutError:
                raise ActionFailed(
                    f"{machine.name}: no plan within {duration(PLAN_LIMIT)}. Nothing was changed."
                ) from None
            except Exception as error:
                raise ActionFailed(
                    f"The program itself failed while planning for {machine.name}: {_defect(error)}. "
                    "Nothing was changed."
                ) from error

        plans = await together(one(machine) for machine in todo)
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
            made_at = self.engine.clock.monotonic()
            plans = await self._plan(step, action, params, todo, on)
            for name, plan in plans.items():
                await self.engine.emit(
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
            twice = self._twice(step, action, plans)
            choice = await self._confirm(step, plans, twice + note, alone=not twice)
            if choice == "stop":
                raise Stop(f"stopped at the plan of step {step.id}")
            if choice == "skip":
                why = f"Why is step {step.id} skipped?"
                reason = (await self.engine.desk.ask(step.id, "text", why, optional=True)).strip()
                if not reason:
                    continue
                await self.engine.end_step(
                    step, attempt, "unknown", "skipped", reason=reason, by=self.engine.desk.last_by
                )
                return None
            if self.engine.clock.monotonic() - made_at < PLAN_STALE_AFTER:
                return plans
            again = await self._plan(step, action, params, todo, on)
            if all(again[name].digest() == plan.digest() for name, plan in plans.items()):
                return again
            note = "The world changed since that plan was made. This is a new plan.\n"

    def _twice(self, step: Step, action: Action, plans: dict[str, Plan]) -> str:
        """What a person must know before something is done twice that may not be."""
        if action.repeat != "never":
            return ""
        before = [
            f"{name} (attempt {attempt.number}: {host.outcome or 'its end is not on record'})"
            for attempt in self.engine.state.steps[step.id].attempts
            for name, host in attempt.hosts.items()
            if name in plans and host.started_at
        ]
        return f"This was run before on {', '.join(before)}. Is it safe to run it twice?\n" if before else ""

    async def _confirm(self, step: Step, plans: dict[str, Plan], note: str, *, alone: bool = True) -> str:
        """``alone``: it may be answered unattended, unless something is destroyed."""
        digest = "+".join(plan.digest() for plan in plans.values())
        changes = next((plan.changes for plan in plans.values() if plan.changes), step.changes)
        text = note + "\n".join(named(place(name), plan.summary) for name, plan in plans.items())
        if changes:
            text += f"\nThis {changes}."
        danger = sorted({word for plan in plans.values() for word in plan.danger})
        if danger:
            text += f"\nIt DESTROYS {', '.join(danger)}. Each name has to be typed before anything is done."
        choice = await self.engine.desk.ask(
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
            unattended=alone and not danger,
        )
        if choice != "go":
            return choice
        for word in danger:
            text = f"This plan destroys {word}. Type its name to go on, nothing to stop."
            while (typed := await self.engine.desk.ask(step.id, "name", text, plan_digest=digest)) != word:
                if not typed.strip():
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
        self.nobody = None

        async def one(name: str, plan: Plan) -> None:
            async with limit:
                if self.engine.cancelling:
                    problem = "Not begun: the step was cancelled."
                else:
                    problem = await self._act(step, attempt, action, params, name, plan, on)
            if problem:
                problems[name] = problem

        self.busy = True
        try:
            await together(one(name, plan) for name, plan in plans.items())
        finally:
            self.busy = self.engine.cancelling = False
        if self.nobody:
            raise self.nobody
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
        await self.engine.emit(ActStarted(step=step.id, attempt=attempt, host=name, digest=plan.digest()))
        outcome: Outcomes = "failed"
        summary, then = "", ""
        voice: AttemptVoice | None = None
        try:
            host = await self.engine.hosts.open(name)
            voice = AttemptVoice(self.engine, step.id, attempt, host)
            context = Context(**vars(self.engine.look(step, host, on)), voice=voice)
            result = await self._in_time(step, voice, action.act(context, params, plan))
            await self._save(step, result.outputs)
            outcome, summary = "done", result.summary
        except asyncio.CancelledError:
            if not self.engine.cancelling or self.engine.leaving:
                if voice is not None:
                    voice.close()
                raise  # the program leaves: jobs go on, the journal shows the act as unfinished
            outcome, summary = "cancelled", "Cancelled here."
        except OutcomeUnknown as error:
            outcome, summary, then = "unknown", error.what, error.next
        except WaitsForPerson as error:
            self.nobody = error
            outcome, summary = "cancelled", "Not finished: a question found nobody to answer it."
        except RunbookError as error:
            summary, then = error.what, error.next
        except Exception as error:  # a defect of ours must not take the run down
            summary = f"The program itself failed here: {_defect(error)}."
            then = "What was changed is not known: look at the checks."
        kept: dict[str, Any] = {}
        if voice is not None:
            kept = voice.close()
            await voice.settled()
        await self.engine.emit(
            ActEnded(
                step=step.id, attempt=attempt, host=name, outcome=outcome, summary=summary, next=then, **kept
            )
        )
        return "" if outcome == "done" else f"{summary} {then}".strip()

    async def _in_time(self, step: Step, voice: AttemptVoice, work: Awaitable[Any]) -> Any:
        """The step's limit for one host; waiting for people does not count (see voice.ask)."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        if self.engine.cancelling:  # it was asked for before there was a task
            task.cancel()
        try:
            async with self.engine.limit(step.timeout) as limit:
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
            self.tasks.discard(task)

    async def _save(self, step: Step, outputs: Any) -> None:
        values = {
            name: value for name, value in dict(outputs).items() if "*" in step.save or name in step.save
        }
        if values:
            await self.engine.emit(Saved(step=step.id, values=values))


def _defect(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". ")
