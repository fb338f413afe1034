"""What a run says: journalled events, questions and answers, and the unjournalled progress channel.

Events are the only truth about a run; everything a person sees is drawn from them. They are
msgspec structs tagged by ``type``; text in them is raw (sanitised where it is shown) but already
redacted. Times are UTC, ISO 8601, kept in the record around the event (see journal.py).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Mode = Literal["practice", "drill", "recovery"]
Verdict = Literal["pass", "warn", "fail", "unknown"]
#: How a step came to its end: the action ran, the world was already so, a person did it by hand
#: and the same checks judged, checks alone, skipped with a reason, or accepted against the checks.
How = Literal["acted", "already", "by_hand", "checked", "skipped", "overridden"]
Phase = Literal["before", "after"]
#: passed; completed, but with skips/overrides/unknowns; failed; stopped to be resumed later.
RunVerdict = Literal["passed", "completed with deviations", "failed", "stopped"]


class _Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    pass


# ── the run ────────────────────────────────────────────────────────────────────────────────
class RunStarted(_Event, frozen=True, kw_only=True, tag="run_started"):
    """First record. ``guide`` is the resolved text; ``site`` the settings without secrets."""

    run: str
    guide: str
    guide_name: str
    guide_sha256: str
    title: str
    site: dict[str, Any]
    mode: Mode
    tool: str
    by: str
    pc: str
    #: the practice lab's id; empty in drill and recovery
    lab: str = ""
    #: what is simulated in this run (practice), in words for the report
    simulated: tuple[str, ...] = ()


class RunResumed(_Event, frozen=True, kw_only=True, tag="run_resumed"):
    by: str
    pc: str
    tool: str


class JournalRepaired(_Event, frozen=True, kw_only=True, tag="journal_repaired"):
    """A cut-off last line was set aside (kept in ``kept_as``) before writing went on."""

    dropped_bytes: int
    kept_as: str


class RunEnded(_Event, frozen=True, kw_only=True, tag="run_ended"):
    """``verdict`` "stopped" may be followed by run_resumed; the others are final."""

    verdict: RunVerdict
    reason: str = ""


class ReportWritten(_Event, frozen=True, kw_only=True, tag="report_written"):
    """The report's files are in the run's folder: their names and SHA-256. They tell of the first
    ``records`` records."""

    records: int
    files: dict[str, str]


# ── a step ─────────────────────────────────────────────────────────────────────────────────
class AttemptStarted(_Event, frozen=True, kw_only=True, tag="attempt_started"):
    """``attempt`` counts from 1 in each step; ``hosts`` are the ones this attempt is for."""

    step: str
    attempt: int
    hosts: tuple[str, ...]


class CheckDone(_Event, frozen=True, kw_only=True, tag="check_done"):
    step: str
    attempt: int
    phase: Phase
    check: str  #: the call as the guide writes it, e.g. hosts.disk_free(min='2GB')
    host: str
    verdict: Verdict
    expected: str
    observed: str
    evidence: str = ""
    required: bool = True
    seconds: float = 0.0
    simulated: bool = False


class Probed(_Event, frozen=True, kw_only=True, tag="probed"):
    """``satisfied`` None: could not look. ``phase`` "resume": an earlier step looked at again."""

    step: str
    attempt: int
    host: str
    satisfied: bool | None
    summary: str
    evidence: str = ""
    phase: Literal["plan", "resume"] = "plan"


class Planned(_Event, frozen=True, kw_only=True, tag="planned"):
    step: str
    attempt: int
    host: str
    summary: str
    items: tuple[str, ...]
    changes: str
    digest: str


class ActStarted(_Event, frozen=True, kw_only=True, tag="act_started"):
    step: str
    attempt: int
    host: str
    digest: str


class JobStarted(_Event, frozen=True, kw_only=True, tag="job_started"):
    """Written *before* the job is started: a job that nobody knows of must not exist."""

    step: str
    attempt: int
    host: str
    job: str
    command: str


class JobEnded(_Event, frozen=True, kw_only=True, tag="job_ended"):
    step: str
    attempt: int
    host: str
    job: str
    exit_status: int | None


class Ran(_Event, frozen=True, kw_only=True, tag="ran"):
    """A command that an act ran to its end. ``exit_status`` None: outcome unknown."""

    step: str
    attempt: int
    host: str
    command: str
    exit_status: int | None
    seconds: float


class Noted(_Event, frozen=True, kw_only=True, tag="noted"):
    """A fact an act puts on record (what was chosen, counted, refused)."""

    step: str
    attempt: int
    host: str
    text: str
    data: dict[str, Any] = {}


class ActEnded(_Event, frozen=True, kw_only=True, tag="act_ended"):
    """``outcome`` unknown: the connection was lost and nobody could look since."""

    step: str
    attempt: int
    host: str
    outcome: Literal["done", "failed", "unknown", "cancelled"]
    summary: str
    next: str = ""
    output: str = ""  #: file below the run's folder
    output_bytes: int = 0
    output_sha256: str = ""


class Saved(_Event, frozen=True, kw_only=True, tag="saved"):
    step: str
    values: dict[str, Any]


class CancelRequested(_Event, frozen=True, kw_only=True, tag="cancel_requested"):
    step: str
    by: str


class CancelConfirmed(_Event, frozen=True, kw_only=True, tag="cancel_confirmed"):
    """``gone``: True confirmed gone, False STILL RUNNING, None could not look."""

    step: str
    host: str
    gone: bool | None
    detail: str = ""


class StepEnded(_Event, frozen=True, kw_only=True, tag="step_ended"):
    step: str
    attempt: int
    verdict: Verdict
    how: How
    reason: str = ""
    by: str = ""


# ── people ─────────────────────────────────────────────────────────────────────────────────
#: confirm   go on with this plan?                        (may be unattended)
#: accept    the world is already so: accept or run anyway (may be unattended)
#: failed    a step failed: retry, retry_failed, shell, by_hand, override, skip, stop
#: drift     on resume: journal and world differ for a step that had passed
#: evidence  manual work: instructions in text, the answer is what was seen/done
#: name      dangerous: the expected word must be typed
#: host_key  first contact with a host: compare the fingerprint
#: secret / text / choice   a value is needed
QuestionKind = Literal[
    "confirm", "accept", "failed", "drift", "evidence", "name", "host_key", "secret", "text", "choice"
]


class Option(msgspec.Struct, frozen=True):
    value: str
    label: str
    consequence: str = ""


class Asked(_Event, frozen=True, kw_only=True, tag="asked"):
    id: str
    step: str
    kind: QuestionKind
    text: str
    options: tuple[Option, ...] = ()
    default: str = ""
    plan_digest: str = ""
    #: --yes may answer this with the default
    unattended: bool = False
    #: nothing is an answer too: it goes back to the question before
    optional: bool = False


class Answered(_Event, frozen=True, kw_only=True, tag="answered"):
    """``value`` is never a secret: for kind "secret" it is empty and ``label`` names it."""

    id: str
    value: str
    by: str
    via: str  #: tui, cli, notebook, --yes
    reason: str = ""
    label: str = ""


class AnswerRefused(_Event, frozen=True, kw_only=True, tag="answer_refused"):
    """An answer that was not taken: it was for another question (``given``), or no choice of this one
    (``id``), which stays open. What it said is not kept."""

    id: str
    given: str
    by: str
    via: str
    why: str


class QuestionWithdrawn(_Event, frozen=True, kw_only=True, tag="question_withdrawn"):
    """Whoever asked it waits no longer: the act was cancelled, nobody could answer, …"""

    id: str
    why: str


class ShellOpened(_Event, frozen=True, kw_only=True, tag="shell_opened"):
    """A person was given a shell on a machine. What is done in it is not on record. ``standing``: the
    run does nothing else meanwhile."""

    id: str
    step: str
    host: str
    by: str
    standing: bool = False


class ShellClosed(_Event, frozen=True, kw_only=True, tag="shell_closed"):
    """``exit_status`` None: it was not begun, or the program was told to end."""

    id: str
    host: str
    seconds: float
    exit_status: int | None


class NoteAdded(_Event, frozen=True, kw_only=True, tag="note_added"):
    """A person's remark at any moment. ``step`` may be empty (about the run)."""

    kind: Literal["note", "issue"]
    text: str
    by: str
    step: str = ""


class Unknown(msgspec.Struct, frozen=True):
    """An event type of a newer program: kept as it is, shown by its name."""

    type: str
    raw: bytes


Event = (
    RunStarted
    | RunResumed
    | JournalRepaired
    | RunEnded
    | ReportWritten
    | AttemptStarted
    | CheckDone
    | Probed
    | Planned
    | ActStarted
    | JobStarted
    | JobEnded
    | Ran
    | Noted
    | ActEnded
    | Saved
    | CancelRequested
    | CancelConfirmed
    | StepEnded
    | Asked
    | Answered
    | AnswerRefused
    | QuestionWithdrawn
    | ShellOpened
    | ShellClosed
    | NoteAdded
)


class Record(msgspec.Struct, frozen=True):
    """An event as the journal holds it."""

    seq: int
    at: str  #: UTC, ISO 8601 with milliseconds and "+00:00"
    event: Event | Unknown
    hash: str


# ── the second, unjournalled channel: what changes ten times a second ──────────────────────
class Output(msgspec.Struct, frozen=True):
    """Lines a host printed: redacted and sanitised, whole lines without line ends."""

    step: str
    host: str
    lines: tuple[str, ...]


class Progress(msgspec.Struct, frozen=True):
    """``done`` of ``total`` ``unit`` ("bytes", "documents", …); total 0 means not known."""

    step: str
    host: str
    what: str
    done: float
    total: float = 0
    unit: str = ""
    per_second: float = 0


class Waiting(msgspec.Struct, frozen=True):
    """What a wait waits for, and its limit in seconds."""

    step: str
    host: str
    what: str
    limit: float


class LookingAgain(msgspec.Struct, frozen=True):
    """On resume: an earlier step, the ``number``-th of ``steps``, is looked at; ``over``: no longer."""

    step: str
    number: int
    steps: int
    title: str
    over: bool = False


Live = Output | Progress | Waiting | LookingAgain
