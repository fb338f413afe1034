"""A dump as a whole: is it sound, what does it hold? And its rows, for those who restore or compare.

``inspect`` reads a file once, to its end where it can, and tells everything that is wrong with
it; nothing is restored from a dump that has a fatal problem. What the servers will refuse
(attachment stubs, documents over their limit) is found here, before anything is sent. A file is
judged by itself here; what may lie beside it is for ``judging``.
"""

from __future__ import annotations

import hashlib
import io
import re
from bisect import bisect_left
from collections.abc import Generator, Sequence
from itertools import islice
from operator import lt
from pathlib import Path

import msgspec

from runbook import units
from runbook.couch.reading import documentsize, dumptext
from runbook.couch.reading.reader import (
    BEARABLE,
    Problem,
    Reader,
    Row,
    Watch,
    as_rows,
    database_name,
    revision,
)
from runbook.couch.reading.rowtext import Batch, Kind
from runbook.errors import RunbookError

#: ids named in a problem; the count is always whole
NAMED = 20
#: states in which CouchDB leaves a document of ``_replicator`` alone
_FINAL = ("completed", "failed")
_DESIGN, _AFTER_DESIGN = "_design/", "_design0"
_PARTITIONED = re.compile(r"[^_:][^:]*:.+", re.DOTALL)


class DumpDamaged(RunbookError):
    def __init__(self, path: Path, problem: Problem) -> None:
        self.problem = problem
        super().__init__(f"{problem.text} ({path})", next="Fetch the backup again or use another one.")


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a dump holds. ``remarks`` are no faults: what a person should know or decide."""

    path: str
    database: str
    bytes: int  #: of the file
    documents: int  #: bytes of the documents in it, about
    rows: int
    total_rows: int | None
    designs: int
    #: no document is larger; below about 1 MB, all may be smaller
    largest: int
    problems: tuple[Problem, ...] = ()
    remarks: tuple[Problem, ...] = ()

    @property
    def fatal(self) -> Problem | None:
        return next((problem for problem in self.problems if problem.fatal), None)

    def problem(self, kind: Kind) -> Problem | None:
        return next((problem for problem in self.problems if problem.kind == kind), None)


def rows(path: Path) -> Generator[Row, None, None]:
    """The documents of a sound dump, in the order of their ids. Raises DumpDamaged at the first
    thing that is not."""
    last = None
    for found in Reader(path).batches(docs_from=0):
        if isinstance(found, Problem):
            raise DumpDamaged(path, found)
        for problem in _order(database_name(path), found.ids, last):
            raise DumpDamaged(path, problem)
        last = found.ids[-1]
        yield from as_rows(found)


def _order(name: str, ids: Sequence[str], last: str | None) -> list[Problem]:
    """Where ids do not ascend in the byte order of their UTF-8 (which is the order of Python's text)."""
    if (last is None or last < ids[0]) and all(map(lt, ids, islice(ids, 1, None))):
        return []
    before = [last, *ids[:-1]]
    return [
        out_of_order(name, id, last)
        for last, id in zip(before, ids, strict=True)
        if last is not None and last >= id
    ]


def out_of_order(name: str, id: str, last: str) -> Problem:
    """``id`` came after ``last``."""
    if id == last:
        return Problem("double", f"Backup of {name} holds {id} twice.", ids=(id,))
    return Problem("disorder", f"Backup of {name} is not in order: {id} comes after {last}.", ids=(id,))


_seen: dict[tuple[str, int, int, int], Inspection] = {}
_digests: dict[tuple[str, int, int], str] = {}


def inspect(path: Path, limit: int = 0) -> Inspection:
    """Read a dump and judge it. ``limit``: the servers' max_document_size, 0 for none.

    An unchanged file (size and time) is read once a process. Raises OSError when it cannot be read.
    """
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns, limit)
    if key not in _seen:
        _seen[key] = _Inspecting(path, limit).run(status.st_size)
    return _seen[key]


def inspect_file(
    file: io.BufferedReader,
    path: Path,
    size: int,
    limit: int = 0,
    watch: Watch | None = None,
) -> Inspection:
    """``inspect`` of what somebody else has opened; ``watch`` sees the rows."""
    return _Inspecting(path, limit, Reader.of_file(file, path, watch)).run(size)


def remember(found: Inspection, limit: int, stamp: tuple[int, int], sha256: str = "") -> None:
    """What was found elsewhere in a file of that size and time (ns): it need not be read again."""
    _seen[(found.path, *stamp, limit)] = found
    if sha256:
        _digests[(found.path, *stamp)] = sha256


def digest(path: Path) -> str:
    """SHA-256 of a dump's text (the same for one that is compressed); read once a process. Raises
    OSError."""
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key not in _digests:
        found = hashlib.sha256()
        opened, read = dumptext.opened(path)
        piece = memoryview(bytearray(dumptext.PIECE))
        with opened:
            while count := read(piece):
                found.update(piece[:count])
        _digests[key] = found.hexdigest()
    return _digests[key]


class _Inspecting:
    """One pass over a file, many rows at once: what is done for each row has to be little."""

    def __init__(self, path: Path, limit: int, reader: Reader | None = None) -> None:
        self.path, self.limit = path, limit
        self.reader = reader or Reader(path)
        self.found, self.remarks = _Problems(), _Problems()
        self.designs = self.documents = self.largest = 0
        self.last: str | None = None
        # the system's own databases have such ids for other reasons
        self.partitioned = not self.reader.name.startswith("_")

    def run(self, size: int) -> Inspection:
        replicator = self.reader.name == "_replicator"
        for found in self.reader.batches(docs_from=0 if replicator else self.limit or None):
            if isinstance(found, Problem):
                self.found.add(found)
                continue
            self._look(found)
            if found.docs and self.limit:
                self._measure(found)
            if replicator:
                self._jobs(found)
        if self.reader.whole and self.reader.total_rows not in (None, self.reader.rows):
            announced = (
                f"{self.reader.name} announces {self.reader.total_rows} rows but holds {self.reader.rows}."
            )
            self.found.add(Problem("row_count", announced))
        if self.partitioned and self.reader.rows > self.designs:
            self.remarks.add(Problem("partitioned", partitioned_text(self.reader.name)))
        return Inspection(
            path=str(self.path),
            database=self.reader.name,
            bytes=size,
            documents=self.documents,
            rows=self.reader.rows,
            total_rows=self.reader.total_rows,
            designs=self.designs,
            largest=self.largest,
            problems=self.found.all(),
            remarks=self.remarks.all(),
        )

    def _look(self, found: Batch) -> None:
        ids, before = found.ids, self.last
        self.last = ids[-1]
        self.documents += found.size
        self.largest = max(self.largest, found.size)
        if wrong := _order(self.reader.name, ids, before):
            for problem in wrong:
                self.found.add(problem)
            ids = sorted(ids)
        first, end = bisect_left(ids, _DESIGN), bisect_left(ids, _AFTER_DESIGN)
        self.designs += end - first
        if self.partitioned:
            others = (*ids[:first], *ids[end:])
            self.partitioned = all(map(_PARTITIONED.fullmatch, others))
        for id in found.stubs:
            self.found.add(Problem("stub", "", ids=(id,)))

    def _measure(self, found: Batch) -> None:
        for row in as_rows(found):
            if too_large(row, self.limit):
                self.found.add(Problem("too_large", too_large_text(row, self.limit), ids=(row.id,)))

    def _jobs(self, found: Batch) -> None:
        for row in as_rows(found):
            if not row.id.startswith(_DESIGN) and _state.decode(row.doc).state not in _FINAL:
                self.remarks.add(Problem("replication", "", ids=(row.id,)))


class _State(msgspec.Struct, rename={"state": "_replication_state"}):
    state: object = None


_state = msgspec.json.Decoder(_State)


def partitioned_text(name: str) -> str:
    return (
        f"All ids of {name} have the form a:b. Perhaps it was made as a partitioned database; a dump cannot "
        "tell, and whoever set it up has to be asked."
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
            text = stub_text(problem.count, names)
        elif problem.kind == "replication":
            text = f"Would start replications as soon as they are restored: {names} ({problem.count} in all)"
        elif problem.count > 1:
            text = f"{problem.text} The same is true of {problem.count - 1} more rows."
        else:
            return problem
        return msgspec.structs.replace(problem, text=text)


def stub_text(count: int, names: str) -> str:
    documents = "1 document has" if count == 1 else f"{count} documents have"
    return f"{documents} attachments whose contents are not in the backup: {names}"


def too_large(row: Row, limit: int) -> bool:
    return len(row.doc) > limit and documentsize.measured(row.doc) > limit


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
