"""The parts of a run's state: steps, their attempts, the hosts of an attempt. See state.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from runbook.events import (
    ActEnded,
    Answered,
    AnswerRefused,
    Asked,
    CancelConfirmed,
    CheckDone,
    How,
    Planned,
    Probed,
    ShellClosed,
    ShellOpened,
    StepEnded,
    Verdict,
)

#: of one host in one attempt
HostStatus = Literal["waiting", "planned", "running", "done", "failed", "unknown", "cancelled"]
#: of a step: failed = its last attempt did not pass and nothing else was decided yet
StepStatus = Literal["waiting", "running", "passed", "failed", "skipped", "overridden"]


@dataclass(slots=True)
class Command:
    at: str
    host: str
    command: str
    exit_status: int | None
    seconds: float


@dataclass(slots=True)
class Job:
    step: str
    attempt: int
    host: str
    job: str
    command: str
    started_at: str
    ended_at: str = ""
    exit_status: int | None = None


@dataclass(slots=True)
class Note:
    """A fact that an act put on record (Noted), or ``by`` a person (NoteAdded)."""

    at: str
    step: str
    attempt: int
    host: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    kind: str = "note"


@dataclass(slots=True)
class HostState:
    """One host in one attempt."""

    name: str
    status: HostStatus = "waiting"
    probe: Probed | None = None
    plan: Planned | None = None
    ended: ActEnded | None = None
    started_at: str = ""
    ended_at: str = ""

    @property
    def outcome(self) -> str:
        """done, failed, unknown, cancelled; "" while it has not ended."""
        return self.ended.outcome if self.ended else ""

    @property
    def summary(self) -> str:
        return self.ended.summary if self.ended else self.probe.summary if self.probe else ""


@dataclass(slots=True)
class AttemptState:
    """``hosts`` are those the attempt is for; ``checked_at`` goes with ``checks``. ``decided``: it has a
    verdict, or a person was asked what to do as it had failed."""

    number: int
    started_at: str
    hosts: dict[str, HostState]
    ended_at: str = ""
    decided: bool = False
    checks: list[CheckDone] = field(default_factory=list)
    checked_at: list[str] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    cancels: list[CancelConfirmed] = field(default_factory=list)

    def host(self, name: str) -> HostState:
        found = self.hosts.get(name)
        if found is None:
            found = self.hosts[name] = HostState(name)
        return found


@dataclass(slots=True)
class StepState:
    """``attempts`` in order; ``ended`` is how it stands now (None again when it is tried anew)."""

    id: str
    started_at: str = ""
    attempts: list[AttemptState] = field(default_factory=list)
    ended: StepEnded | None = None
    ended_at: str = ""
    saved: dict[str, Any] = field(default_factory=dict)
    looked_back: list[Probed] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict | None:
        return self.ended.verdict if self.ended else None

    @property
    def how(self) -> How | None:
        return self.ended.how if self.ended else None

    @property
    def reason(self) -> str:
        return self.ended.reason if self.ended else ""

    @property
    def done(self) -> bool:
        """The run may go on after it."""
        return self.status in ("passed", "skipped", "overridden")

    @property
    def status(self) -> StepStatus:
        if self.ended is None:
            return "running" if self.attempts else "waiting"
        if self.ended.how == "skipped":
            return "skipped"
        if self.ended.how == "overridden":
            return "overridden"
        return "passed" if self.ended.verdict in ("pass", "warn") else "failed"

    @property
    def last(self) -> AttemptState | None:
        return self.attempts[-1] if self.attempts else None

    def attempt(self, number: int, at: str) -> AttemptState:
        """That attempt; made when the journal never announced it."""
        for found in reversed(self.attempts):
            if found.number == number:
                return found
        made = AttemptState(number, at, {})
        self.attempts.append(made)
        return made


@dataclass(slots=True)
class Question:
    """``void``: nobody waits for an answer any more, because of ``why`` (empty: the program that asked
    ended; what it wanted to know is asked anew, under another id)."""

    asked: Asked
    asked_at: str
    answered: Answered | None = None
    answered_at: str = ""
    void: bool = False
    why: str = ""
    refused: list[AnswerRefused] = field(default_factory=list)


@dataclass(slots=True)
class Shell:
    """A shell that a person had. ``closed`` None: it is open, or the program ended before it."""

    opened: ShellOpened
    opened_at: str
    closed: ShellClosed | None = None
    closed_at: str = ""
