"""What a drill report holds: one struct a section, in the order of the sections.

Texts are raw, as the journal has them; they are made harmless where they are written (markdown.py,
json.py). What nobody put on record says so: ``not recorded: <why>``.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

#: observed: this program looked; attested: a person's word; simulated: seen in the practice lab,
#: so it proves nothing about the real machines
Label = Literal["observed", "attested", "simulated"]


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    pass


def missing(why: str) -> str:
    return f"not recorded: {why}"


class Identity(_Part, frozen=True, kw_only=True):
    run: str
    title: str
    mode: str
    #: what this run can and cannot prove
    weight: str
    scenario: str
    environment: str
    started: str
    ended: str
    guide: str
    guide_sha256: str
    tools: tuple[str, ...]
    pcs: tuple[str, ...]
    lab: str
    previous: str


class Scope(_Part, frozen=True, kw_only=True):
    machines: tuple[str, ...]
    machines_out: str
    simulated: tuple[str, ...]
    assumptions: str
    reduced: str


class Person(_Part, frozen=True, kw_only=True):
    """``first`` and ``last``: when the journal has their name."""

    name: str
    role: str
    first: str
    last: str
    did: str


class Objective(_Part, frozen=True, kw_only=True):
    """Seconds; ``met`` None: cannot be said. ``basis``: from when to when, and how it is known."""

    target: float | None
    actual: float | None
    margin: float | None
    met: bool | None
    basis: str


class Criterion(_Part, frozen=True, kw_only=True):
    step: str
    title: str
    result: str
    detail: str


class Objectives(_Part, frozen=True, kw_only=True):
    rto: Objective
    rpo: Objective
    simulated: bool  #: the clock is real; what was recovered is not
    criteria: tuple[Criterion, ...]


class Moment(_Part, frozen=True, kw_only=True):
    """``seconds`` since the run's start; None where the moment is not recorded."""

    what: str
    at: str
    seconds: float | None


class Wait(_Part, frozen=True, kw_only=True):
    """A question and its answer. ``seconds`` None: it was never answered."""

    at: str
    step: str
    kind: str
    question: str
    answer: str
    by: str
    via: str
    reason: str
    seconds: float | None


class Clock(_Part, frozen=True, kw_only=True):
    """Seconds. elapsed = waiting (for people) + away (the program was not running) + machine."""

    moments: tuple[Moment, ...]
    elapsed: float
    waiting: float
    away: float
    machine: float
    waits: tuple[Wait, ...]


class Backup(_Part, frozen=True, kw_only=True):
    id: str
    time: str
    tier: str
    place: str
    bytes: int | None
    checksum: str
    verified: str


class Database(_Part, frozen=True, kw_only=True):
    """Documents the dump holds and the server has. ``refused``: what the server would not take."""

    database: str
    expected: int | None
    actual: int | None
    equal: bool
    refused: tuple[str, ...]
    label: Label


class Copies(_Part, frozen=True, kw_only=True):
    database: str
    ranges: int | None
    copies: int | None
    equal: bool
    label: Label


class Checked(_Part, frozen=True, kw_only=True):
    at: str
    step: str
    attempt: int
    phase: str
    check: str
    host: str
    verdict: str
    required: bool
    expected: str
    observed: str
    evidence: str
    seconds: float
    label: Label


class Integrity(_Part, frozen=True, kw_only=True):
    databases: tuple[Database, ...]
    copies: tuple[Copies, ...]
    comparisons: tuple[Checked, ...]
    application: tuple[Checked, ...]


class Ran(_Part, frozen=True, kw_only=True):
    at: str
    host: str
    command: str
    exit_status: int | None
    seconds: float


class OnHost(_Part, frozen=True, kw_only=True):
    """One host in one attempt."""

    host: str
    outcome: str
    probe: str
    plan: str
    items: tuple[str, ...]
    changes: str
    digest: str
    started: str
    ended: str
    seconds: float | None
    summary: str
    next: str
    output: str
    output_bytes: int
    output_sha256: str


class Fact(_Part, frozen=True, kw_only=True):
    """What an act put on record."""

    at: str
    host: str
    text: str
    data: dict[str, Any]


class Attempt(_Part, frozen=True, kw_only=True):
    number: int
    started: str
    ended: str
    hosts: tuple[OnHost, ...]
    checks: tuple[Checked, ...]
    commands: tuple[Ran, ...]
    facts: tuple[Fact, ...]


class Step(_Part, frozen=True, kw_only=True):
    id: str
    title: str
    sha256: str
    action: str
    on: str
    inputs: dict[str, Any]
    saved: dict[str, Any]
    status: str
    verdict: str
    how: str
    label: Label
    reason: str
    by: str
    started: str
    ended: str
    seconds: float | None
    expected: str
    limit: float | None
    attempts: tuple[Attempt, ...]
    looked_back: tuple[str, ...]


class NotRun(_Part, frozen=True, kw_only=True):
    step: str
    title: str
    reason: str


class Departed(_Part, frozen=True, kw_only=True):
    kind: str
    at: str
    step: str
    text: str
    reason: str
    by: str


class Issue(_Part, frozen=True, kw_only=True):
    """``at``: when it was seen; ``lost``: seconds from then until the step was tried again or decided."""

    at: str
    step: str
    symptom: str
    cause: str
    solution: str
    lost: float | None
    severity: str
    guide_change: str
    by: str
    label: Label


class Observation(_Part, frozen=True, kw_only=True):
    at: str
    step: str
    text: str
    by: str
    label: Label


class CleanUp(_Part, frozen=True, kw_only=True):
    what: str
    state: str


class Evidence(_Part, frozen=True, kw_only=True):
    path: str
    bytes: int
    sha256: str
    step: str
    attempt: int
    host: str


class Manifest(_Part, frozen=True, kw_only=True):
    """``intact``: every record's hash and link fit; if not, ``problems`` say where they do not."""

    files: tuple[Evidence, ...]
    records: int
    head: str
    intact: bool
    problems: tuple[str, ...]
    unknown_events: dict[str, int]


class Control(_Part, frozen=True, kw_only=True):
    framework: str
    control: str
    sections: str


class Verdict(_Part, frozen=True, kw_only=True):
    verdict: str
    statement: str
    reason: str
    performer: str
    reviewer: str
    signature: str
    controls: tuple[Control, ...]


class Report(_Part, frozen=True, kw_only=True):
    """The sixteen sections, by their order."""

    v: int = 1
    identity: Identity
    scope: Scope
    people: tuple[Person, ...]
    objectives: Objectives
    clock: Clock
    backup: Backup
    integrity: Integrity
    steps: tuple[Step, ...]
    not_run: tuple[NotRun, ...]
    deviations: tuple[Departed, ...]
    remarks: tuple[Departed, ...]
    issues: tuple[Issue, ...]
    observations: tuple[Observation, ...]
    actions: str
    clean_up: tuple[CleanUp, ...]
    manifest: Manifest
    verdict: Verdict
