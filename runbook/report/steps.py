"""Sections 8, 9 and 11: each step, those not run, the issues; and the criteria of section 4."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from runbook.events import CheckDone
from runbook.guide import model as guides
from runbook.record.runtime import seconds_between
from runbook.record.state import AttemptState, HostState, RunState, StepState
from runbook.report import model
from runbook.report.model import Label, missing
from runbook.wording import named, unnamed

_BAD = ("fail", "unknown")


def label_of(state: RunState, *, simulated: bool = False) -> Label:
    """Of something that this program saw."""
    return "simulated" if simulated or state.mode == "practice" else "observed"


def checked(state: RunState, check: CheckDone, at: str) -> model.Checked:
    return model.Checked(
        at=at,
        step=check.step,
        attempt=check.attempt,
        phase=check.phase,
        check=check.check,
        host=check.host,
        verdict=check.verdict,
        required=check.required,
        expected=check.expected,
        observed=check.observed,
        evidence=check.evidence,
        seconds=check.seconds,
        label=label_of(state, simulated=check.simulated),
    )


def all_checks(state: RunState) -> Iterator[model.Checked]:
    for step in state.steps.values():
        for attempt in step.attempts:
            for check, at in zip(attempt.checks, attempt.checked_at, strict=True):
                yield checked(state, check, at)


def _in_order(state: RunState, guide: guides.Guide | None) -> list[str]:
    """The guide's order; then steps that the journal has and the guide has not."""
    known = [step.id for step in guide.steps] if guide else []
    return known + [id for id in state.steps if id not in known]


def steps(state: RunState, guide: guides.Guide | None) -> tuple[model.Step, ...]:
    texts = {step.id: step for step in guide.steps} if guide else {}
    return tuple(
        _step(state, state.steps[id], texts.get(id)) for id in _in_order(state, guide) if id in state.steps
    )


def _step(state: RunState, step: StepState, text: guides.Step | None) -> model.Step:
    ended = step.ended
    unknown = missing("the guide's text could not be read") if text is None else ""
    by_word = ended is not None and ended.how in ("by_hand", "skipped", "overridden")
    return model.Step(
        id=step.id,
        title=text.title if text else step.id,
        sha256=hashlib.sha256(text.section.raw.encode("utf-8", "replace")).hexdigest() if text else unknown,
        action=text.action or "(checks only)" if text else unknown,
        on=text.on if text else unknown,
        inputs=dict(text.with_) if text else {},
        saved=dict(step.saved),
        status=step.status,
        verdict=ended.verdict if ended else "not ended",
        how=ended.how if ended else "",
        label="attested" if by_word else label_of(state),
        reason=ended.reason if ended else "",
        by=ended.by if ended else "",
        started=step.started_at,
        ended=step.ended_at,
        seconds=seconds_between(step.started_at, step.ended_at) if step.ended_at else None,
        expected=text.expected if text else "",
        limit=text.timeout if text else None,
        attempts=tuple(_attempt(state, attempt) for attempt in step.attempts),
        looked_back=tuple(
            f"{look.host}: {({True: 'as it was', False: 'DRIFTED', None: 'could not look'})[look.satisfied]}"
            f" — {look.summary}"
            for look in step.looked_back
        ),
    )


def _attempt(state: RunState, attempt: AttemptState) -> model.Attempt:
    return model.Attempt(
        number=attempt.number,
        started=attempt.started_at,
        ended=attempt.ended_at,
        hosts=tuple(_host(host) for host in attempt.hosts.values()),
        checks=tuple(
            checked(state, check, at) for check, at in zip(attempt.checks, attempt.checked_at, strict=True)
        ),
        commands=tuple(
            model.Ran(
                at=ran.at,
                host=ran.host,
                command=ran.command,
                exit_status=ran.exit_status,
                seconds=ran.seconds,
            )
            for ran in attempt.commands
        ),
        facts=tuple(
            model.Fact(at=note.at, host=note.host, text=note.text, data=dict(note.data))
            for note in attempt.notes
        ),
    )


def _host(host: HostState) -> model.OnHost:
    plan, ended = host.plan, host.ended
    outcome = host.outcome
    if not outcome:
        outcome = {"running": "begun, its end is not on record", "planned": "planned, not begun"}.get(
            host.status, "nothing was done"
        )
    return model.OnHost(
        host=host.name,
        outcome=outcome,
        probe=host.probe.summary if host.probe else "",
        plan=plan.summary if plan else "",
        items=plan.items if plan else (),
        changes=plan.changes if plan else "",
        digest=plan.digest if plan else "",
        started=host.started_at,
        ended=host.ended_at,
        seconds=seconds_between(host.started_at, host.ended_at) if host.ended_at else None,
        summary=ended.summary if ended else "",
        next=ended.next if ended else "",
        output=ended.output if ended else "",
        output_bytes=ended.output_bytes if ended else 0,
        output_sha256=ended.output_sha256 if ended else "",
    )


def not_run(state: RunState, guide: guides.Guide | None) -> tuple[model.NotRun, ...]:
    why = "the run has not come to it yet"
    if state.verdict:
        why = f"the run ended before it ({state.verdict})"
    titles = {step.id: step.title for step in guide.steps} if guide else {}
    found = []
    for id in _in_order(state, guide):
        step = state.steps.get(id)
        if step is None or not step.attempts:
            found.append(model.NotRun(step=id, title=titles.get(id, id), reason=why))
        elif step.status == "skipped":
            reason = f"skipped by {step.ended.by or '?'}: {step.reason}" if step.ended else ""
            found.append(model.NotRun(step=id, title=titles.get(id, id), reason=reason))
    return tuple(found)


def criteria(state: RunState, guide: guides.Guide | None) -> tuple[model.Criterion, ...]:
    """One a step: did it pass, and how many of the checks that judged it held?"""
    titles = {step.id: step.title for step in guide.steps} if guide else {}
    found = []
    for id in _in_order(state, guide):
        step = state.steps.get(id)
        result, detail = "not run", ""
        if step:
            final = step.last.checks if step.last else []
            warned = step.ended is not None and step.ended.verdict == "warn"
            passed = "pass, with warnings" if warned else "pass"
            result = {"passed": passed, "running": "not ended"}.get(step.status, step.status)
            detail = _held(final) if final else "no checks"
        found.append(model.Criterion(step=id, title=titles.get(id, id), result=result, detail=detail))
    return tuple(found)


def _held(checks: Sequence[CheckDone]) -> str:
    held = sum(check.verdict == "pass" for check in checks)
    warnings = sum(check.verdict == "warn" for check in checks)
    text = f"{held} of {len(checks)} checks held in the last attempt"
    return f"{text}, {warnings} with a warning" if warnings else text


def issues(state: RunState) -> tuple[model.Issue, ...]:
    """What people wrote down as an issue, and every attempt that did not pass."""
    unasked = missing("not asked for")
    found = [
        model.Issue(
            at=note.at,
            step=note.step,
            symptom=note.text,
            cause=unasked,
            solution=unasked,
            lost=None,
            severity=unasked,
            guide_change=unasked,
            by=note.by,
            label="attested",
        )
        for note in state.notes
        if note.kind == "issue"
    ]
    for step in state.steps.values():
        for number, attempt in enumerate(step.attempts):
            following = step.attempts[number + 1] if number + 1 < len(step.attempts) else None
            symptom = _symptom(attempt)
            if not symptom or (following is None and step.status == "passed" and step.how != "by_hand"):
                continue
            until = following.started_at if following else step.ended_at
            seen = _seen(attempt)
            found.append(
                model.Issue(
                    at=seen,
                    step=step.id,
                    symptom=symptom,
                    cause=missing("nobody wrote it down"),
                    solution=_solution(step, following),
                    lost=seconds_between(seen, until) if until else None,
                    severity=missing("not asked for"),
                    guide_change=missing("not asked for"),
                    by="",
                    label=label_of(state),
                )
            )
    return tuple(sorted(found, key=lambda issue: issue.at))


def _seen(attempt: AttemptState) -> str:
    """When it showed that the attempt would not pass: the first machine or check that told."""
    found = [
        host.ended_at
        for host in attempt.hosts.values()
        if host.ended_at and host.outcome in ("failed", "unknown", "cancelled")
    ]
    found += [
        at
        for check, at in zip(attempt.checks, attempt.checked_at, strict=True)
        if check.required and check.verdict in _BAD
    ]
    return min(found, default=attempt.started_at)


def _symptom(attempt: AttemptState) -> str:
    found = [
        named(host.name, host.summary)
        for host in attempt.hosts.values()
        if host.outcome in ("failed", "unknown", "cancelled")
    ]
    found += [
        f"{check.check} on {check.host}: {check.verdict}: {unnamed(check.host, check.observed)}"
        for check in attempt.checks
        if check.required and check.verdict in _BAD
    ]
    return "; ".join(found)


def _solution(step: StepState, following: AttemptState | None) -> str:
    if following:
        worked = step.status == "passed" and following is step.last
        again = f"tried again (attempt {following.number})" + (", which passed" if worked else "")
        return f"{again}; what was mended in between is not on record, unless a note or a shell says it"
    words = {"skipped": "the step was skipped", "overridden": "accepted as it is", "passed": "done by hand"}
    word = words.get(step.status, "open")
    return f"{word}: {step.reason}" if step.reason and word != "open" else word
