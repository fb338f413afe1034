"""Has anything been changed since? Journal, output files and saved report, against each other.

Everything is compared with the journal, offline. What the journal proves:

- its records: each by its hash, their order and number by their links; that none was cut off the
  end, by a report that was written after it;
- output files: every one that an act's end names is there, and is what it was;
- the report: its files' hashes go on record when they are written, so one that is gone or changed is
  seen. One that is not on record (an older program, or the journal was open elsewhere) is proved by
  being exactly what the journal gives; whether such a one was deleted cannot be known, so a report
  that is neither on record nor there is a remark. So is output of an act without an end.

What nobody can see here: a journal that was written anew as a whole, or cut off together with its
report; for that the last hash is kept elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook.events import Record, ReportWritten
from runbook.record import journal
from runbook.record.journal import Verification
from runbook.record.output import FOLDER
from runbook.record.state import RunState, replay
from runbook.report import FILES, render
from runbook.report.build import build, of_run
from runbook.report.data import evidence


@dataclass(frozen=True)
class VerifyResult:
    """``files`` is the number of output and report files that were compared; ``problems`` name
    what was changed, ``remarks`` what is worth knowing and no change. ``head`` is the hash of the run's
    last record, as its report says it."""

    ok: bool
    records: int
    files: int
    head: str
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def verify(run_dir: Path) -> VerifyResult:
    """Raises StateError when there is no journal to read."""
    everything, proved = journal.check(run_dir)
    records, extent = of_run(everything, proved)
    problems = [f"journal: {problem}" for problem in proved.problems]
    remarks: list[str] = []
    state = replay(everything)
    files = 0
    named = set()
    for each in evidence(state):
        files += 1
        named.add(each.path)
        problem = _compare(run_dir, each.path, each.bytes, each.sha256)
        if problem:
            problems.append(f"{each.path}: {problem}")
    for path in _unnamed(run_dir, named):
        if _of_open_act(path, state):
            remarks.append(f"{path}: of an act that never ended; the journal has no hash of it")
        else:
            problems.append(f"{path}: the journal does not name this file")
    for form, name in FILES.items():
        if os.path.lexists(run_dir / name):
            files += 1
            problem, remark = _saved(run_dir / name, form, records, extent, state)
        elif state.report and name in state.report.files:
            problem, remark = "is missing: the journal says that it was written", ""
        else:
            problem, remark = "", "not on record as written, and not there"
        problems += [f"{name}: {problem}"] if problem else []
        remarks += [f"{name}: {remark}"] if remark else []
    return VerifyResult(
        ok=not problems,
        records=proved.records,
        files=files,
        head=extent.head,
        problems=tuple(problems),
        remarks=tuple(remarks),
    )


def _compare(run_dir: Path, path: str, count: int, digest: str) -> str:
    parts = Path(path).parts
    if parts[:1] != (FOLDER,) or ".." in parts or len(parts) != 2:
        return "the journal names a place outside the run's output folder"
    try:
        file = os.open(run_dir / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    with os.fdopen(file, "rb") as opened:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            return "is no plain file"
        if found.st_size != count:
            return f"has {found.st_size} bytes, the journal says {count}"
        if hashlib.file_digest(opened, "sha256").hexdigest() != digest:
            return "was changed (its SHA-256 is not the journal's)"
    return ""


def _unnamed(run_dir: Path, named: set[str]) -> Iterator[str]:
    folder = run_dir / FOLDER
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if (name := f"{FOLDER}/{path.name}") not in named:
                yield name


def _of_open_act(path: str, state: RunState) -> bool:
    """Could an act (or a followed job) that has no end on record have written it?"""
    name = path.removeprefix(f"{FOLDER}/")
    return any(
        name.startswith(f"{step.id}.{attempt.number}.{host.name}") and host.ended is None
        for step in state.steps.values()
        for attempt in step.attempts
        for host in attempt.hosts.values()
    )


def _saved(
    path: Path, form: str, records: Sequence[Record], proved: Verification, state: RunState
) -> tuple[str, str]:
    """(problem, remark) of a report that is there. It is what was put on record as written, or what
    the journal gives now, or gave when it was shorter; anything else was changed."""
    try:
        saved = path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}", ""
    written = state.report
    if written and hashlib.sha256(saved).hexdigest() == written.files.get(path.name):
        return "", _age(records, written.records)
    if saved == render(build(records, proved), form).encode():
        return "", ""
    hashes = {found.decode() for found in re.findall(rb"\b[0-9a-f]{64}\b", saved)}
    for count in range(len(records) - 1, 0, -1):
        head = records[count - 1].hash
        if head not in hashes:
            continue
        earlier = Verification(True, count, head)
        if proved.ok and saved == render(build(records[:count], earlier), form).encode():
            return "", _age(records, count)
    return "is not what the journal gives: it was changed after it was written", ""


def _age(records: Sequence[Record], count: int) -> str:
    """That the run went on after the report; that reports were written is no news."""
    since = sum(not isinstance(record.event, ReportWritten) for record in records[count:])
    return f"made after record {count}; {since} have come since" if since else ""
