"""A dump as a whole: is it sound, what does it hold? And its rows, for those who restore or compare.

``inspect`` reads a file once, to its end where it can, and tells everything that is wrong with
it; nothing is restored from a dump that has a fatal problem. What the servers will refuse
(attachment stubs, documents over their limit) is found here, before anything is sent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec

from runbook import units
from runbook.couch.reader import BEARABLE, Kind, Problem, Reader, Row, database_name, revision
from runbook.errors import RunbookError

#: ids named in a problem; the count is always whole
NAMED = 20


class DumpDamaged(RunbookError):
    def __init__(self, path: Path, problem: Problem) -> None:
        self.problem = problem
        super().__init__(f"{problem.text} ({path})", next="Fetch the backup again or use another one.")


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a dump holds. ``digest``: SHA-256 over ids, revisions and documents in their order."""

    path: str
    database: str
    bytes: int  #: of the file
    documents: int  #: bytes of the documents in it
    rows: int
    total_rows: int | None
    designs: int
    #: size of the largest document
    largest: int
    digest: str
    problems: tuple[Problem, ...] = ()

    @property
    def fatal(self) -> Problem | None:
        return next((problem for problem in self.problems if problem.fatal), None)


def rows(path: Path) -> Generator[Row, None, None]:
    """The documents of a sound dump, in the order of their ids. Raises DumpDamaged at the first
    thing that is not."""
    last = None
    for item in Reader(path):
        if isinstance(item, Problem):
            raise DumpDamaged(path, item)
        if last is not None and item.id <= last:
            raise DumpDamaged(path, out_of_order(database_name(path), item.id, last))
        last = item.id
        yield item


def out_of_order(name: str, id: str, last: str) -> Problem:
    """``id`` came after ``last``, though ids ascend in the byte order of their UTF-8 (which is
    the order of Python's text)."""
    if id == last:
        return Problem("double", f"Backup of {name} holds {id} twice.", ids=(id,))
    return Problem("disorder", f"Backup of {name} is not in order: {id} comes after {last}.", ids=(id,))


_seen: dict[tuple[str, int, int, int], Inspection] = {}


def inspect(path: Path, limit: int = 0) -> Inspection:
    """Read a dump and judge it. ``limit``: the servers' max_document_size, 0 for none.

    An unchanged file (size and time) is read once a process. Raises OSError when it cannot be read.
    """
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns, limit)
    if key not in _seen:
        _seen[key] = _inspect(path, status.st_size, limit)
    return _seen[key]


def _inspect(path: Path, size: int, limit: int) -> Inspection:
    reader, found = Reader(path), _Problems()
    digest, last, designs, largest, documents = hashlib.sha256(), None, 0, 0, 0
    for item in reader:
        if isinstance(item, Problem):
            found.add(item)
            continue
        digest.update(f"{item.id}\0{item.rev}\0{len(item.doc)}\0".encode())
        digest.update(item.doc)
        designs += item.id.startswith("_design/")
        documents += len(item.doc)
        largest = max(largest, len(item.doc))
        if last is not None and item.id <= last:
            found.add(out_of_order(reader.name, item.id, last))
        last = item.id
        if item.stubs:
            found.add(Problem("stub", "", ids=(item.id,)))
        if limit and too_large(item, limit):
            found.add(Problem("too_large", too_large_text(item, limit), ids=(item.id,)))
    if reader.whole and reader.total_rows not in (None, reader.rows):
        announced = f"{reader.name} announces {reader.total_rows} rows but holds {reader.rows}."
        found.add(Problem("row_count", announced))
    return Inspection(
        path=str(path),
        database=reader.name,
        bytes=size,
        documents=documents,
        rows=reader.rows,
        total_rows=reader.total_rows,
        designs=designs,
        largest=largest,
        digest=digest.hexdigest(),
        problems=found.all(),
    )


class _Problems:
    """Problems of one kind are one problem, with a count and the first ids."""

    def __init__(self) -> None:
        self._by_kind: dict[Kind, Problem] = {}

    def add(self, one: Problem) -> None:
        first = self._by_kind.get(one.kind, one)
        if first is not one:
            ids = first.ids if len(first.ids) >= NAMED else first.ids + one.ids
            first = msgspec.structs.replace(first, count=first.count + 1, ids=ids)
        self._by_kind[one.kind] = first

    def all(self) -> tuple[Problem, ...]:
        ordered = sorted(self._by_kind.values(), key=lambda problem: problem.kind in BEARABLE)
        return tuple(self._worded(problem) for problem in ordered)

    @staticmethod
    def _worded(problem: Problem) -> Problem:
        names = ", ".join(problem.ids) + (", …" if problem.count > len(problem.ids) else "")
        if problem.kind == "stub":
            text = f"{_documents(problem.count)} attachments whose contents are not in the backup: {names}"
        elif problem.count > 1:
            text = f"{problem.text} The same is true of {problem.count - 1} more rows."
        else:
            return problem
        return msgspec.structs.replace(problem, text=text)


def _documents(count: int) -> str:
    return "1 document has" if count == 1 else f"{count} documents have"


def too_large(row: Row, limit: int) -> bool:
    """CouchDB measures the document without its ``_`` fields, as it would write it itself."""
    if len(row.doc) <= limit:
        return False
    try:
        body = json.loads(row.doc, parse_int=_as_wide, parse_float=_as_wide)
    except RecursionError:
        return True
    kept = {key: value for key, value in body.items() if not key.startswith("_")}
    return len(json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()) > limit


def _as_wide(number: str) -> Any:
    """Something that takes as many bytes as this number, of whatever size it is."""
    short = len(number) < 18 and number.lstrip("-").isdigit()
    return int(number) if short else "x" * (len(number) - 2)


def too_large_text(row: Row, limit: int) -> str:
    return (
        f"{row.id} is {units.size(len(row.doc))}, the servers allow {units.size(limit)}; "
        "raise max_document_size on all nodes."
    )


__all__ = [
    "DumpDamaged",
    "Inspection",
    "Problem",
    "Row",
    "database_name",
    "inspect",
    "revision",
    "rows",
    "too_large",
    "too_large_text",
]
