"""How an act speaks: onto the record, into its output file, onto the screen."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runbook.errors import HostError, OutcomeUnknown, RunbookError, TimedOut
from runbook.events import (
    CancelConfirmed,
    Event,
    JobEnded,
    JobStarted,
    Noted,
    Option,
    Output,
    Progress,
    QuestionKind,
    Ran,
    Waiting,
)
from runbook.hosts import jobs
from runbook.hosts.base import Completed, Host, Sink
from runbook.record.journal import OutputFile
from runbook.secrets import Secret
from runbook.text import LineSplitter, printable
from runbook.units import duration

if TYPE_CHECKING:
    from runbook.running.engine import Engine

#: how much of a job's output its caller gets back
TAIL = 4_000_000


class AttemptVoice:
    """One host's voice in one attempt. Its output is kept whole in a file and redacted on the way."""

    def __init__(self, engine: Engine, step: str, attempt: int, host: Host, *, tag: str = "") -> None:
        self.engine, self.step, self.attempt, self.host = engine, step, attempt, host
        self.deadline: asyncio.Timeout | None = None
        name = ".".join(part for part in (step, str(attempt), host.name, tag) if part)
        self._file = OutputFile(engine.run_dir, name, engine.redactor)
        self._lines = LineSplitter()
        self._pending: list[asyncio.Task[Any]] = []
        #: when each progress began, and at what: for its rate
        self._progress: dict[str, tuple[float, float]] = {}

    # ── output ─────────────────────────────────────────────────────────────────────────────
    def sink(self, chunk: bytes) -> None:
        self._show(self._lines.feed(self._file.write(chunk)))

    def _show(self, lines: Sequence[str]) -> None:
        if lines:
            self.engine.live(Output(step=self.step, host=self.host.name, lines=tuple(lines)))

    def say(self, line: str) -> None:
        self.sink(printable(line).encode() + b"\n")

    def close(self) -> dict[str, Any]:
        """Ends the output; what ActEnded says of it (nothing when there was none)."""
        self._show([*self._lines.feed(self._file.flush()), *self._lines.flush()])
        path, count, digest = self._file.close()
        if self._file.problem:
            self.note(f"The disk of this PC: {self._file.problem}.")
        return {"output": path, "output_bytes": count, "output_sha256": digest} if path else {}

    # ── the record ─────────────────────────────────────────────────────────────────────────
    def _later(self, event: Event) -> None:
        self._pending.append(self.engine.later(event))

    async def settled(self) -> None:
        """Everything said so far is in the journal."""
        pending, self._pending = self._pending, []
        await asyncio.gather(*pending)

    def note(self, text: str, **data: Any) -> None:
        self._later(Noted(step=self.step, attempt=self.attempt, host=self.host.name, text=text, data=data))

    def progress(self, what: str, done: float, total: float = 0, unit: str = "") -> None:
        now = self.engine.clock.monotonic()
        began, first = self._progress.setdefault(what, (now, done))
        rate = (done - first) / (now - began) if now - began > 0.5 else 0.0
        self.engine.live(
            Progress(
                step=self.step,
                host=self.host.name,
                what=what,
                done=done,
                total=total,
                unit=unit,
                per_second=rate,
            )
        )

    def waiting(self, what: str, limit: float) -> None:
        self.engine.live(Waiting(step=self.step, host=self.host.name, what=what, limit=limit))

    # ── people ─────────────────────────────────────────────────────────────────────────────
    async def ask(
        self,
        kind: QuestionKind,
        text: str,
        options: tuple[Option, ...] = (),
        *,
        default: str = "",
        unattended: bool = False,
    ) -> str:
        return await self.engine.desk.ask(
            self.step, kind, text, options, default=default, unattended=unattended
        )

    async def ask_secret(self, text: str, label: str) -> Secret:
        return await self.engine.desk.ask_secret(self.step, text, label)

    # ── commands ───────────────────────────────────────────────────────────────────────────
    def _command(self, argv: Sequence[str], cwd: str | None) -> str:
        text = shlex.join(argv)
        return f"cd {shlex.quote(cwd)} && {text}" if cwd else text

    async def run(
        self,
        argv: Sequence[str],
        *,
        host: Host | None = None,
        stdin: bytes = b"",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Completed:
        host = host or self.host
        began = self.engine.clock.monotonic()
        status: int | None = None

        def heard(gone: bool | None, detail: str) -> None:
            self._later(CancelConfirmed(step=self.step, host=host.name, gone=gone, detail=detail))

        host.cancel_listener = heard
        try:
            done = await host.run(argv, stdin=stdin, cwd=cwd, env=env, timeout=timeout, sink=self.sink)
            status = done.exit_status
            return done
        finally:
            if host.cancel_listener is heard:  # what else is cancelled there later is not of this act
                host.cancel_listener = None
            self._later(
                Ran(
                    step=self.step,
                    attempt=self.attempt,
                    host=host.name,
                    command=self._command(argv, cwd),
                    exit_status=status,
                    seconds=round(self.engine.clock.monotonic() - began, 3),
                )
            )

    async def job(
        self,
        argv: Sequence[str],
        *,
        name: str,
        host: Host | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 3600.0,
        grace: float = 10.0,
        heard: Sink | None = None,
    ) -> Completed:
        host = host or self.host
        job = f"{self.engine.state.run}-{self.step}-{name}"
        where: dict[str, Any] = {"step": self.step, "attempt": self.attempt, "host": host.name}
        began = self.engine.clock.monotonic()
        await self.settled()
        tail = bytearray()

        def sink(chunk: bytes) -> None:
            self.sink(chunk)
            if heard is not None:
                heard(chunk)
            tail.extend(chunk)
            del tail[:-TAIL]

        try:
            await self.engine.emit(JobStarted(job=job, command=self._command(argv, cwd), **where))
            await jobs.start(host, job, argv, cwd=cwd, env=env, stdin=stdin)
            status = await jobs.follow(host, job, sink, offset=0, timeout=timeout)
        except (asyncio.CancelledError, TimeoutError) as end:
            if isinstance(end, asyncio.CancelledError) and not self._told_to_stop():
                raise  # the job goes on; the journal knows it; a resumed run follows it
            gone = await asyncio.shield(jobs.cancel(host, job, grace=grace))
            await self.engine.emit(
                CancelConfirmed(step=self.step, host=host.name, gone=gone, detail=f"job {job}")
            )
            if gone:
                await self._over(host, job, where)
            if isinstance(end, asyncio.CancelledError):
                raise
            word = {
                True: "It was stopped.",
                False: "It is STILL RUNNING.",
                None: "Whether it ended is not known.",
            }
            raise TimedOut(
                host.name,
                f"{host.name}: no end after {duration(timeout)}, this command's limit. {word[gone]}",
                gone=gone,
                next="What it changed until then is not known: look at the checks.",
            ) from None
        if status.kind != "done":
            await self._over(host, job, where)
            raise OutcomeUnknown(
                host.name,
                f"Job {job} on {host.name} is gone without an exit status; outcome unknown.",
                next="Look at what the checks say before running it again.",
            )
        await self.engine.emit(JobEnded(job=job, exit_status=status.exit_status, **where))
        try:
            await jobs.remove(host, job)
        except HostError as error:  # it ended all the same
            self.note(f"The folder of job {job} is left there: {error.what}", kind="leftover")
        self._later(
            Ran(
                command=self._command(argv, cwd),
                exit_status=status.exit_status,
                seconds=round(self.engine.clock.monotonic() - began, 3),
                **where,
            )
        )
        return Completed(status.exit_status, bytes(tail), b"")

    def _told_to_stop(self) -> bool:
        """By a person or the step's limit. Whatever else cancels us is the program going away, or
        another host's trouble: no reason to stop a job."""
        late = self.deadline is not None and self.deadline.expired()
        return not self.engine.leaving and (self.engine.cancelling or late)

    async def _over(self, host: Host, job: str, where: Mapping[str, Any]) -> None:
        """It ended without a result. Its folder goes: a retry must not be given the old end."""
        await self.engine.emit(JobEnded(job=job, exit_status=None, **where))
        with contextlib.suppress(RunbookError):
            await jobs.remove(host, job)
