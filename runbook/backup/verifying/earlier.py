"""This backup beside the one before it: is a database gone, are there far fewer documents?

Of the earlier one only the beginnings of its dumps are read, where they announce their rows.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from runbook.backup import layout, manifest
from runbook.backup.layout import Backup
from runbook.backup.verifying.findings import Findings
from runbook.backup.verifying.source import Content
from runbook.couch.reading import places
from runbook.couch.reading.reader import database_name

#: documents may be fewer by this share of them before it is worth a look
SHARE = 0.1
#: what may come and go by itself
_PASSING = ("_replicator", "_global_changes")
_DUMP = re.compile(r"node-[^/]+/[^/]+\.json")


def find(content: Content, made: datetime | None, among: Path) -> Backup | None:
    """The newest complete backup in that folder that is older than this one. Raises OSError."""
    if made is None:
        return None
    found = []
    for folder in among.iterdir():
        if folder == content.path or layout.set_aside(folder.name):
            continue
        if folder.is_symlink() or not (folder / manifest.NAME).is_file():
            continue
        one = _described(folder)
        if one.complete and one.made and one.made < made:
            found.append(one)
    return max(found, key=lambda one: one.made or made, default=None)


def _described(folder: Path) -> Backup:
    """By names alone, links not followed."""
    files = layout.sizes(folder)
    raw = manifest.read(folder / manifest.NAME)
    return layout.describe(folder.name, "operator", "local", str(folder), files, raw)


def announced(backup: Backup) -> dict[str, int | None]:
    """database -> the most rows that a node's dump announces; None where it does not tell. Raises OSError."""
    found: dict[str, int | None] = {}
    for name in backup.files:
        if _DUMP.fullmatch(name):
            with (Path(backup.path) / name).open("rb") as file:
                head = places.TOTAL.search(file.read(4096))
            database = database_name(Path(name))
            count = int(head[1]) if head else None
            before = found.get(database)
            found[database] = count if before is None else before if count is None else max(before, count)
    return found


def compare(
    content: Content,
    made: datetime | None,
    share: float,
    found: Findings,
    wanted: tuple[str, ...],
    among: Path,
) -> str:
    """The id of the earlier one; "" when there is none. Never raises for what is wrong with that one."""
    try:
        before = find(content, made, among)
        rows = announced(before) if before else {}
    except OSError as error:
        found.add("earlier one", "unjudged", f"no earlier backup could be read: {error.strerror}")
        return ""
    if before is None:
        found.add("earlier one", "unjudged", "no earlier complete backup lies beside it to compare with")
        return ""
    now = {
        database: max((one.dump.rows for one in copies.values() if one.dump), default=0)
        for database, copies in content.dumps().items()
    }
    worse = False
    for database, count in sorted(rows.items()):
        if database in _PASSING:
            continue
        if database not in now:
            state = "doubt" if wanted and database not in wanted else "wrong"
            found.add("earlier one", state, f"{database} was in {before.id}, and is gone")  # type: ignore[arg-type]
            worse = True
        elif count and now[database] < count * (1 - share):
            fewer = 1 - now[database] / count
            text = (
                f"{database} has {now[database]} documents, {fewer:.0%} fewer than {before.id} had ({count})"
            )
            found.add("earlier one", "doubt", text)
            worse = True
    if not worse:
        found.add(
            "earlier one",
            "good",
            f"no database is gone or has {share:.0%} fewer documents than in {before.id}",
        )
    return before.id
