"""The bytes of a database dump: ``GET /db/_all_docs?include_docs=true``, verbatim.

CouchDB writes a head, one row a line and a closing ``]}``; other writers put all on one line or
pretty-print it. All are read in memory that does not grow with the file (the largest document
decides). Documents are sliced out as bytes, never decoded and encoded again: numbers of thirty
digits, ``1e400`` and ``-0.0`` survive.

A read that failed half-way simply ends, without ``]}``; that and everything else that would make
a restore lie is a Problem with the byte offset where it stands.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Literal, NamedTuple, cast
from urllib.parse import unquote

import msgspec
from msgspec import UNSET, Raw, UnsetType

#: a row larger than this is not a document (CouchDB's own limit for a request is 4 GB)
MAX_ROW = 1 << 30
_CHUNK = 1 << 20
_HEAD_LIMIT = 1 << 16

Kind = Literal[
    "empty",
    "error_page",
    "not_a_dump",
    "gzip",
    "cut_off",
    "trailing",
    "not_json",
    "not_utf8",
    "too_deep",
    "no_doc",
    "mismatch",
    "double",
    "disorder",
    "row_count",
    "stub",
    "too_large",
]
#: what a dump can have and still be restored from (without the documents concerned)
BEARABLE: frozenset[Kind] = frozenset({"row_count", "stub", "too_large"})

_FIELD = rb'"(?:total_rows|offset|update_seq)"\s*:\s*(?:-?\d+|null|"[^"]*")'
_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{(?:\s*" + _FIELD + rb'\s*,)*\s*"rows"\s*:\s*\[')
_HEAD_BEGUN = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{(?:\s*"(?:total_rows|offset|update_seq|rows)"|\s*"?\w*$)')
_TAIL = re.compile(rb"\](?:\s*,\s*" + _FIELD + rb")*\s*\}\s*")
_TOTAL = re.compile(rb'"total_rows"\s*:\s*(\d+)')
_ONE_A_LINE = re.compile(rb'[ \t]*\r?\n\s*(?:\{"|\]|$)')
_REVISION = re.compile(r"(\d{1,18})-(\S+)")
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}"]', re.DOTALL)
_IN_STRING = re.compile(rb'["\\]')
_VISIBLE = re.compile(rb"[^\s,]")


class Row(NamedTuple):
    """A document of a dump; ``doc`` is its JSON as the dump holds it."""

    id: str
    rev: str
    doc: bytes
    stubs: bool  #: has attachments whose contents are not in the dump


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


class _Value(msgspec.Struct):
    rev: str


class _RowText(msgspec.Struct):
    id: str
    value: _Value
    doc: Raw | UnsetType = UNSET


class _Attachment(msgspec.Struct):
    stub: bool = False
    follows: bool = False


class _Document(msgspec.Struct, rename={"id": "_id", "rev": "_rev", "attachments": "_attachments"}):
    id: str
    rev: str
    attachments: dict[str, _Attachment] = {}


_row = msgspec.json.Decoder(_RowText)
_document = msgspec.json.Decoder(_Document)


def revision(rev: str) -> tuple[int, str]:
    """The order in which CouchDB lets revisions win: generation first, then the hash."""
    match = _REVISION.fullmatch(rev)
    return (int(match[1]), match[2]) if match else (0, rev)


class Reader:
    """One pass over a dump: iterate for Rows and Problems; ``total_rows`` and ``rows`` afterwards.

    A file may be compressed with gzip. Byte offsets are those of the text, not of the file.
    """

    def __init__(self, path: Path) -> None:
        self._begin(database_name(path), lambda: _opened(path))

    @classmethod
    def of(cls, stream: io.BufferedIOBase, name: str) -> Reader:
        """Of a body as it comes from a server; ``name`` is the database's. Not closed afterwards.
        What reading it raises is not caught."""
        reader = cls.__new__(cls)
        reader._begin(name, lambda: nullcontext(cast("IO[bytes]", stream)))
        return reader

    def _begin(self, name: str, open: Callable[[], AbstractContextManager[IO[bytes]]]) -> None:
        self.name = name
        self._open = open
        self.total_rows: int | None = None
        self.rows = 0
        self.whole = False

    def __iter__(self) -> Iterator[Row | Problem]:
        with self._open() as stream:
            try:
                yield from self._items(_Feed(stream))
            except EOFError:
                text = (
                    f"Backup of {self.name} is cut off after row {self.rows} (its gzip file ends too early)"
                )
                yield Problem("cut_off", f"{text}; nothing restored.")
            except (gzip.BadGzipFile, zlib.error) as error:
                self.whole = False
                text = f"Backup of {self.name} is damaged: its gzip file is not sound ({error})"
                yield Problem("gzip", f"{text}; nothing restored.")

    def _items(self, feed: _Feed) -> Iterator[Row | Problem]:
        head = feed.read(_HEAD_LIMIT)
        start = _HEAD.match(head)
        if not start:
            yield self._no_dump(head)
            return
        self._count(head[: start.end()])
        one_a_line = _ONE_A_LINE.match(head, start.end())
        feed.unread(head[start.end() :])
        for item in self._lines(feed) if one_a_line else self._objects(feed):
            if isinstance(item, Row):
                self.rows += 1
            yield item

    def _no_dump(self, head: bytes) -> Problem:
        if not head.strip():
            return Problem("empty", f"Backup of {self.name} is empty; nothing restored.")
        text = head[:200].decode("utf-8", "replace")
        if re.match(rb'\s*\{\s*"error"', head):
            return Problem("error_page", f"Backup of {self.name} holds an error, not documents: {text}")
        if _HEAD_BEGUN.match(head) and not head.rstrip().endswith(b"}"):
            return self._cut_off(len(head))
        return Problem("not_a_dump", f"Backup of {self.name} is not a dump of a database: {text}")

    def _cut_off(self, offset: int) -> Problem:
        text = f"Backup of {self.name} is cut off after row {self.rows}; nothing restored."
        return Problem("cut_off", text, offset=offset)

    def _count(self, text: bytes) -> None:
        if found := _TOTAL.search(text):
            self.total_rows = int(found[1])

    def _tail(self, text: bytes, offset: int) -> Problem | None:
        match = _TAIL.match(text)
        if not match:
            return self._cut_off(offset + len(text))
        self._count(match[0])
        if match.end() < len(text):
            place = offset + match.end()
            return Problem(
                "trailing", f"Backup of {self.name} goes on after its end, at byte {place}.", offset=place
            )
        self.whole = True
        return None

    # ── one row a line, as CouchDB writes: the fast way ────────────────────────────────────
    def _lines(self, file: _Feed) -> Iterator[Row | Problem]:
        offset = file.at
        while line := file.readline(MAX_ROW):
            text = line.strip(b" \t\r\n")
            if text.startswith(b"]"):
                text = line.lstrip() + file.read(_HEAD_LIMIT)
                if problem := self._tail(text, offset):
                    yield problem
                return
            if text:
                found = self._decode(text.removesuffix(b","), offset)
                if isinstance(found, Row):
                    yield found
                elif found.kind == "not_json":
                    # not what a line should be: perhaps several rows, or part of one
                    file.unread(line)
                    file.keep()
                    whole = next(self._objects(file), None)
                    file.back()
                    if isinstance(whole, Row):
                        yield from self._objects(file)
                        return
                    file.readline(MAX_ROW)
                    if not line.endswith(b"\n"):
                        break
                    if text.startswith(b'{"error"'):
                        yield self._broke_off(text, offset)
                        return
                    yield found
                else:
                    yield found
            offset += len(line)
        yield self._cut_off(offset)

    def _broke_off(self, text: bytes, offset: int) -> Problem:
        said = text[:200].decode("utf-8", "replace")
        problem = self._cut_off(offset)
        return Problem("cut_off", f"{problem.text} The server had said: {said}", offset=offset)

    # ── any other layout: find where each object ends ──────────────────────────────────────
    def _objects(self, file: _Feed) -> Iterator[Row | Problem]:
        base, buffer, at = file.at, bytearray(), 0
        while True:
            visible = _VISIBLE.search(buffer, at)
            if visible is None:
                base += len(buffer)
                buffer, at = bytearray(file.read(_CHUNK)), 0
                if not buffer:
                    yield self._cut_off(base)
                    return
                continue
            start = visible.start()
            if buffer[start : start + 1] == b"]":
                text = bytes(buffer[start:]) + file.read(_HEAD_LIMIT)
                if problem := self._tail(text, base + start):
                    yield problem
                return
            if buffer[start : start + 1] != b"{":
                yield self._bad("not_json", "is not a JSON object", base + start)
                return
            end = _object_end(buffer, start, file)
            if end is None:
                yield self._cut_off(base + len(buffer))
                return
            yield self._decode(bytes(buffer[start:end]), base + start)
            at = end
            if at > _CHUNK:
                del buffer[:at]
                base, at = base + at, 0

    # ── one row ────────────────────────────────────────────────────────────────────────────
    def _decode(self, text: bytes, offset: int) -> Row | Problem:
        try:
            row = _row.decode(text)
            if row.doc is UNSET:
                return self._bad("no_doc", "has no document", offset, row.id)
            doc = bytes(row.doc)
            if doc == b"null":
                return self._bad("no_doc", "has no document", offset, row.id)
            if not text.isascii():
                text.decode()  # msgspec does not look inside what it skips; CouchDB does
            inner = _document.decode(doc)
        except UnicodeDecodeError as error:
            return self._bad("not_utf8", "is not valid UTF-8", offset + error.start)
        except RecursionError:
            return self._bad("too_deep", "is nested too deeply to be read", offset)
        except ValueError as error:
            return self._bad("not_json", f"is not a valid row: {error}", offset)
        if inner.id != row.id or inner.rev != row.value.rev:
            return self._bad("mismatch", f"({row.id}) holds another document or revision", offset, row.id)
        if not _REVISION.fullmatch(inner.rev):
            return self._bad("mismatch", f"({row.id}) has no valid revision", offset, row.id)
        stubs = any(one.stub or one.follows for one in inner.attachments.values())
        return Row(row.id, inner.rev, doc, stubs)

    def _bad(self, kind: Kind, what: str, offset: int, id: str = "") -> Problem:
        text = f"Backup of {self.name}: row {self.rows + 1} (byte {offset}) {what}."
        return Problem(kind, text, ids=(id,) if id else (), offset=offset)


class _Feed:
    """A stream that is read forward only, with room to put back what was read too far."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._back = b""
        self._kept: list[bytes] | None = None
        self.at = 0  #: offset of the next byte

    def read(self, size: int) -> bytes:
        data, self._back = self._back[:size], self._back[size:]
        if len(data) < size:
            data += self._stream.read(size - len(data))
        self.at += len(data)
        if self._kept is not None:
            self._kept.append(data)
        return data

    def readline(self, size: int) -> bytes:
        end = self._back.find(b"\n") + 1
        line, self._back = (self._back[:end], self._back[end:]) if end else (self._back, b"")
        if not end:
            line += self._stream.readline(size)
        self.at += len(line)
        return line

    def unread(self, data: bytes) -> None:
        self._back = data + self._back
        self.at -= len(data)

    def keep(self) -> None:
        """From here on, what is read can be put back."""
        self._kept = []

    def back(self) -> None:
        kept, self._kept = self._kept or [], None
        self.unread(b"".join(kept))


def _opened(path: Path) -> IO[bytes]:
    file = cast("io.BufferedReader", path.open("rb", buffering=_CHUNK))
    if file.peek(2)[:2] != b"\x1f\x8b":
        return file
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file))


def _object_end(buffer: bytearray, start: int, file: _Feed) -> int | None:
    """Where the object at ``start`` ends; reads on into ``buffer`` as far as needed. None: never."""
    at, depth, in_string = start, 0, False
    while True:
        found = (_IN_STRING if in_string else _TOKEN).search(buffer, at)
        if found is None:
            at = max(at, len(buffer))
            chunk = file.read(_CHUNK) if len(buffer) - start < MAX_ROW else b""
            if not chunk:
                return None
            buffer += chunk
            continue
        at = found.end()
        byte = found[0]
        if in_string:
            if byte == b"\\":
                at += 1
            else:
                in_string = False
        elif byte == b"{":
            depth += 1
        elif byte == b"}":
            depth -= 1
            if depth == 0:
                return at
        elif byte == b'"':
            in_string = True


def database_name(path: Path) -> str:
    """A file's database: ``a%2Fb.json`` holds ``a/b``."""
    return unquote(path.name.removesuffix(".gz").removesuffix(".json"))
