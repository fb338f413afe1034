"""Dumps as files: written as CouchDB writes them, whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from runbook.couch.dumping.ledger import Late
from runbook.couch.reading.inspection import DumpDamaged
from runbook.couch.reading.reader import Problem, Reader
from runbook.errors import ActionFailed

_BUFFER = 1 << 20
#: documents between two beats
_BEAT = 1000

#: id, revision, the document's JSON
Document = tuple[str, str, bytes]


def opener(path: str, flags: int) -> int:
    """For ``open``: what is dumped is for its owner alone (password hashes are in it)."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def write(
    path: Path, part: Path, count: int, documents: Iterable[Document], beat: Callable[[], None]
) -> None:
    """A dump of ``count`` documents, by way of ``part``; ``beat`` is called now and then and may raise.
    Raises OSError, ActionFailed."""
    written = 0
    with open(part, "wb", _BUFFER, opener=opener) as file:
        file.write(b'{"total_rows":%d,"offset":0,"rows":[\r\n' % count)
        for id, rev, doc in documents:
            key, value = msgspec.json.encode(id), msgspec.json.encode(rev)
            file.write(b",\r\n" if written else b"")
            file.write(b'{"id":%b,"key":%b,"value":{"rev":%b},"doc":' % (key, key, value))
            file.write(doc)
            file.write(b"}")
            written += 1
            if not written % _BEAT:
                beat()
        file.write(b"\r\n]}\n")
        file.flush()
        os.fsync(file.fileno())
    if written != count:
        raise ActionFailed(f"{path} would hold {written} documents, not {count}; it was not written.")
    part.replace(path)


def merged(path: Path, late: Iterator[Late]) -> Iterator[Document]:
    """The documents of a dump with what came late in place of theirs. Raises DumpDamaged."""
    other = next(late, None)
    for row in Reader(path):
        if isinstance(row, Problem):
            if row.kind == "no_doc":
                continue  # deleted while it was listed
            raise DumpDamaged(path, row)
        while other is not None and other.id < row.id:
            if other.doc is not None:
                yield other.id, other.rev, other.doc
            other = next(late, None)
        if other is None or other.id != row.id:
            yield row.id, row.rev, row.doc
    for one in (other, *late):
        if one is not None and one.doc is not None:
            yield one.id, one.rev, one.doc


def replace(path: Path, data: bytes) -> None:
    """A small file, whole or not there."""
    part = path.with_name(f"{path.name}.part")
    with open(part, "wb", opener=opener) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
