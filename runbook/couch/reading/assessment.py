"""Dumps as somebody found them: files, folders, whole backups; each judged, copies compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from runbook.couch.reading.inspection import DumpDamaged, Inspection
from runbook.couch.reading.judging import judge
from runbook.couch.reading.reader import database_name
from runbook.couch.reading.selection import NEVER, Question, Selection, choose, find
from runbook.couch.reading.survey import why_never
from runbook.errors import UseError

#: database -> copy (the node's address where it is known) -> file
Dumps = dict[str, dict[str, Path]]


class Assessed(msgspec.Struct, frozen=True, kw_only=True):
    """One database: its copies, and what a restore would take of them. Exactly one of ``chosen``,
    ``question`` and ``refused`` (why nothing is taken) says so."""

    database: str
    copies: dict[str, Inspection]
    chosen: Selection | None = None
    question: Question | None = None
    refused: str = ""

    @property
    def damaged(self) -> bool:
        """Is any copy such that something is lost by it?"""
        return any(one.fatal or _short(one) for one in self.copies.values())


def _short(one: Inspection) -> bool:
    return one.total_rows is not None and one.rows < one.total_rows


def gather(paths: Sequence[Path]) -> Dumps:
    """Files; the folder of a backup or of one of its nodes. Raises UseError."""
    found: Dumps = {}
    for path in paths:
        for database, node, file in _dumps(path):
            copies = found.setdefault(database, {})
            if file not in copies.values():
                copies[str(file) if node in copies else node] = file
    return dict(sorted(found.items()))


def _dumps(path: Path) -> Iterator[tuple[str, str, Path]]:
    if path.is_file():
        yield database_name(path), _node(path), path
        return
    if not path.is_dir():
        raise UseError(f"{path} does not exist.", next="Give dumps, or a backup's folder.")
    nodes: Mapping[str, Mapping[str, Path]] = find(path)
    if not nodes:  # the folder of one node
        nodes = {name: copies for name, copies in find(path.parent).items() if path in _folders(copies)}
    if not nodes:
        raise UseError(f"{path} holds no dumps of databases.", next="Give dumps, or a backup's folder.")
    for database, copies in nodes.items():
        for node, file in copies.items():
            if path in (file.parent, file.parent.parent):
                yield database, node, file


def _folders(copies: Mapping[str, Path]) -> set[Path]:
    return {file.parent for file in copies.values()}


def _node(file: Path) -> str:
    folder = file.absolute().parent.name
    if not folder.startswith("node-"):
        return str(file)
    return folder.removeprefix("node-") + (" (gz)" if file.name.endswith(".gz") else "")


def assess(database: str, dumps: Mapping[str, Path], *, limit: int = 0, base: str) -> Assessed:
    """Blocks. ``limit``, ``base``: see ``choose``. Raises OSError."""
    copies = {node: judge(path, limit) for node, path in dumps.items()}
    if database in NEVER:
        return Assessed(database=database, copies=copies, refused=why_never(database))
    try:
        one = choose(database, dumps, limit=limit, base=base)
    except DumpDamaged as damage:
        return Assessed(database=database, copies=copies, refused=damage.problem.text)
    if isinstance(one, Question):
        return Assessed(database=database, copies=copies, question=one)
    return Assessed(database=database, copies=copies, chosen=one)
