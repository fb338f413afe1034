"""The folders of runs: ``<state>/runs/<run id>/``, their names, and a cheap look at each."""

from __future__ import annotations

import os
import re
import unicodedata
from datetime import UTC
from pathlib import Path

import msgspec

from runbook.clock import Clock
from runbook.errors import StateError
from runbook.events import RunEnded, RunResumed, RunStarted
from runbook.record import chain
from runbook.record.lock import held

#: what is read of a journal's end for its summary
_END = 16_384
_LONGEST_FIRST_LINE = 4_000_000


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """``started`` and ``last`` are UTC, ISO 8601. ``status``: running (a process has it open),
    unfinished, stopped, passed, completed with deviations, failed, damaged, or unreadable. ``step``: the one
    that the last record is about; ``lab``: the practice lab it ran on."""

    id: str
    path: str
    guide: str = ""
    title: str = ""
    mode: str = ""
    by: str = ""
    started: str = ""
    last: str = ""
    status: str = "unreadable"
    step: str = ""
    lab: str = ""
    #: of a damaged one: which record is wrong, and how
    problem: str = ""

    @property
    def unfinished(self) -> bool:
        return self.status in ("unfinished", "stopped", "running")


def slug(text: str) -> str:
    """A name that is safe in every file system and command line."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")
    return name[:100].rstrip("-._") or "run"


def new_run_id(state: Path, guide: str, mode: str, clock: Clock, name: str = "") -> str:
    """An id that no run has: ``name`` made safe, or ``20261124-0232-practice-full-system-restore``
    (the minute in UTC), with ``-2`` and so on when that is taken. Raises StateError when ``name``
    is taken: a person chose it, so a person chooses another."""
    if name:
        if (state / "runs" / slug(name)).exists():
            raise StateError(
                f"There is already a run named {slug(name)}.",
                next=f"Choose another name, or go on with it: runbook resume {slug(name)}",
            )
        return slug(name)
    base = slug(f"{clock.now().astimezone(UTC):%Y%m%d-%H%M}-{mode}-{guide}")
    number = 1
    while (state / "runs" / (taken := f"{base}-{number}" if number > 1 else base)).exists():
        number += 1
    return taken


def runs(state: Path) -> list[RunSummary]:
    """All runs, newest first. Only the first record and the last ones of each journal are read.

    What the list proves: the first record is what was written; so is each of the last ones, and none of
    them is missing (but the newest could be cut off). A journal of which that is not true is "damaged". A
    change in between is not seen here: `report verify` proves every record, and the files with them. A
    last line without an end is no damage: it is what a kill leaves, and resuming sets it aside.
    """
    try:
        folders = [path for path in (state / "runs").iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateError(f"{state / 'runs'} cannot be read: {error.strerror}.") from None
    return sorted((_summary(path) for path in folders), key=lambda run: (run.started, run.id), reverse=True)


def _summary(folder: Path) -> RunSummary:
    unreadable = RunSummary(id=folder.name, path=str(folder))
    try:
        head, end = _first_and_end(folder / "journal.jsonl")
    except OSError:
        return unreadable
    first = head.records[0] if head.records else None
    if first is None or not isinstance(first.event, RunStarted):
        return unreadable
    status, step = "unfinished", ""
    for record in end.records:
        event = record.event
        if isinstance(event, RunEnded):
            status = event.verdict
        elif isinstance(event, RunResumed):
            status = "unfinished"
        step = getattr(event, "step", "") or step
    if status in ("unfinished", "stopped") and held(folder / "journal.lock"):
        status = "running"
    problem = next(iter(head.problems + end.problems), "")
    started = first.event
    return RunSummary(
        id=folder.name,
        path=str(folder),
        guide=started.guide_name,
        title=started.title,
        mode=started.mode,
        by=started.by,
        started=first.at,
        last=end.records[-1].at if end.records else first.at,
        status="damaged" if problem else status,
        step=step,
        lab=started.lab,
        problem=problem,
    )


def _first_and_end(path: Path) -> tuple[chain.Scan, chain.Scan]:
    """The first record, and the last ones: at least one, where there are whole lines."""
    with path.open("rb") as file:
        head = chain.scan(file.readline(_LONGEST_FIRST_LINE))
        size = file.seek(0, os.SEEK_END)
        length = _END
        while length < size:
            file.seek(size - length)
            data = file.read(length)
            start = data.find(b"\n") + 1  # the line before it is not whole
            if 0 < start < data.rfind(b"\n"):
                return head, chain.scan_end(data[start:])
            length *= 8
        file.seek(0)
        return head, chain.scan(file.read(size))
