"""Sections 6, 7 and 15: the backup used, whether the data came back whole, the evidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runbook.record.journal import Verification
from runbook.record.state import Note, RunState
from runbook.report import model
from runbook.report.model import missing
from runbook.report.steps import all_checks, label_of

_COMPARISONS = ("couchdb.contents_match", "couchdb.copies_equal")
_APPLICATION = ("openedx.", "tls.", "dns.")


def _notes(state: RunState, kind: str) -> Iterator[Note]:
    for step in state.steps.values():
        for attempt in step.attempts:
            for note in attempt.notes:
                if note.data.get("kind") == kind:
                    yield note


def _text(data: Any, *names: str) -> str:
    for name in names:
        if data.get(name) not in (None, ""):
            return str(data[name])
    return ""


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def backup(state: RunState) -> model.Backup:
    """The newest note of kind "backup"; where it is silent, what a step saved."""
    data: dict[str, Any] = {}
    for note in _notes(state, "backup"):
        data = dict(note.data)
    outputs, why = state.outputs, missing("no step put it on record")
    verified = [check for check in all_checks(state) if check.check.startswith("backup.verified")]
    how = "; ".join(f"{check.verdict} on {check.host}: {check.observed}" for check in verified[-1:])
    return model.Backup(
        id=_text(data, "id") or _text(outputs, "backup_id") or why,
        time=_text(data, "time", "date", "backup_date") or why,
        tier=_text(data, "tier") or why,
        place=" · ".join(
            part
            for part in (_text(data, "place"), _text(data, "path") or _text(outputs, "backup_path"))
            if part
        )
        or why,
        bytes=_number(data.get("bytes")),
        checksum=_text(data, "checksum") or why,
        verified="; ".join(part for part in (_text(data, "how"), how) if part) or why,
    )


def integrity(state: RunState) -> model.Integrity:
    databases: dict[str, model.Database] = {}
    for note in _notes(state, "restore"):
        data = note.data
        expected, actual = _number(data.get("expected")), _number(data.get("actual"))
        refused = data.get("refused")
        refused = [str(each) for each in refused] if isinstance(refused, list | tuple) else []
        name = _text(data, "database") or "?"
        databases[name] = model.Database(
            database=name,
            expected=expected,
            actual=actual,
            equal=expected is not None and expected == actual and not refused,
            refused=tuple(refused),
            label=label_of(state),
        )
    copies = {
        _text(note.data, "database"): model.Copies(
            database=_text(note.data, "database") or "?",
            ranges=_number(note.data.get("ranges")),
            copies=_number(note.data.get("copies")),
            equal=note.data.get("equal") is True,
            label=label_of(state),
        )
        for note in _notes(state, "copies")
    }
    newest = {}
    for check in all_checks(state):
        newest[(check.check, check.host)] = check
    return model.Integrity(
        databases=tuple(databases[name] for name in sorted(databases)),
        copies=tuple(copies[name] for name in sorted(copies)),
        comparisons=tuple(each for each in newest.values() if each.check.startswith(_COMPARISONS)),
        application=tuple(each for each in newest.values() if each.check.startswith(_APPLICATION)),
    )


def manifest(state: RunState, verification: Verification) -> model.Manifest:
    return model.Manifest(
        files=tuple(evidence(state)),
        records=verification.records,
        head=verification.head,
        intact=verification.ok,
        problems=verification.problems,
        unknown_events=dict(sorted(state.unknown_events.items())),
    )


def evidence(state: RunState) -> Iterator[model.Evidence]:
    """Every file whose hash is in the journal: of acts, and of jobs followed after a resumption."""
    for step in state.steps.values():
        for attempt in step.attempts:
            found = [
                (host.ended.output, host.ended.output_bytes, host.ended.output_sha256, host.name)
                for host in attempt.hosts.values()
                if host.ended and host.ended.output
            ]
            found += [
                (str(note.data["output"]), _number(note.data.get("output_bytes")) or 0,
                 str(note.data.get("output_sha256", "")), note.host)
                for note in attempt.notes
                if note.data.get("output") and note.data.get("output_sha256")
            ]  # fmt: skip
            for path, count, digest, host_name in found:
                yield model.Evidence(
                    path=path,
                    bytes=count,
                    sha256=digest,
                    step=step.id,
                    attempt=attempt.number,
                    host=host_name,
                )
