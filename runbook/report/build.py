"""The journal's records -> the report: a pure function, without clock or files.

Every field is what the journal has; what it has not is said to be not recorded. Nothing is
guessed: where something is derived (an age, a margin) its ``basis`` says from what.
"""

from __future__ import annotations

from collections.abc import Sequence

from runbook.errors import GuideError
from runbook.events import Record, ReportWritten
from runbook.guide.model import Guide, parse
from runbook.record.deviations import Deviation
from runbook.record.journal import Verification
from runbook.record.runtime import seconds_between
from runbook.record.state import RunState, replay
from runbook.report import model
from runbook.report.data import backup, integrity, manifest
from runbook.report.goals import clock, objectives, people
from runbook.report.model import missing
from runbook.report.steps import criteria, issues, not_run, steps

_CONTROLS = (
    ("NIST SP 800-53", "CP-4 Contingency plan testing", "4, 7, 8, 16"),
    ("SOC 2", "A1.3 Recovery plan procedures are tested", "4, 7, 8, 16"),
    ("ISO/IEC 27001", "A.8.13 Information backup (restoring is tested)", "6, 7"),
    ("ISO 22301", "8.5 Exercise programme", "4, 11, 12, 13, 16"),
)


def of_run(records: Sequence[Record], proved: Verification) -> tuple[Sequence[Record], Verification]:
    """As far as the run itself went: a report says nothing of what was only recorded of reports after
    it, so that writing it again changes nothing. Of a damaged journal nothing is left out."""
    count = len(records)
    while proved.ok and count > 1 and isinstance(records[count - 1].event, ReportWritten):
        count -= 1
    if count == len(records):
        return records, proved
    return records[:count], Verification(True, count, records[count - 1].hash)


def build(records: Sequence[Record], verification: Verification) -> model.Report:
    """The report of a run, as far as its journal goes."""
    state = replay(records)
    guide = _guide(state)
    used = backup(state)
    return model.Report(
        identity=_identity(state, guide),
        scope=_scope(state),
        people=people(records, state),
        objectives=objectives(state, guide, used, criteria(state, guide)),
        clock=clock(state, guide),
        backup=used,
        integrity=integrity(state),
        steps=steps(state, guide),
        not_run=not_run(state, guide),
        deviations=tuple(_departed(each) for each in state.deviations),
        remarks=tuple(_departed(each) for each in state.remarks),
        issues=issues(state),
        observations=_observations(state),
        actions=missing("action items (owner, due date, priority) are agreed on after the run"),
        clean_up=_clean_up(state),
        manifest=manifest(state, verification),
        verdict=_verdict(state, verification),
    )


def _guide(state: RunState) -> Guide | None:
    try:
        return parse(state.guide, name=state.guide_name)
    except GuideError:  # of a newer program: what the journal itself says is reported all the same
        return None


def _identity(state: RunState, guide: Guide | None) -> model.Identity:
    started = state.started
    tools = [started.tool] if started else []
    pcs = [started.pc] if started else []
    for _, resumed in state.resumed:
        tools.append(resumed.tool)
        pcs.append(resumed.pc)
    none = missing("the journal holds no beginning of a run")
    return model.Identity(
        run=state.run or none,
        title=state.title or none,
        mode=state.mode if started else none,
        weight=_weight(state),
        scenario=(guide.summary if guide else "") or missing("the guide has no summary"),
        environment=str(state.site.get("name") or missing("the settings have no name")),
        started=state.started_at or none,
        ended=state.ended_at or missing("the run has not ended"),
        guide=state.guide_name or none,
        guide_sha256=started.guide_sha256 if started else none,
        tools=tuple(dict.fromkeys(tools)),
        pcs=tuple(dict.fromkeys(pcs)),
        lab=state.lab,
        previous=missing("runs do not refer to each other yet"),
    )


def _weight(state: RunState) -> str:
    if state.mode == "practice":
        return (
            "Simulated: a practice run in the lab shows that the procedure and this program work together. "
            "It never proves that the real machines or backups can be recovered."
        )
    if state.mode == "drill":
        return "Observed on a temporary environment; the production machines were not part of it."
    return "Observed on the real machines."


def _scope(state: RunState) -> model.Scope:
    names: dict[str, None] = {}
    for step in state.steps.values():
        for attempt in step.attempts:
            names |= dict.fromkeys(attempt.hosts)
            names |= dict.fromkeys(check.host for check in attempt.checks if check.host != "-")
    words = {"operator": "operator (the PC that this program ran on)"}
    return model.Scope(
        machines=tuple(words.get(name, name) for name in sorted(names)),
        machines_out=missing("the journal knows only the machines that took part"),
        simulated=state.simulated,
        assumptions=missing("nobody is asked for assumptions"),
        reduced=missing("the journal does not compare resources with production"),
    )


def _departed(each: Deviation) -> model.Departed:
    return model.Departed(
        kind=each.kind, at=each.at, step=each.step, text=each.text, reason=each.reason, by=each.by
    )


def _observations(state: RunState) -> tuple[model.Observation, ...]:
    """Remarks of people, and what they answered when asked for evidence."""
    found = [
        model.Observation(at=note.at, step=note.step, text=note.text, by=note.by, label="attested")
        for note in state.notes
        if note.kind == "note"
    ]
    for question in state.questions.values():
        if question.answered and question.asked.kind == "evidence":
            by, text = question.answered.by, question.answered.value
            text = " ".join(part for part in (text, question.answered.reason) if part)
            found.append(
                model.Observation(
                    at=question.answered_at, step=question.asked.step, text=text, by=by, label="attested"
                )
            )
    return tuple(sorted(found, key=lambda each: each.at))


def _clean_up(state: RunState) -> tuple[model.CleanUp, ...]:
    found = [
        model.CleanUp(what=f"job {job.job} on {job.host}", state="its end is not on record: look at it there")
        for job in state.unfinished_jobs()
    ]
    for step in state.steps.values():
        for attempt in step.attempts:
            found += [
                model.CleanUp(
                    what=f"{cancel.detail or 'process'} on {cancel.host}",
                    state="STILL RUNNING when last seen",
                )
                for cancel in attempt.cancels
                if cancel.gone is False
            ]
            found += [
                model.CleanUp(what=note.text, state=str(note.data.get("state", "see the step")))
                for note in attempt.notes
                if note.data.get("kind") in ("cleanup", "leftover")
            ]
    schedule = [
        check
        for step in state.steps.values()
        for attempt in step.attempts
        for check in attempt.checks
        if check.check.startswith(("backup.schedule_running", "backup.schedule_frozen"))
    ]
    if schedule:
        newest = schedule[-1]
        found.append(model.CleanUp(what="backup schedule", state=f"{newest.verdict}: {newest.observed}"))
    found.append(
        model.CleanUp(
            what="resources destroyed, credentials revoked",
            state=missing("no step of this run looked at it; not to be called clean before someone has"),
        )
    )
    return tuple(found)


def _verdict(state: RunState, verification: Verification) -> model.Verdict:
    verdict = state.verdict or "not ended"
    if state.mode == "practice" and state.verdict in ("passed", "completed with deviations"):
        statement = f"{verdict.capitalize()}, in the practice lab: simulated, never proves."
    elif state.verdict is None:
        spent = seconds_between(state.started_at, state.last_at)
        statement = f"This run has not ended; the journal covers its first {spent:.0f} seconds."
    elif state.verdict == "stopped":
        statement = "Stopped before its end; it can be resumed."
    else:
        statement = f"{verdict.capitalize()}."
    if not verification.ok:
        statement = f"NO EVIDENCE: the journal is damaged or was changed (section 15). It says: {statement}"
    return model.Verdict(
        verdict=verdict,
        statement=statement,
        reason=state.ended.reason if state.ended else "",
        performer=state.started.by if state.started else missing("the journal holds no beginning of a run"),
        reviewer=missing("a second person reviews and signs below"),
        signature=missing("the last hash (section 15) is to be signed and kept elsewhere"),
        controls=tuple(
            model.Control(framework=framework, control=control, sections=sections)
            for framework, control, sections in _CONTROLS
        ),
    )
