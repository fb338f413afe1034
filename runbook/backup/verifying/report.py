"""A verification as it is told: to programs as JSON, to a worker's caller, to the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from runbook import __version__
from runbook.backup import ledger, sums
from runbook.backup.ledger import Entry, Verdict
from runbook.backup.verify import Verified, verify
from runbook.backup.verifying.earlier import SHARE
from runbook.backup.verifying.findings import Finding
from runbook.errors import RunbookError


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be verified where it lies, and against what (see verify)."""

    path: str
    roots: tuple[str, ...] = ("/backup",)
    expected: tuple[str, ...] = ()
    largest: int = 0
    rpo: float = 0
    domain: str = ""
    base: str = "10.0.1.10"
    share: float = SHARE
    among: str = ""  #: the folder that holds the others, where it does not lie beside them
    write_sums: bool = False
    by: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """``ledger``: the file in which it is on record; ``unrecorded``: why it is not. ``written``: the list
    of SHA-256s that was made."""

    id: str
    path: str
    at: datetime
    verdict: Verdict
    made: datetime | None
    way: str | None
    files: int
    bytes: int
    nodes: tuple[str, ...]
    documents: dict[str, int]
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    unproven: tuple[str, ...]
    lacks: tuple[str, ...]
    earlier: str
    print: str
    listed: bool
    ledger: str = ""
    unrecorded: str = ""
    written: str = ""
    machine: str = ""  #: where it lies, when not on this PC


def carry_out(
    order: Order, tick: Callable[[int, int], None] | None = None, stop: threading.Event | None = None
) -> Report:
    """Verify, put it on record in the folder that holds the backup, and write a list of SHA-256s if that
    was asked for. Raises as verify does."""
    report, found = examined(order, tick, stop)
    if order.write_sums:
        report = _with_sums(report, found)
    folder = Path(found.backup.path).parent
    try:
        ledger.add(folder, entry(report, order.by))
        return msgspec.structs.replace(report, ledger=str(folder / ledger.NAME))
    except OSError as error:
        text = f"{folder / ledger.NAME} could not be written: {error.strerror}"
        return msgspec.structs.replace(report, unrecorded=text)


def examined(
    order: Order, tick: Callable[[int, int], None] | None = None, stop: threading.Event | None = None
) -> tuple[Report, Verified]:
    """Verify alone; nothing is written anywhere. Raises as verify does."""
    found = verify(
        Path(order.path),
        roots=order.roots,
        expected=order.expected,
        largest=order.largest,
        now=datetime.now(UTC),
        rpo=order.rpo,
        domain=order.domain,
        base=order.base,
        share=order.share,
        among=Path(order.among) if order.among else None,
        tick=tick,
        stop=stop,
    )
    return _report(found), found


def _report(found: Verified) -> Report:
    """Text as JSON can hold it: a file's name may be no UTF-8."""
    backup = found.backup
    report = Report(
        id=backup.id,
        path=backup.path,
        at=datetime.now(UTC).replace(microsecond=0),
        verdict=found.verdict,
        made=backup.made,
        way=found.way,
        files=len(backup.files),
        bytes=backup.bytes,
        nodes=tuple(sorted(backup.nodes)),
        documents=found.documents,
        problems=found.problems,
        remarks=found.remarks,
        notes=found.notes,
        findings=found.findings,
        unproven=found.unproven,
        lacks=found.lacks,
        earlier=found.earlier,
        print=found.print,
        listed=found.listed,
    )
    return msgspec.convert(_clean(msgspec.to_builtins(report)), Report)


def _clean(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_clean(key): _clean(one) for key, one in value.items()}
        case list() | tuple():
            return [_clean(one) for one in value]
    return value


def _with_sums(report: Report, found: Verified) -> Report:
    if report.verdict == "damaged" or report.listed:
        return report  # a list of what is damaged would vouch for it
    try:
        return msgspec.structs.replace(report, written=str(sums.store(Path(found.backup.path), found.sums)))
    except RunbookError as error:
        return msgspec.structs.replace(report, remarks=(*report.remarks, error.what))


def entry(report: Report, by: str) -> Entry:
    """For the ledger."""
    said = (*report.problems, *report.remarks)
    return Entry(
        id=report.id,
        path=report.path,
        at=report.at,
        verdict=report.verdict,
        first=said[0][:500] if said else "",
        problems=len(report.problems),
        remarks=len(report.remarks),
        documents=sum(report.documents.values()),
        bytes=report.bytes,
        print=report.print,
        by=by,
        program=__version__,
    )
