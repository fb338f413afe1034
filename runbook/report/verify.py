"""Has anything been changed since? Journal, output files and saved report, against each other.

Everything is compared with the journal, offline. What this cannot see: a journal that was written
anew as a whole; for that its last hash is kept elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runbook import journal
from runbook.errors import StateError
from runbook.events import Record
from runbook.journal import Verification
from runbook.output import FOLDER
from runbook.report import FILES, render
from runbook.report.build import build
from runbook.report.data import evidence
from runbook.state import RunState, replay


@dataclass(frozen=True)
class VerifyResult:
    """``files`` is the number of output and report files that were compared; ``problems`` name
    what was changed, ``remarks`` what is worth knowing and no change."""

    ok: bool
    records: int
    files: int
    head: str
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def verify(run_dir: Path) -> VerifyResult:
    """Raises StateError when there is no journal to read."""
    records, proved = journal.check(run_dir)
    problems = [f"journal: {problem}" for problem in proved.problems]
    remarks: list[str] = []
    state = replay(records)
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
        if (run_dir / name).exists():
            files += 1
            _saved(run_dir, form, name, records, proved, problems, remarks)
        else:
            remarks.append(f"{name}: not saved yet")
    return VerifyResult(
        ok=not problems,
        records=proved.records,
        files=files,
        head=proved.head,
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
    run_dir: Path,
    form: str,
    name: str,
    records: list[Record],
    proved: Verification,
    problems: list[str],
    remarks: list[str],
) -> None:
    """The saved report must be what the journal gives now, or what it gave when it was shorter."""
    try:
        saved = (run_dir / name).read_bytes()
    except OSError as error:
        problems.append(f"{name}: cannot be read: {error.strerror}")
        return
    if saved == render(build(records, proved), form).encode():
        return
    hashes = {found.decode() for found in re.findall(rb"\b[0-9a-f]{64}\b", saved)}
    for count in range(len(records) - 1, 0, -1):
        head = records[count - 1].hash
        if head not in hashes:
            continue
        earlier = Verification(True, count, head)
        if proved.ok and saved == render(build(records[:count], earlier), form).encode():
            remarks.append(f"{name}: made after record {count}; {len(records) - count} have come since")
            return
    problems.append(f"{name}: is not what the journal gives")


def save(run_dir: Path) -> list[Path]:
    """See report.save()."""
    report = build(*journal.check(run_dir))
    return [_replace(run_dir / name, render(report, form)) for form, name in FILES.items()]


def _replace(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as opened:
            opened.write(text.encode())
            opened.flush()
            os.fsync(file)
        part.replace(path)
    except OSError as error:
        raise StateError(
            f"The report {path} cannot be written: {error.strerror}.",
            next="The journal is not touched; make room and ask for the report again.",
        ) from None
    return path
