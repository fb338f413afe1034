"""The folders of runs: ``<state>/runs/<run id>/``, their names, and a cheap look at each."""

from __future__ import annotations

import os
import re
import unicodedata
from datetime import UTC
from pathlib import Path

import msgspec

from runbook import chain
from runbook.clock import Clock
from runbook.errors import StateError
from runbook.events import Record, RunEnded, RunResumed, RunStarted
from runbook.lock import held

#: what is read of a journal's end for its summary
_END = 65_536
_LONGEST_FIRST_LINE = 4_000_000


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """``started`` and ``last`` are UTC, ISO 8601. ``status``: running (a process has it open),
    unfinished, stopped, passed, completed with deviations, failed, or unreadable. ``step``: the one
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
    """All runs, newest first. Only the first record and the end of each journal are read."""
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
        first, end = _first_and_end(folder / "journal.jsonl")
    except OSError:
        return unreadable
    if first is None or not isinstance(first.event, RunStarted):
        return unreadable
    status, step = "unfinished", ""
    for record in end:
        event = record.event
        if isinstance(event, RunEnded):
            status = event.verdict
        elif isinstance(event, RunResumed):
            status = "unfinished"
        step = getattr(event, "step", "") or step
    if status in ("unfinished", "stopped") and held(folder / "journal.lock"):
        status = "running"
    started = first.event
    return RunSummary(
        id=folder.name,
        path=str(folder),
        guide=started.guide_name,
        title=started.title,
        mode=started.mode,
        by=started.by,
        started=first.at,
        last=end[-1].at if end else first.at,
        status=status,
        step=step,
        lab=started.lab,
    )


def _first_and_end(path: Path) -> tuple[Record | None, list[Record]]:
    with path.open("rb") as file:
        first = chain.parse(file.readline(_LONGEST_FIRST_LINE).rstrip(b"\n"))
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _END, 0))
        whole = file.read(_END).split(b"\n")[:-1]
    parsed = (chain.parse(raw) for raw in whole[1 if size > _END else 0 :])
    return (first[0] if first else None), [found[0] for found in parsed if found]
