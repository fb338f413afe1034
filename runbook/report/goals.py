"""Sections 3 to 5: people, objectives, clock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from runbook.events import (
    Answered,
    CancelRequested,
    NoteAdded,
    Record,
    RunResumed,
    RunStarted,
    ShellOpened,
    StepEnded,
)
from runbook.guide.model import Guide
from runbook.record.runtime import seconds_between
from runbook.record.state import RunState, StepState
from runbook.report import model
from runbook.report.model import missing
from runbook.units import parse_duration

_DEEDS = {
    RunStarted: "started the run",
    RunResumed: "resumed it",
    Answered: "answered",
    NoteAdded: "wrote a remark",
    CancelRequested: "cancelled",
    ShellOpened: "opened a shell",
    StepEnded: "decided a step",
}


def people(records: Sequence[Record], state: RunState) -> tuple[model.Person, ...]:
    """Everyone whose name is in the journal, and what they did."""
    seen: dict[str, tuple[str, str, dict[str, int]]] = {}
    for record in records:
        name, deed = getattr(record.event, "by", ""), _DEEDS.get(type(record.event))
        if not name or not deed:
            continue
        first, _, deeds = seen.get(name, (record.at, "", {}))
        via = getattr(record.event, "via", "")
        word = f"{deed} ({via})" if via else deed
        deeds[word] = deeds.get(word, 0) + 1
        seen[name] = (first, record.at, deeds)
    contacts = state.site.get("contacts")
    roles = {
        str(contact.get("name")): str(contact.get("role") or "")
        for contact in (contacts if isinstance(contacts, list | tuple) else ())
        if isinstance(contact, dict)
    }
    return tuple(
        model.Person(
            name=name,
            role=roles.get(name) or missing("roles are not asked for"),
            first=first,
            last=last,
            did=", ".join(f"{word} ×{count}" if count > 1 else word for word, count in deeds.items()),
        )
        for name, (first, last, deeds) in seen.items()
    )


def objectives(
    state: RunState, guide: Guide | None, used: model.Backup, criteria: tuple[model.Criterion, ...]
) -> model.Objectives:
    return model.Objectives(
        rto=_rto(state, guide), rpo=_rpo(state, used), simulated=state.mode == "practice", criteria=criteria
    )


def _target(state: RunState, name: str, default: str = "") -> float | None:
    table: Any = state.site.get("objectives")
    text = table.get(name) if isinstance(table, dict) else None
    try:
        return parse_duration(str(text or default)) if text or default else None
    except ValueError:
        return None


def _objective(target: float | None, actual: float | None, basis: str) -> model.Objective:
    known = target is not None and actual is not None
    margin = target - actual if target is not None and actual is not None else None
    return model.Objective(
        target=target,
        actual=actual,
        margin=margin,
        met=margin >= 0 if known and margin is not None else None,
        basis=basis,
    )


def _rto(state: RunState, guide: Guide | None) -> model.Objective:
    target = _target(state, "rto", guide.rto if guide else "")
    if state.verdict in ("passed", "completed with deviations"):
        actual = seconds_between(state.started_at, state.ended_at)
        basis = (
            "from the run's start to its end, waiting for people included; the disruption is not on record"
        )
        return _objective(target, actual, basis)
    return _objective(target, None, "not reached: the run has not come to its end")


def _rpo(state: RunState, used: model.Backup) -> model.Objective:
    target = _target(state, "rpo")
    made, basis = _backup_time(used)
    try:
        start = datetime.fromisoformat(state.started_at)
        age = (start - made).total_seconds() if made else None
    except (ValueError, TypeError):
        age, basis = None, missing("the run's start")
    if age is None:
        return _objective(target, None, basis)
    if age < 0:
        return _objective(
            target, None, "the backup's time lies after the run's start: one of the clocks is wrong"
        )
    return _objective(target, age, basis)


def _backup_time(used: model.Backup) -> tuple[datetime | None, str]:
    """When the backup was made; the oldest time it can be where only the day is known."""
    until = "to the run's start; the disruption is not on record"
    try:
        made = datetime.fromisoformat(used.time)
        zone = "" if made.tzinfo else " (its zone is not on record: taken as UTC)"
        return made if made.tzinfo else made.replace(tzinfo=UTC), f"from the backup's time{zone} {until}"
    except ValueError:
        pass
    day = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", used.id)
    if day:
        try:
            made = datetime(int(day[1]), int(day[2]), int(day[3]), tzinfo=UTC)
        except ValueError:
            pass
        else:
            return made, f"at most: from 00:00 UTC of the backup's day (its hour is not on record) {until}"
    return None, missing("the backup's time")


def _status(step: StepState) -> str:
    warned = step.status == "passed" and step.ended is not None and step.ended.verdict == "warn"
    return f"{step.status}, with warnings" if warned else step.status


def clock(state: RunState, guide: Guide | None) -> model.Clock:
    now = state.last_at
    titles = {step.id: step.title for step in guide.steps} if guide else {}
    found: list[tuple[str, str]] = [(state.started_at, "run started (restore start)")]
    found += [(at, f"resumed on {event.pc}") for at, event in state.resumed]
    found += [
        (step.ended_at, f"{titles.get(step.id, step.id)}: {_status(step)}")
        for step in state.steps.values()
        if step.ended
    ]
    if state.ended:
        found.append((state.ended_at, f"run ended: {state.ended.verdict}"))
    unknown = missing("it happened before the journal began")
    before = [
        model.Moment(what=what, at=unknown, seconds=None)
        for what in ("disruption", "detection", "declaration")
    ]
    return model.Clock(
        moments=(
            *before,
            *(
                model.Moment(what=what, at=at, seconds=seconds_between(state.started_at, at))
                for at, what in sorted(found, key=lambda each: each[0])
                if at
            ),
        ),
        elapsed=state.times.elapsed(now),
        waiting=state.times.waited(now),
        away=state.times.gone(),
        machine=state.times.machine(now),
        waits=_waits(state),
    )


def _waits(state: RunState) -> tuple[model.Wait, ...]:
    found = []
    for question in state.questions.values():
        asked, answered = question.asked, question.answered
        gone = f"never answered; {question.why or 'the program ended'}"
        answer = missing(gone if question.void else "it is still open")
        if answered:
            answer = answered.value or (f"(secret) {answered.label}" if answered.label else "")
        found.append(
            model.Wait(
                at=question.asked_at,
                step=asked.step,
                kind=asked.kind,
                question=asked.text,
                answer=answer,
                by=answered.by if answered else "",
                via=answered.via if answered else "",
                reason=answered.reason if answered else "",
                seconds=seconds_between(question.asked_at, question.answered_at) if answered else None,
            )
        )
    return tuple(found)
