"""The databases of a restore held against their backup: what is proven, what differs, on record."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from runbook.context import Look
from runbook.couch import conflicts
from runbook.couch.client import Client, RequestRefused
from runbook.couch.comparing import sides
from runbook.couch.comparing.compare import NAMED, SAMPLE, Comparison, compare
from runbook.couch.comparing.differences import Report
from runbook.couch.comparing.sources import Cluster
from runbook.couch.conflicts import Conflicts
from runbook.couch.reading.selection import Selection
from runbook.couch.restoring.recovery import surveyed
from runbook.errors import ActionFailed, CouldNotLook

#: in a run's folder, when there are more differences than a table names
FILE = "couchdb-differences.json"
#: what ``bodies`` means: of how many documents of each database the contents are compared
SAMPLES: Mapping[str, int | None] = {"none": 0, "sample": SAMPLE, "all": None}


async def against_backup(
    look: Look,
    clients: Mapping[str, Client],
    sample: int | None,
    *,
    backup: str = "",
    only: Sequence[str] = (),
) -> tuple[list[Comparison], Path | None]:
    """Each database with what was chosen for it from a ``backup`` (this run's), and the file with all
    differences when they are many. Raises CouldNotLook, and what comparing raises."""
    try:
        found = await surveyed(look, backup=backup, only=only)
    except ActionFailed as error:
        raise CouldNotLook(error.what, next=error.next) from None
    if found.questions:
        names = ", ".join(found.questions)
        raise CouldNotLook(f"A person has to choose first which node's copy of {names} is restored.")
    selections = list(found.selections.values())
    path = look.run_dir / FILE
    compared = await asyncio.to_thread(_all, list(clients.values()), selections, sample, found.backup, path)
    return compared, path if path.exists() else None


def _all(
    clients: list[Client], selections: list[Selection], sample: int | None, backup: str, path: Path
) -> list[Comparison]:
    servers, compared = Cluster(clients, "the servers"), []
    part = path.with_suffix(".part")
    path.unlink(missing_ok=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        report = Report(cast(BinaryIO, file), backup, servers.title)
        for one in selections:
            entry = report.entry(one.target)
            there = servers.side(one.target) or sides.nothing()
            compared.append(compare(one.target, sides.chosen(one), there, sample=sample, told=entry.told))
            entry.ended(compared[-1])
        report.close(all(one.same for one in compared))
    if any(max(one.missing, one.extra, one.other, one.differing) > NAMED for one in compared):
        part.replace(path)
    else:
        part.unlink()
    return compared


def differing(compared: Sequence[Comparison]) -> list[str]:
    """In words, one for each database that is not as in the backup."""
    return [f"{one.database}: {one.words()}" for one in compared if not one.same]


def quarrels(clients: Sequence[Client], databases: Sequence[str]) -> list[Conflicts]:
    """Documents in conflict in each of these that exists. Blocks."""
    found = []
    for name in databases:
        try:
            found.append(conflicts.look(clients, name))
        except RequestRefused as error:
            if error.status != 404:
                raise
    return found
