"""When a step did not pass: what can be done about it, chosen by a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.errors import CouldNotLook
from runbook.events import How, Option
from runbook.guide.model import Step
from runbook.running.acting import Stop

if TYPE_CHECKING:
    from runbook.running.engine import Engine


@dataclass
class Failing:
    engine: Engine

    async def decide(
        self, step: Step, attempt: int, problem: str, failed: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Ask what to do, until the step has ended or is to be tried again. Returns the hosts that a
        retry is for (none: all). Raises Stop."""
        desk = self.engine.desk
        aside = ""  # of what was tried last
        while True:
            choice = await desk.ask(
                step.id,
                "failed",
                f"Step {step.id} did not pass. {problem}" + (f"\n{aside}" if aside else ""),
                self._options(step, failed),
                default="stop",
            )
            aside = ""
            match choice:
                case "retry":
                    return ()
                case "retry_failed":
                    return failed
                case "shell":
                    aside = await self.engine.shells.choose(step.id)
                case "by_hand":
                    told = await self._words(step, f"What was done by hand for step {step.id}?")
                    if told:
                        problem = await self._by_hand(step, attempt, told)
                        if not problem:
                            return ()
                case "skip" | "override":
                    word: How = "skipped" if choice == "skip" else "overridden"
                    reason = await self._words(step, f"Why is step {step.id} {word}?")
                    if reason:
                        await self.engine.end_step(
                            step, attempt, "unknown", word, reason=reason, by=desk.last_by
                        )
                        return ()
                case _:
                    await self._stop(step, attempt, problem)

    def _options(self, step: Step, failed: tuple[str, ...]) -> tuple[Option, ...]:
        some = bool(failed) and len(failed) < len(self.engine.state.steps[step.id].attempts[-1].hosts)
        again = Option("retry_failed", "Try the failed hosts again", ", ".join(failed))
        return (
            Option("retry", "Try the step again", "probed, planned and asked for anew"),
            *((again,) if some else ()),
            *self.engine.shells.option(step.id),
            Option("by_hand", "I did it by hand", "the same checks judge"),
            Option("skip", "Skip it", "with a reason; the run cannot end as passed"),
            Option("override", "Accept it as it is", "against the checks, with a reason"),
            Option("stop", "Stop and resume later", "nothing more is changed"),
        )

    async def _words(self, step: Step, text: str) -> str:
        """In a person's words; nothing goes back to the choices."""
        return (await self.engine.desk.ask(step.id, "text", text, optional=True)).strip()

    async def _by_hand(self, step: Step, attempt: int, told: str) -> str:
        """A person did it; the same checks judge. Returns the problem, or ""."""
        by = self.engine.desk.last_by
        try:
            on = tuple(self.engine.hosts.select(step.on))
        except CouldNotLook as error:
            return str(error)
        return await self.engine.conclude(step, attempt, on, "by_hand", reason=told, by=by)

    async def _stop(self, step: Step, attempt: int, problem: str) -> None:
        hosts = self.engine.state.steps[step.id].attempts[-1].hosts.values()
        how: How = "acted" if any(host.started_at for host in hosts) else "checked"
        await self.engine.end_step(step, attempt, "fail", how, reason=problem)
        raise Stop(f"step {step.id} failed")
