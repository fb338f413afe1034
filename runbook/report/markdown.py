"""The report as Markdown, to read and to compare. Every text from outside goes through cell()."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from runbook.report import model
from runbook.report.stepmarkdown import step_lines
from runbook.report.words import checks_table, facts, sized, table, took, when
from runbook.text import cell

_TITLES = (
    "Identity",
    "Scope",
    "People",
    "Objectives",
    "Clock",
    "Backup used",
    "Integrity",
    "Steps",
    "Steps not run",
    "Deviations",
    "Issues",
    "Observations",
    "Action items",
    "Clean-up",
    "Evidence manifest",
    "Verdict and sign-off",
)


_MET = {True: "met", False: "MISSED", None: "cannot be said"}


def markdown(report: model.Report) -> str:
    """All sixteen sections; what a run cannot know says "not recorded"."""
    bodies = (
        _identity(report.identity),
        _scope(report.scope),
        _people(report.people),
        _objectives(report.objectives),
        _clock(report.clock),
        _backup(report.backup),
        _integrity(report.integrity),
        [line for step in report.steps for line in step_lines(step)] or ["No step was begun."],
        _not_run(report.not_run),
        _deviations(report),
        _issues(report.issues),
        _observations(report.observations),
        [cell(report.actions)],
        _clean_up(report.clean_up),
        _manifest(report.manifest),
        _verdict(report.verdict),
    )
    lines = [
        f"# Drill report: {cell(report.identity.title)}",
        "",
        f"**{cell(report.verdict.statement)}**",
        "",
        f"{cell(report.identity.weight)} Times are UTC. *observed*: this program looked; "
        "*attested*: a person's word; *simulated*: seen in the practice lab.",
    ]
    for number, (title, body) in enumerate(zip(_TITLES, bodies, strict=True), 1):
        lines += ["", f"## {number}. {title}", "", *body]
    return "\n".join(lines).rstrip("\n") + "\n"


def _identity(part: model.Identity) -> list[str]:
    return facts(
        ("Run", part.run),
        ("Guide", f"{part.title} ({part.guide})"),
        ("Guide's SHA-256", part.guide_sha256),
        ("Mode", part.mode),
        ("Scenario", part.scenario),
        ("Environment", part.environment),
        ("Started", when(part.started)),
        ("Ended", when(part.ended)),
        ("Tool version", ", ".join(part.tools)),
        ("Operator's PC", ", ".join(part.pcs)),
        *((("Practice lab", part.lab),) if part.lab else ()),
        ("Previous drill", part.previous),
    )


def _scope(part: model.Scope) -> list[str]:
    return facts(
        ("Machines in", ", ".join(part.machines) or "none yet"),
        ("Machines out", part.machines_out),
        ("Simulated", "; ".join(part.simulated) or "nothing"),
        ("Assumptions", part.assumptions),
        ("Reduced resources", part.reduced),
    )


def _people(part: tuple[model.Person, ...]) -> list[str]:
    return table(
        ("name", "role", "first seen", "last seen", "did"),
        [(each.name, each.role, when(each.first), when(each.last), each.did) for each in part],
    )


def _objectives(part: model.Objectives) -> list[str]:
    rows = [
        (
            name,
            took(each.target) if each.target is not None else "not recorded",
            took(each.actual) if each.actual is not None else "not known",
            _margin(each.margin),
            f"{_MET[each.met]}{' (simulated)' if part.simulated and each.met is not None else ''}",
            each.basis,
        )
        for name, each in (("RTO", part.rto), ("RPO", part.rpo))
    ]
    return [
        *table(("objective", "target", "actual", "margin", "", "basis"), rows),
        "",
        "Success criteria: each step, judged by its checks.",
        "",
        *table(
            ("step", "title", "result", "detail"),
            [(each.step, each.title, each.result, each.detail) for each in part.criteria],
        ),
    ]


def _margin(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"over by {took(-seconds)}" if seconds < 0 else took(seconds)


def _clock(part: model.Clock) -> list[str]:
    return [
        *table(
            ("moment", "time", "since the start"),
            [
                (each.what, when(each.at), took(each.seconds) if each.seconds is not None else "")
                for each in part.moments
            ],
        ),
        "",
        *facts(
            ("Whole time", took(part.elapsed)),
            ("of it waiting for people", took(part.waiting)),
            ("of it the program was away", took(part.away)),
            ("of it machine time", took(part.machine)),
        ),
        "",
        "Questions and answers:",
        "",
        *table(
            ("asked", "step", "question", "answer", "by", "via", "waited"),
            [
                (
                    when(each.at),
                    each.step,
                    f"{each.kind}: {' '.join(each.question.splitlines())}",
                    f"{each.answer} — {each.reason}" if each.reason else each.answer,
                    each.by,
                    each.via,
                    took(each.seconds) if each.seconds is not None else "",
                )
                for each in part.waits
            ],
        ),
    ]


def _backup(part: model.Backup) -> list[str]:
    return facts(
        ("Id", part.id),
        ("Time", when(part.time)),
        ("Tier", part.tier),
        ("Place", part.place),
        ("Size", sized(part.bytes) if part.bytes is not None else "not recorded: no step put it on record"),
        ("Checksum", part.checksum),
        ("How it was verified", part.verified),
    )


def _integrity(part: model.Integrity) -> list[str]:
    databases = [
        (
            each.database,
            "?" if each.expected is None else each.expected,
            "?" if each.actual is None else each.actual,
            "equal" if each.equal else "DIFFERENT",
            ", ".join(each.refused),
            each.label,
        )
        for each in part.databases
    ]
    copies = [
        (each.database, each.ranges, each.copies, "equal" if each.equal else "DIFFERENT", each.label)
        for each in part.copies
    ]
    lines = ["Documents:", ""]
    lines += table(("database", "in the dump", "restored", "", "refused", "evidence"), databases)
    lines += ["", "Copies of each shard range:", ""]
    lines += table(("database", "ranges", "copies", "", "evidence"), copies)
    lines += [
        "",
        "Comparisons (copies of `_users` also hold `_design/_auth`, which CouchDB makes itself):",
        "",
    ]
    lines += checks_table(part.comparisons)
    return [*lines, "", "Application:", "", *checks_table(part.application)]


def _not_run(part: tuple[model.NotRun, ...]) -> list[str]:
    return table(("step", "title", "reason"), [(each.step, each.title, each.reason) for each in part])


def _deviations(report: model.Report) -> list[str]:
    def rows(part: Iterable[model.Departed]) -> list[Sequence[Any]]:
        return [(when(each.at), each.step, each.kind, each.text, each.reason, each.by) for each in part]

    head = ("time", "step", "kind", "what", "reason", "by")
    return [
        *table(head, rows(report.deviations)),
        "",
        "Remarks, which do not keep a run from passing:",
        "",
        *table(head, rows(report.remarks)),
    ]


def _issues(part: tuple[model.Issue, ...]) -> list[str]:
    lines: list[str] = []
    for number, each in enumerate(part, 1):
        lines += [f"### Issue {number}", ""] if not lines else ["", f"### Issue {number}", ""]
        lines += facts(
            ("Time", when(each.at)),
            ("Step", each.step or "the run"),
            ("Symptom", each.symptom),
            ("Cause", each.cause),
            ("Solution", each.solution),
            ("Time lost", took(each.lost) if each.lost is not None else "not recorded"),
            ("Severity", each.severity),
            ("Change to the guide", each.guide_change),
            ("Evidence", f"{each.label}{f' by {each.by}' if each.by else ''}"),
        )
    return lines or ["None on record."]


def _observations(part: tuple[model.Observation, ...]) -> list[str]:
    return table(
        ("time", "step", "observation", "by", "evidence"),
        [(when(each.at), each.step, each.text, each.by, each.label) for each in part],
    )


def _clean_up(part: tuple[model.CleanUp, ...]) -> list[str]:
    return table(("what", "state"), [(each.what, each.state) for each in part])


def _manifest(part: model.Manifest) -> list[str]:
    chain = "whole: every record's hash and link fit" if part.intact else "DAMAGED OR CHANGED"
    return [
        *facts(
            (
                "Journal",
                f"{part.records} records of the run, {chain}; that this report was written follows them",
            ),
            ("Last hash", part.head),
            *(("Problem", problem) for problem in part.problems),
            *(
                ("Not understood", f"{count} × {kind}, written by a newer program")
                for kind, count in part.unknown_events.items()
            ),
        ),
        "",
        *table(
            ("file", "bytes", "SHA-256", "step", "attempt", "host"),
            [(each.path, each.bytes, each.sha256, each.step, each.attempt, each.host) for each in part.files],
        ),
        "",
        "A chain whose owner can compute it anew proves nothing by itself: keep the last hash elsewhere. "
        "`runbook report verify` compares journal, files and this report, offline.",
    ]


def _verdict(part: model.Verdict) -> list[str]:
    return [
        *facts(
            ("Verdict", part.statement),
            *((("Reason", part.reason),) if part.reason else ()),
            ("Performed by", part.performer),
            ("Reviewed by", part.reviewer),
            ("Signature", part.signature),
        ),
        "",
        "Performer, date: ______________________ Reviewer, date: ______________________",
        "",
        *table(
            ("framework", "control", "shown in sections"),
            [(each.framework, each.control, each.sections) for each in part.controls],
        ),
    ]
