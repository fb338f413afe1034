"""Rows by their heads: the text up to the end of the revision, ``{"id":"a","key":"a","value":{"rev":"1-b``.

A server's list and a dump of the same documents have the same heads, byte for byte, so that what is
the same needs no decoding: a million rows are compared in about a second. A head that is written
in another way still means what it means: it is decoded where two of them differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import methodcaller
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from runbook.couch.reading import inspection

#: some rows, in the order of their ids; never none
Heads = list[bytes]

#: bytes of a dump read at once
_PIECE = 1 << 18
_FIRST = re.compile(rb'\{"total_rows":\d+,"offset":(?:\d+|null),"rows":\[\r?\n')
_BEGIN, _DOC, _END = b'{"id":"', b'"},"doc":{', b'"}}'
_TAIL = (b"]}\n", b"]}\r\n", b"]}")
#: rows of another layout that are taken together
_AT_ONCE = 1000


class Listed(Protocol):
    """A document by its id and revision."""

    @property
    def id(self) -> str: ...
    @property
    def rev(self) -> str: ...


class Entry(NamedTuple):
    id: str
    rev: str


class Strange(Exception):
    """A head that is none, or one out of order; in words. ``left``: on which side."""

    left = True


class _Value(msgspec.Struct, gc=False):
    rev: str


class _Row(msgspec.Struct, gc=False):
    id: str
    value: _Value


_row, _rows = msgspec.json.Decoder(_Row), msgspec.json.Decoder(list[_Row])
_text = msgspec.json.encode
_begins = methodcaller("startswith", _BEGIN)


def head(one: Listed) -> bytes:
    id = _text(one.id)
    return b'{"id":%b,"key":%b,"value":{"rev":%b' % (id, id, _text(one.rev)[:-1])


def entry(head: bytes) -> Entry:
    """Raises Strange."""
    try:
        row = _row.decode(head + _END)
    except (ValueError, RecursionError):
        raise Strange(f"a row begins with {head[:200]!r}") from None
    return Entry(row.id, row.value.rev)


def entries(pieces: Iterable[Heads]) -> Iterator[Entry]:
    """Each of them. Raises Strange."""
    last = ""
    for some in pieces:
        for found in map(entry, some):
            if found.id <= last:
                raise Strange(f"{found.id} comes after {last}")
            last = found.id
            yield found


def of_rows(rows: Iterable[Listed]) -> Iterator[Heads]:
    left = iter(rows)
    while some := [head(one) for one in islice(left, _AT_ONCE)]:
        yield some


def of_list(text: bytes) -> Heads:
    """Of rows without documents, as a server lists them: one a line, or in any other layout. Raises
    ValueError for what are no rows."""
    found = text.split(_END + b",\r\n")
    found[-1] = found[-1].removesuffix(_END)
    if len(found) == 1 or not _plain(found):
        found = [head(Entry(row.id, row.value.rev)) for row in _rows.decode(b"[%b]" % text)]
    return found


def of_dump(path: Path) -> Iterator[Heads]:
    """Of a dump's rows. Where the layout is CouchDB's, the documents in them are not looked at. Raises
    DumpDamaged, OSError."""
    last: bytes = b""
    with path.open("rb", buffering=_PIECE) as file:
        if _FIRST.fullmatch(file.readline(_PIECE)):
            while lines := file.readlines(_PIECE):
                whole = lines[-1] in _TAIL and not file.read(1)
                while lines and (lines[-1] in _TAIL or lines[-1].isspace()):
                    lines.pop()
                found = _of_lines(lines)
                lines.clear()  # one may be large, and the next ones are read now
                if found is None:
                    break
                if found:
                    yield found
                    last = found[-1]
                if whole:
                    return
    # another layout, or something is the matter with it
    passed = entry(last).id if last else ""
    yield from of_rows(row for row in inspection.rows(path) if row.id > passed)


def _of_lines(lines: list[bytes]) -> Heads | None:
    """None when one of them is no row of CouchDB's."""
    ends = [line.find(_DOC) for line in lines]
    found = [line[:end] for line, end in zip(lines, ends, strict=True)]
    return None if -1 in ends or not _plain(found) else found


def _plain(found: Heads) -> bool:
    return all(map(_begins, found))
