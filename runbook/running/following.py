"""A job that an earlier sitting of the run began: followed to its end, as its own act would have."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.errors import RunbookError, WaitsForPerson
from runbook.events import CancelConfirmed, JobEnded, Noted, Option
from runbook.hosts import jobs
from runbook.hosts.base import Host
from runbook.hosts.jobs import JobStatus
from runbook.record.stepstate import Job
from runbook.running.acting import Stop
from runbook.running.voice import AttemptVoice

if TYPE_CHECKING:
    from runbook.running.engine import Engine

#: how long a job that was found running may go on, in seconds
JOB_LIMIT = 4 * 3600.0


@dataclass
class Following:
    engine: Engine
    job: Job

    async def settle(self) -> None:
        """Until its end is known, a person cancelled it, or says that its end never will be known.
        Raises Stop, WaitsForPerson."""
        while True:
            try:
                host = await self.engine.hosts.open(self.job.host)
                task = asyncio.ensure_future(self._follow(host))
                self.engine.acting.tasks.add(task)
                try:
                    await task
                finally:
                    self.engine.acting.tasks.discard(task)
                return
            except asyncio.CancelledError:
                us = asyncio.current_task()
                if us is None or us.cancelling():
                    raise  # the program leaves, or this run stops: the job goes on
                await self._cancel(host)
                return
            except WaitsForPerson:
                raise
            except (RunbookError, TimeoutError) as error:
                problem = str(error)
            if await self._lost(problem):
                return

    async def _follow(self, host: Host) -> None:
        job = self.job
        voice = AttemptVoice(self.engine, job.step, job.attempt, host, tag="resumed")
        try:
            voice.waiting(f"job {job.job}, begun before this program was stopped", JOB_LIMIT)
            status = await jobs.follow(host, job.job, voice.sink, offset=0, timeout=JOB_LIMIT)
        finally:
            kept = voice.close()
            await voice.settled()
        await self._note(f"Job {job.job} {_words(status)}.", **kept)
        await self._ended(status.exit_status)
        with contextlib.suppress(RunbookError):  # its end is on record; a folder that stays does no harm
            await jobs.remove(host, job.job)

    async def _cancel(self, host: Host) -> None:
        """A person cancelled it; the host then says whether it is gone."""
        job = self.job
        gone = await asyncio.shield(jobs.cancel(host, job.job))
        await self.engine.emit(
            CancelConfirmed(step=job.step, host=job.host, gone=gone, detail=f"job {job.job}")
        )
        if gone:
            await self._ended(None)
            with contextlib.suppress(RunbookError):
                await jobs.remove(host, job.job)

    async def _lost(self, problem: str) -> bool:
        """Nobody can look at it. True when it is given up (that is on record then)."""
        job = self.job
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
        await self._note(f"Job {job.job} was given up: {problem}", by=self.engine.desk.last_by)
        await self._ended(None)
        return True

    async def _note(self, text: str, **data: object) -> None:
        job = self.job
        await self.engine.emit(Noted(step=job.step, attempt=job.attempt, host=job.host, text=text, data=data))

    async def _ended(self, status: int | None) -> None:
        job = self.job
        await self.engine.emit(
            JobEnded(step=job.step, attempt=job.attempt, host=job.host, job=job.job, exit_status=status)
        )


def _words(status: JobStatus) -> str:
    return {
        "done": f"ended with exit status {status.exit_status} while this program was away",
        "absent": "was never started",
        "lost": "is gone without an exit status (the machine was restarted?)",
    }.get(status.kind, status.kind)
