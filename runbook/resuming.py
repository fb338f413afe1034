"""Picking a run up after a stop or a kill: jobs that went on, and earlier steps, looked at again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.acting import Stop
from runbook.errors import RunbookError, WaitsForPerson
from runbook.events import JobEnded, Noted, Option
from runbook.guide import Step
from runbook.hosts import jobs
from runbook.hosts.jobs import JobStatus
from runbook.stepstate import Job
from runbook.voice import AttemptVoice

if TYPE_CHECKING:
    from runbook.engine import Engine

#: how long a job that was found running may go on, in seconds
JOB_LIMIT = 4 * 3600.0


@dataclass
class Resuming:
    engine: Engine

    async def pick_up(self) -> None:
        """Follow what still runs, then compare *journal says* with *world says*, step by step."""
        engine = self.engine
        for job in engine.state.unfinished_jobs():
            await self._settle(job)
        for step in engine.guide.steps:
            if not engine.done(step.id):
                break
            if step.action and engine.state.steps[step.id].how in ("acted", "already", "by_hand"):
                await self._look_back(step)

    async def _settle(self, job: Job) -> None:
        """Until its end is known, or a person says that it never will be."""
        while True:
            try:
                await self._follow(job)
                return
            except WaitsForPerson:
                raise
            except (RunbookError, TimeoutError) as error:
                problem = str(error)
            if await self._lost(job, problem):
                return

    async def _follow(self, job: Job) -> None:
        engine = self.engine
        host = await engine.hosts.open(job.host)
        voice = AttemptVoice(engine, job.step, job.attempt, host, tag="resumed")
        try:
            voice.waiting(f"job {job.job}, begun before this program was stopped", JOB_LIMIT)
            status = await jobs.follow(host, job.job, voice.sink, offset=0, timeout=JOB_LIMIT)
        finally:
            kept = voice.close()
        await engine.emit(
            Noted(
                step=job.step,
                attempt=job.attempt,
                host=job.host,
                text=f"Job {job.job} {_words(status)}.",
                data=kept,
            )
        )
        await self._ended(job, status.exit_status)
        if status.exit_status == 0:
            engine.acting.ended_away.add((job.step, job.host))
        await jobs.remove(host, job.job)

    async def _lost(self, job: Job, problem: str) -> bool:
        """Nobody can look at it. True when it is given up (that is on record then)."""
        choice = await self.engine.desk.ask(
            job.step,
            "choice",
            f"Job {job.job} on {job.host} was running when this program ended, and cannot be looked at now: "
            f"{problem}",
            (
                Option("wait", "Try again to reach it", "nothing is run"),
                Option(
                    "lost", f"{job.host} is lost", "the job's outcome stays unknown; the step is probed anew"
                ),
                Option("stop", "Stop and resume later", "nothing is changed"),
            ),
            default="stop",
        )
        if choice == "stop":
            raise Stop(f"job {job.job} on {job.host} cannot be looked at")
        if choice == "wait":
            return False
        text = f"Job {job.job} was given up: {problem}"
        await self.engine.emit(
            Noted(
                step=job.step,
                attempt=job.attempt,
                host=job.host,
                text=text,
                data={"by": self.engine.desk.last_by},
            )
        )
        await self._ended(job, None)
        return True

    async def _ended(self, job: Job, status: int | None) -> None:
        await self.engine.emit(
            JobEnded(step=job.step, attempt=job.attempt, host=job.host, job=job.job, exit_status=status)
        )

    async def _look_back(self, step: Step) -> None:
        engine = self.engine
        action, params = engine.acting.action(step)
        attempt = engine.state.steps[step.id].attempts[-1].number
        drifted = []
        for machine in engine.acting.where(step, action):
            probe = await engine.acting.probe(step, action, params, machine)
            await engine.acting.probed(step, attempt, machine, probe, "resume")
            if probe.satisfied is False:
                drifted.append(f"{machine.name}: {probe.summary}")
        if not drifted:
            return
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
            await engine.step(step)
            return
        reason = "kept although it drifted: " + "; ".join(drifted)
        by = engine.desk.last_by
        await engine.end_step(step, attempt, "warn", "overridden", reason=reason, by=by)


def _words(status: JobStatus) -> str:
    return {
        "done": f"ended with exit status {status.exit_status} while this program was away",
        "absent": "was never started",
        "lost": "is gone without an exit status (the machine was restarted?)",
    }.get(status.kind, status.kind)
