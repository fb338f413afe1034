"""The report's files in the run's folder; that they were written goes on record."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from runbook.clock import Clock, SystemClock
from runbook.errors import StateError
from runbook.events import Event, ReportWritten
from runbook.record import journal
from runbook.record.journal import Journal
from runbook.redact import Redactor
from runbook.report import FILES, render
from runbook.report.build import build, of_run


def write(run_dir: Path) -> tuple[list[Path], ReportWritten | None]:
    """Write them (mode 0600, each replaced as a whole). Their paths, and what is to be put on record:
    nothing when it is there already, or when the journal is damaged. Raises StateError."""
    records, proved = journal.check(run_dir)
    known, extent = of_run(records, proved)
    report = build(known, extent)
    texts = {name: render(report, form).encode() for form, name in FILES.items()}
    paths = [_replace(run_dir / name, text) for name, text in texts.items()]
    hashes = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    said = ReportWritten(records=len(known), files=hashes)
    if not proved.ok or (records and records[-1].event == said):
        return paths, None
    return paths, said


def save(run_dir: Path, clock: Clock | None = None) -> list[Path]:
    """write(), and put it on record where this program can: not while another one has the run open."""
    paths, said = write(run_dir)
    if said is not None:
        with suppress(StateError):
            _record(run_dir, said, clock or SystemClock())
    return paths


def _record(run_dir: Path, said: Event, clock: Clock) -> None:
    opened = Journal.open(run_dir, clock, Redactor())
    try:
        opened.append_now(said)
    finally:
        opened.close_now()


def _replace(path: Path, text: bytes) -> Path:
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(file)
        part.replace(path)
    except OSError as error:
        raise StateError(
            f"The report {path} cannot be written: {error.strerror}.",
            next="The journal is not touched; make room and ask for the report again.",
        ) from None
    return path
