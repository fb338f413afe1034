"""The bytes of a database dump: ``GET /db/_all_docs?include_docs=true``, verbatim.

CouchDB writes a head, one row a line and a closing ``]}``; other writers put all on one line or
pretty-print it. All are read in memory that does not grow with the text (the largest document
decides). Documents are sliced out as bytes, never decoded and encoded again: numbers of thirty
digits, ``1e400`` and ``-0.0`` survive.

Rows are looked at many at once, as far as where a row begins like those before it; when anything is
the matter with one of them, they are looked at one by one, for the exact fault. A read that failed
half-way simply ends, without ``]}``; that and everything else that would make a restore lie is a
Problem with the byte where it shows.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from runbook.couch.reading import dumptext, places, rowtext
from runbook.couch.reading.dumptext import PIECE, Read, Text
from runbook.couch.reading.rowtext import Batch, Fault, Kind, Unfinished

#: what a dump can have and still be restored from (without the documents concerned)
BEARABLE: frozenset[Kind] = frozenset({"row_count", "stub", "too_large", "partitioned", "replication"})

_REVISION = re.compile(r"(\d{1,18})-(\S+)")
#: sees the text of sound rows where it stands, without a copy: one row, or a list of them in brackets. It
#: keeps nothing that refers to it
Watch = Callable[[memoryview], None]


class Row(NamedTuple):
    """A document of a dump; ``doc`` is its JSON as the dump holds it."""

    id: str
    rev: str
    doc: bytes
    stubs: bool  #: has attachments whose contents are not in the dump


#: without a call of Python's for each
_row: Callable[[tuple[str, str, bytes, bool]], Row] = partial(tuple.__new__, Row)


def as_rows(batch: Batch) -> Iterator[Row]:
    lacking = frozenset(batch.stubs)
    stubs = [id in lacking for id in batch.ids] if lacking else repeat(False)
    return map(_row, zip(batch.ids, batch.revs, batch.docs, stubs, strict=False))


class Problem(msgspec.Struct, frozen=True):
    """Something wrong with a dump. ``count`` rows have it; ``ids`` and ``offset`` are of the first."""

    kind: Kind
    text: str
    count: int = 1
    ids: tuple[str, ...] = ()
    offset: int = 0

    @property
    def fatal(self) -> bool:
        return self.kind not in BEARABLE


def revision(rev: str) -> tuple[int, str]:
    """The order in which CouchDB lets revisions win: generation first, then the hash."""
    match = _REVISION.fullmatch(rev)
    return (int(match[1]), match[2]) if match else (0, rev)


class Reader:
    """One pass over a dump: iterate for Rows and Problems; ``total_rows`` and ``rows`` afterwards,
    and ``whole`` when it was read to its proper end.

    A file may be compressed with gzip. Byte offsets are those of the text, not of the file.
    """

    def __init__(self, path: Path) -> None:
        self._begin(database_name(path), lambda: dumptext.opened(path))

    @classmethod
    def of(cls, stream: io.BufferedIOBase, name: str) -> Reader:
        """Of a body as it comes from a server; ``name`` is the database's. Not closed afterwards.
        What reading it raises is not caught."""
        reader = cls.__new__(cls)
        reader._begin(name, lambda: (nullcontext(), stream.readinto1))
        return reader

    @classmethod
    def of_file(cls, file: io.BufferedReader, path: Path, watch: Watch | None = None) -> Reader:
        """Of a file that somebody else has opened, and closes. ``watch``: see Watch."""
        reader = cls.__new__(cls)
        reader._begin(database_name(path), lambda: (nullcontext(), dumptext.reading(file, path.name)))
        reader._watch = watch
        return reader

    def _begin(self, name: str, open: Callable[[], tuple[AbstractContextManager[object], Read]]) -> None:
        self.name = name
        self._open = open
        self.total_rows: int | None = None
        self.rows = 0
        self.whole = False
        self._watch: Watch | None = None

    def __iter__(self) -> Iterator[Row | Problem]:
        for found in self.batches(docs_from=0):
            if isinstance(found, Problem):
                yield found
            else:
                yield from as_rows(found)
            del found  # here and below: a large document is let go before the next one is read

    def batches(self, docs_from: int | None = None) -> Iterator[Batch | Problem]:
        """The same, many rows at once; with the documents themselves where their text is at least
        ``docs_from`` bytes (None: nowhere). Raises OSError."""
        opened, read = self._open()
        with opened:
            text = Text(read)
            for found in self._all(text, math.inf if docs_from is None else docs_from):
                if isinstance(found, Batch):
                    self.rows += len(found.ids)
                elif text.damage and found.kind == "cut_off":
                    continue  # which is told below
                yield found
                del found
        if damage := text.damage:
            self.whole = False
            how = "cut off" if damage.ended else "damaged"
            what = f"Backup of {self.name} is {how} after row {self.rows} ({damage}); nothing restored."
            yield Problem("cut_off" if damage.ended else "gzip", what)

    # ── head and tail ──────────────────────────────────────────────────────────────────────
    def _all(self, text: Text, docs_from: float) -> Iterator[Batch | Problem]:
        while (
            (start := places.HEAD.match(text.data, 0, text.end)) is None
            and text.end < places.SMALL
            and text.more()
        ):
            pass
        if start is None:
            yield self._no_dump(bytes(text.data[: min(text.end, places.SMALL)]))
            return
        if not rowtext.valid(start[0].removeprefix(places.BOM) + b"]}"):
            yield Problem("not_json", f"Backup of {self.name} is damaged: its first line is not JSON.")
            return
        self._count(start[0])
        text.drop(start.end() - 1)
        if (yield from self._rows(text, docs_from)) and (problem := self._tail(text)):
            yield problem

    def _no_dump(self, head: bytes) -> Problem:
        if not head.strip():
            return Problem("empty", f"Backup of {self.name} is empty; nothing restored.")
        text = head[:200].decode("utf-8", "replace")
        if places.ERROR.match(head):
            return Problem("error_page", f"Backup of {self.name} holds an error, not documents: {text}")
        if places.HEAD_BEGUN.match(head) and not head.rstrip().endswith(b"}"):
            return self._cut_off(len(head))
        return Problem("not_a_dump", f"Backup of {self.name} is not a dump of a database: {text}")

    def _cut_off(self, offset: int, why: str = "") -> Problem:
        text = f"Backup of {self.name} is cut off after row {self.rows}; nothing restored."
        return Problem("cut_off", text + why, offset=offset)

    def _count(self, text: bytes) -> None:
        if found := places.TOTAL.search(text):
            self.total_rows = int(found[1])

    def _tail(self, text: Text) -> Problem | None:
        """What follows on the last row, from ``]`` on, is read to its end: only there does gzip tell
        whether all was as it was compressed."""
        while text.end - text.start < places.SMALL and text.more():
            pass
        match = places.TAIL.match(text.data, text.start, text.end)
        if match is None or not rowtext.valid(b'{"rows":[' + match[0]):
            rest = bytes(text.data[text.start : min(text.end, text.start + places.SMALL)])
            if match is None and rowtext.begins(b'{"rows":[' + rest):
                return self._cut_off(text.offset + text.end)
            return self._wrong(text.offset + text.start, "the end of a dump should follow")
        self._count(match[0])
        text.drop(match.end() - 1)
        if not (after := places.visible(text)):
            self.whole = True
            return None
        place = text.offset + after
        what = f"Backup of {self.name} goes on after its end, at byte {place}."
        return Problem("trailing", what, offset=place)

    # ── rows ───────────────────────────────────────────────────────────────────────────────
    # at text.start always stands what was read already: `[`, the comma before a row, its `}`
    def _rows(self, text: Text, docs_from: float) -> Generator[Batch | Problem, None, bool]:
        """From the ``[`` before them on. Returns whether there is an end: the ``]`` after them."""
        data, between = text.data, b""
        due = "row or end"  # what has to follow
        doubtful = 0  # up to there, rows are looked at one by one
        while at := places.visible(text):
            if data[at] == ord("]"):
                if due == "row":
                    yield self._wrong(text.offset + at, "another row should follow")
                text.drop(at)
                return True
            if due == "comma or end":
                if data[at] != ord(","):
                    yield self._wrong(text.offset + at, "a comma should follow")
                    if not places.next_row(text, at):
                        return False
                    due = "row or end"
                    continue
                between = places.between(text, at) or between
                text.drop(at)
                due = "row"
                continue
            comma = 0
            if text.offset + at >= doubtful:
                comma = places.border(text, at, between)
                while not comma and text.end - at < PIECE and text.more():
                    comma = places.border(text, at, between)
            if comma:
                if batch := _many(text, at, comma, docs_from, self._watch):
                    yield batch
                    del batch
                    text.drop(comma)
                    due = "row"
                    continue
                doubtful = text.offset + comma
            if (one := self._one(text, at, docs_from)) is None:
                if places.longer(text, at, between):
                    continue
                break
            end, found = one
            if end and isinstance(found, Problem) and places.ERROR.match(text.data, at, end):
                said = text.data[at : min(end, at + 200)].decode("utf-8", "replace")
                yield self._cut_off(text.offset + at, f" The server had said: {said}")
                return False
            yield found
            del one, found
            if end:
                text.drop(end - 1)
                due = "comma or end"
            elif places.next_row(text, at):
                due = "row or end"
            else:
                return False
        yield self._cut_off(text.offset + text.end)
        return False

    def _one(self, text: Text, at: int, docs_from: float) -> tuple[int, Batch | Problem] | None:
        """The row that begins at ``at``, and where it ends; 0: that cannot be told. None: it is not all
        there."""
        try:
            end = at + rowtext.end(memoryview(text.data)[at : text.end])
        except Fault as fault:
            return 0, self._bad(fault, text.offset + at)
        except Unfinished:
            return None
        try:
            found = rowtext.one(memoryview(text.data)[at:end], end - at >= docs_from)
            if self._watch:
                self._watch(memoryview(text.data)[at:end])
            return end, found
        except Fault as fault:
            return end, self._bad(fault, text.offset + at)

    def _bad(self, fault: Fault, offset: int) -> Problem:
        place = offset + fault.at
        text = f"Backup of {self.name}: row {self.rows + 1} (byte {place}) {fault.what}."
        return Problem(fault.kind, text, ids=(fault.id,) if fault.id else (), offset=place)

    def _wrong(self, offset: int, what: str) -> Problem:
        text = f"Backup of {self.name} is damaged after row {self.rows}: at byte {offset}, {what}."
        return Problem("not_json", text, offset=offset)


def _many(text: Text, at: int, comma: int, docs_from: float, watch: Watch | None) -> Batch | None:
    """The rows from ``at`` to ``comma``, as the list that they are when put in brackets."""
    data, before = text.data, text.data[at - 1]
    data[at - 1], data[comma] = ord("["), ord("]")
    try:
        found = rowtext.many(memoryview(data)[at - 1 : comma + 1], comma - at >= docs_from)
        if found and watch:
            watch(memoryview(data)[at - 1 : comma + 1])
        return found
    finally:
        data[at - 1], data[comma] = before, ord(",")


def database_name(path: Path) -> str:
    """A file's database: ``a%2Fb.json`` holds ``a/b``."""
    return unquote(path.name.removesuffix(".gz").removesuffix(".json"))
