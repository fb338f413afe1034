"""Picking a run up after a stop or a kill: jobs that went on, and earlier steps, looked at again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runbook.action import Probe
from runbook.errors import RunbookError
from runbook.events import LookingAgain, Option, Probed
from runbook.guide.model import Step
from runbook.hosts.base import Machine
from runbook.running.acting import Stop
from runbook.running.following import Following
from runbook.together import together
from runbook.wording import named

if TYPE_CHECKING:
    from runbook.running.engine import Engine

#: earlier steps looked at side by side
LOOKS = 4
#: (machine, what is true there); "-" is none: it could not even be said which machines to look at
Found = list[tuple[str, Probe]]


@dataclass
class Resuming:
    """Looking changes nothing, so that steps on the machines are looked at side by side; those on this
    PC one after the other, as OpenTofu locks its state while it looks."""

    engine: Engine
    _some: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOOKS))
    _here: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def pick_up(self) -> None:
        """Follow what still runs, then compare *journal says* with *world says*, step by step. Raises
        Stop, WaitsForPerson."""
        await together(Following(self.engine, job).settle() for job in self.engine.state.unfinished_jobs())
        self.engine.cancelling = False
        left = self._earlier()
        while left:
            left = await self._look_back(left)

    def _earlier(self) -> list[Step]:
        """The steps before the one to go on with, as far as they can have changed since."""
        found = []
        for step in self.engine.guide.steps:
            if not self.engine.done(step.id):
                break
            if step.action and self.engine.state.steps[step.id].how in ("acted", "already", "by_hand"):
                found.append(step)
        return found

    async def _look_back(self, steps: list[Step]) -> list[Step]:
        """Look at all of them; judge one after the other, in the guide's order. Returns those to look
        at once more: one before them was run again, which may have changed them."""
        looks = [asyncio.ensure_future(self._look(step)) for step in steps]
        try:
            for number, (step, look) in enumerate(zip(steps, looks, strict=True), 1):
                if await self._drifted(step, await look):
                    await _ended(looks)
                    await self.engine.step(step)
                    return steps[number:]
        finally:
            await _ended(looks)
        return []

    # ── one step ───────────────────────────────────────────────────────────────────────────
    async def _look(self, step: Step) -> Found:
        async with self._some:
            steps = [one.id for one in self.engine.guide.steps]
            said = LookingAgain(step.id, steps.index(step.id) + 1, len(steps), step.title)
            try:
                if step.on != "operator":
                    return await self._probe(step, said)
                async with self._here:
                    return await self._probe(step, said)
            finally:
                self.engine.live(LookingAgain(said.step, said.number, said.steps, said.title, over=True))

    async def _probe(self, step: Step, said: LookingAgain) -> Found:
        self.engine.live(said)
        acting = self.engine.acting
        try:
            action, params = acting.action(step)
            machines = acting.where(step, action)
        except RunbookError as error:
            return [("-", Probe(satisfied=None, summary=str(error)))]

        async def one(machine: Machine) -> tuple[str, Probe]:
            return machine.name, await acting.probe(step, action, params, machine)

        return await together(one(machine) for machine in machines)

    async def _drifted(self, step: Step, found: Found) -> bool:
        """Put it on record. When the world is no longer as it was, a person decides: True when the step
        is to be run again."""
        engine = self.engine
        attempt = engine.state.steps[step.id].attempts[-1].number
        for host, probe in found:
            await engine.emit(
                Probed(
                    step=step.id,
                    attempt=attempt,
                    host=host,
                    satisfied=probe.satisfied,
                    summary=probe.summary,
                    evidence=probe.evidence,
                    phase="resume",
                )
            )
        drifted = [named(host, probe.summary) for host, probe in found if probe.satisfied is False]
        if not drifted:
            return False
        choice = await engine.desk.ask(
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
            raise Stop(f"step {step.id} is no longer as it was")
        if choice == "again":
            return True
        reason = "kept although it drifted: " + "; ".join(drifted)
        by = engine.desk.last_by
        await engine.end_step(step, attempt, "warn", "overridden", reason=reason, by=by)
        return False


async def _ended(tasks: list[asyncio.Task[Found]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
