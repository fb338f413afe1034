"""What a run is now: the journal's records, folded.

Pure: no clock, no files; the same records always give the same state. Front ends and the report
read it, only apply() changes it. Times are the records' own text (UTC, ISO 8601).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from runbook.events import (
    ActEnded,
    ActStarted,
    Answered,
    AnswerRefused,
    Asked,
    AttemptStarted,
    CancelConfirmed,
    CancelRequested,
    CheckDone,
    JobEnded,
    JobStarted,
    JournalRepaired,
    Mode,
    NoteAdded,
    Noted,
    Planned,
    Probed,
    QuestionWithdrawn,
    Ran,
    Record,
    ReportWritten,
    RunEnded,
    RunResumed,
    RunStarted,
    RunVerdict,
    Saved,
    ShellClosed,
    ShellOpened,
    StepEnded,
    Unknown,
)
from runbook.record.deviations import Deviation, deviation_of, remarks_of
from runbook.record.runtime import Times
from runbook.record.stepstate import AttemptState, Command, HostState, Job, Note, Question, Shell, StepState

__all__ = ["AttemptState", "HostState", "Note", "RunState", "StepState", "replay"]


@dataclass
class RunState:
    started: RunStarted | None = None
    started_at: str = ""
    ended: RunEnded | None = None
    ended_at: str = ""
    #: the newest record's time, number and hash
    last_at: str = ""
    #: the newest time at which the run was at work (a repair comes before it is again, a report after)
    active_at: str = ""
    seq: int = 0
    head: str = ""
    #: the step of the newest attempt
    current: str = ""
    steps: dict[str, StepState] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)
    resumed: list[tuple[str, RunResumed]] = field(default_factory=list)
    repaired: list[tuple[str, JournalRepaired]] = field(default_factory=list)
    #: remarks of people, notes and issues
    notes: list[Note] = field(default_factory=list)
    shells: dict[str, Shell] = field(default_factory=dict)
    #: the report that was written last
    report: ReportWritten | None = None
    #: what was saved, by step
    saved: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    cancels: list[tuple[str, CancelRequested]] = field(default_factory=list)
    #: type -> how many events of a newer program there are
    unknown_events: dict[str, int] = field(default_factory=dict)
    times: Times = field(default_factory=Times)
    #: questions ever asked, of all sittings: the next one's number
    questions_asked: int = 0

    # ── identity ───────────────────────────────────────────────────────────────────────────
    @property
    def run(self) -> str:
        return self.started.run if self.started else ""

    @property
    def title(self) -> str:
        return self.started.title if self.started else ""

    @property
    def mode(self) -> Mode:
        return self.started.mode if self.started else "practice"

    @property
    def guide(self) -> str:
        """The resolved text."""
        return self.started.guide if self.started else ""

    @property
    def guide_name(self) -> str:
        return self.started.guide_name if self.started else ""

    @property
    def site(self) -> dict[str, Any]:
        return self.started.site if self.started else {}

    @property
    def lab(self) -> str:
        return self.started.lab if self.started else ""

    @property
    def simulated(self) -> tuple[str, ...]:
        return self.started.simulated if self.started else ()

    # ── how it stands ──────────────────────────────────────────────────────────────────────
    @property
    def verdict(self) -> RunVerdict | None:
        return self.ended.verdict if self.ended else None

    @property
    def unfinished(self) -> bool:
        """It can be resumed: it has begun and has no final verdict."""
        return self.started is not None and self.verdict in (None, "stopped")

    @property
    def open_question(self) -> Question | None:
        """The question that waits for an answer now."""
        for question in reversed(self.questions.values()):
            if question.answered is None and not question.void:
                return question
        return None

    @property
    def outputs(self) -> dict[str, Any]:
        """The newest value saved under each name, by any step."""
        return {name: value for values in self.saved.values() for name, value in values.items()}

    def unfinished_jobs(self) -> list[Job]:
        """Jobs that were started and whose end is not on record."""
        return [job for job in self.jobs.values() if not job.ended_at]

    @property
    def deviations(self) -> list[Deviation]:
        """What keeps the run from "passed": steps skipped, accepted against the checks, done by
        hand, or without a verdict, as they stand now."""
        found = (deviation_of(step) for step in self.steps.values())
        return [deviation for deviation in found if deviation]

    @property
    def remarks(self) -> list[Deviation]:
        """What a reader should know though it does not keep the run from "passed": warnings,
        optional checks that did not pass, failed attempts, cancels, resumptions, repairs, shells,
        answers that were refused."""
        return remarks_of(self)

    # ── folding ────────────────────────────────────────────────────────────────────────────
    def apply(self, record: Record) -> None:
        event = record.event
        fold = _FOLD.get(type(event))
        if fold:
            fold(self, event, record.at)
        self.last_at, self.seq, self.head = record.at, record.seq, record.hash
        if not isinstance(event, JournalRepaired | ReportWritten):
            self.active_at = record.at

    def step(self, id: str) -> StepState:
        found = self.steps.get(id)
        if found is None:
            found = self.steps[id] = StepState(id)
        return found


def replay(records: Iterable[Record]) -> RunState:
    state = RunState()
    for record in records:
        state.apply(record)
    return state


def _run_started(state: RunState, event: RunStarted, at: str) -> None:
    state.started, state.started_at = event, at
    state.times.start(at)


def _run_resumed(state: RunState, event: RunResumed, at: str) -> None:
    state.times.resumed(state.active_at, at)
    state.resumed.append((at, event))
    state.ended, state.ended_at = None, ""
    _questions_void(state)


def _run_ended(state: RunState, event: RunEnded, at: str) -> None:
    state.ended, state.ended_at = event, at
    state.times.end(at)
    _questions_void(state)


def _questions_void(state: RunState) -> None:
    for question in state.questions.values():
        question.void = question.void or question.answered is None


def _repaired(state: RunState, event: JournalRepaired, at: str) -> None:
    state.repaired.append((at, event))


def _attempt_started(state: RunState, event: AttemptStarted, at: str) -> None:
    step = state.step(event.step)
    if step.last and not step.last.ended_at:
        step.last.ended_at = at
    hosts = {name: HostState(name) for name in event.hosts}
    step.attempts.append(AttemptState(event.attempt, at, hosts))
    step.started_at = step.started_at or at
    step.ended, step.ended_at = None, ""
    state.current = event.step


def _check_done(state: RunState, event: CheckDone, at: str) -> None:
    attempt = state.step(event.step).attempt(event.attempt, at)
    attempt.checks.append(event)
    attempt.checked_at.append(at)


def _probed(state: RunState, event: Probed, at: str) -> None:
    step = state.step(event.step)
    if event.phase == "resume":
        step.looked_back.append(event)
    else:
        step.attempt(event.attempt, at).host(event.host).probe = event


def _planned(state: RunState, event: Planned, at: str) -> None:
    host = state.step(event.step).attempt(event.attempt, at).host(event.host)
    host.plan = event
    host.status = "planned"


def _act_started(state: RunState, event: ActStarted, at: str) -> None:
    host = state.step(event.step).attempt(event.attempt, at).host(event.host)
    host.status, host.started_at = "running", at


def _act_ended(state: RunState, event: ActEnded, at: str) -> None:
    host = state.step(event.step).attempt(event.attempt, at).host(event.host)
    host.status, host.ended, host.ended_at = event.outcome, event, at


def _job_started(state: RunState, event: JobStarted, at: str) -> None:
    known = state.jobs.get(event.job)
    began = known.started_at if known and not known.ended_at else at
    state.jobs[event.job] = Job(event.step, event.attempt, event.host, event.job, event.command, began)


def _job_ended(state: RunState, event: JobEnded, at: str) -> None:
    job = state.jobs.get(event.job)
    if job:
        job.ended_at, job.exit_status = at, event.exit_status


def _ran(state: RunState, event: Ran, at: str) -> None:
    commands = state.step(event.step).attempt(event.attempt, at).commands
    commands.append(Command(at, event.host, event.command, event.exit_status, event.seconds))


def _noted(state: RunState, event: Noted, at: str) -> None:
    note = Note(at, event.step, event.attempt, event.host, event.text, event.data)
    state.step(event.step).attempt(event.attempt, at).notes.append(note)


def _note_added(state: RunState, event: NoteAdded, at: str) -> None:
    state.notes.append(Note(at, event.step, 0, "", event.text, by=event.by, kind=event.kind))


def _saved(state: RunState, event: Saved, at: str) -> None:
    state.step(event.step).saved.update(event.values)
    values = state.saved.pop(event.step, {})
    state.saved[event.step] = values | event.values  # the newest last


def _cancel_requested(state: RunState, event: CancelRequested, at: str) -> None:
    state.cancels.append((at, event))


def _cancel_confirmed(state: RunState, event: CancelConfirmed, at: str) -> None:
    step = state.step(event.step)
    number = step.last.number if step.last else 1
    step.attempt(number, at).cancels.append(event)


def _step_ended(state: RunState, event: StepEnded, at: str) -> None:
    step = state.step(event.step)
    step.ended, step.ended_at = event, at
    step.started_at = step.started_at or at
    if step.last:
        step.last.ended_at = step.last.ended_at or at
        step.last.decided = True


def _asked(state: RunState, event: Asked, at: str) -> None:
    step = state.steps.get(event.step)
    if event.kind == "failed" and step and step.last:
        step.last.decided = True
    state.questions[event.id] = Question(event, at)
    state.questions_asked += 1
    state.times.asked(event.id, at)


def _answered(state: RunState, event: Answered, at: str) -> None:
    question = state.questions.get(event.id)
    if question and question.answered is None:
        question.answered, question.answered_at = event, at
        state.times.answered(event.id, at)


def _refused(state: RunState, event: AnswerRefused, at: str) -> None:
    question = state.questions.get(event.id)
    if question:
        question.refused.append(event)


def _withdrawn(state: RunState, event: QuestionWithdrawn, at: str) -> None:
    question = state.questions.get(event.id)
    if question and question.answered is None:
        question.void, question.why = True, event.why
        state.times.answered(event.id, at)


def _shell_opened(state: RunState, event: ShellOpened, at: str) -> None:
    state.shells[event.id] = Shell(event, at)
    if event.standing:  # its time is the person's, as with a question
        state.times.asked(event.id, at)


def _shell_closed(state: RunState, event: ShellClosed, at: str) -> None:
    shell = state.shells.get(event.id)
    if shell and shell.closed is None:
        shell.closed, shell.closed_at = event, at
        state.times.answered(event.id, at)


def _report_written(state: RunState, event: ReportWritten, at: str) -> None:
    state.report = event


def _unknown(state: RunState, event: Unknown, at: str) -> None:
    state.unknown_events[event.type] = state.unknown_events.get(event.type, 0) + 1


_FOLD: dict[type, Callable[[RunState, Any, str], None]] = {
    RunStarted: _run_started,
    RunResumed: _run_resumed,
    RunEnded: _run_ended,
    JournalRepaired: _repaired,
    AttemptStarted: _attempt_started,
    CheckDone: _check_done,
    Probed: _probed,
    Planned: _planned,
    ActStarted: _act_started,
    ActEnded: _act_ended,
    JobStarted: _job_started,
    JobEnded: _job_ended,
    Ran: _ran,
    Noted: _noted,
    NoteAdded: _note_added,
    Saved: _saved,
    CancelRequested: _cancel_requested,
    CancelConfirmed: _cancel_confirmed,
    StepEnded: _step_ended,
    Asked: _asked,
    Answered: _answered,
    AnswerRefused: _refused,
    QuestionWithdrawn: _withdrawn,
    ShellOpened: _shell_opened,
    ShellClosed: _shell_closed,
    ReportWritten: _report_written,
    Unknown: _unknown,
}
