"""What departed from the guide, or is worth a remark, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runbook.units import duration
from runbook.wording import unnamed

if TYPE_CHECKING:
    from runbook.record.state import AttemptState, RunState, StepState
    from runbook.record.stepstate import Shell


@dataclass(frozen=True)
class Deviation:
    """``kind`` in one or two words: skipped, overridden, by hand, …; ``by`` who decided, if a person did."""

    kind: str
    at: str
    step: str
    text: str
    reason: str = ""
    by: str = ""


def deviation_of(step: StepState) -> Deviation | None:
    """Of a step as it stands now."""
    ended = step.ended
    if ended is None:
        return None
    kind, text = {
        "skipped": ("skipped", "The step was skipped."),
        "overridden": ("overridden", "The step was accepted as it is, against its checks."),
        "by_hand": ("by hand", "A person did the step's work; the same checks judged it."),
    }.get(ended.how, ("", ""))
    if not kind and ended.verdict in ("fail", "unknown"):
        kind, text = ended.verdict, f"The step ended with the verdict {ended.verdict}."
    return Deviation(kind, step.ended_at, step.id, text, ended.reason, ended.by) if kind else None


def remarks_of(state: RunState) -> list[Deviation]:
    """In the order of time."""
    found = [
        Deviation(
            "journal repaired",
            at,
            "",
            f"{event.dropped_bytes} bytes of a cut-off line are kept in {event.kept_as}.",
        )
        for at, event in state.repaired
    ]
    found += [
        Deviation("resumed", at, "", f"Resumed on {event.pc}.", by=event.by) for at, event in state.resumed
    ]
    found += [
        Deviation("cancelled", at, event.step, "A cancel was asked for.", by=event.by)
        for at, event in state.cancels
    ]
    found += [_shell(shell) for shell in state.shells.values()]
    found += [
        Deviation("answer refused", asked.asked_at, asked.asked.step, f"{no.id}: {no.why}.", by=no.by)
        for asked in state.questions.values()
        for no in asked.refused
    ]
    for step in state.steps.values():
        for number, attempt in enumerate(step.attempts):
            found += _of_attempt(step, attempt)
            if number < len(step.attempts) - 1:
                found += _failed(step, attempt)
        found += [
            Deviation("drifted", step.ended_at, step.id, f"{look.host}, looked at again: {look.summary}")
            for look in step.looked_back
            if look.satisfied is False
        ]
    return _once(sorted(found, key=lambda remark: remark.at))


def _once(remarks: list[Deviation]) -> list[Deviation]:
    """What several attempts of a step told in the same words is one remark, at its first time."""
    times = Counter((one.kind, one.step, one.text, one.by) for one in remarks)
    told: set[tuple[str, str, str, str]] = set()
    found = []
    for one in remarks:
        key = (one.kind, one.step, one.text, one.by)
        if one.kind != "warning" or times[key] == 1:
            found.append(one)
        elif key not in told:
            told.add(key)
            found.append(replace(one, text=f"{one.text} ({times[key]} times)"))
    return found


def _shell(shell: Shell) -> Deviation:
    opened, closed = shell.opened, shell.closed
    long = f"for {duration(closed.seconds)}" if closed else "until an end that is not on record"
    text = f"A shell was open on {opened.host} {long}. What was done in it is not on record."
    return Deviation("shell", shell.opened_at, opened.step, text, by=opened.by)


def _of_attempt(step: StepState, attempt: AttemptState) -> Iterator[Deviation]:
    for check, at in zip(attempt.checks, attempt.checked_at, strict=True):
        if check.verdict == "pass" or (check.required and check.verdict != "warn"):
            continue
        kind = "warning" if check.verdict == "warn" else f"optional check: {check.verdict}"
        observed = unnamed(check.host, check.observed)
        yield Deviation(kind, at, step.id, f"{check.check} on {check.host}: {observed}")
    for cancel in attempt.cancels:
        words = {True: "is confirmed gone", False: "is STILL RUNNING", None: "could not be looked at"}
        text = f"{cancel.detail or 'what ran'} {words[cancel.gone]} on {cancel.host}"
        yield Deviation("cancelled", attempt.ended_at or attempt.started_at, step.id, text)


def _failed(step: StepState, attempt: AttemptState) -> Iterator[Deviation]:
    """An attempt that another one followed."""
    at = attempt.ended_at or attempt.started_at
    for host in attempt.hosts.values():
        if host.outcome in ("failed", "unknown", "cancelled"):
            text = f"attempt {attempt.number} on {host.name}: {unnamed(host.name, host.summary)}"
            yield Deviation(f"attempt {host.outcome}", host.ended_at or at, step.id, text)
    for check, seen in zip(attempt.checks, attempt.checked_at, strict=True):
        if check.required and check.verdict in ("fail", "unknown"):
            observed = unnamed(check.host, check.observed)
            text = f"attempt {attempt.number}: {check.check} on {check.host}: {observed}"
            yield Deviation(f"check {check.verdict}", seen, step.id, text)
