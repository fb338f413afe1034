"""Attachments: documents with their contents inline, as ``GET doc?attachments=true`` shows them.

They are appended to a spool, a file whose places the ledger knows.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import msgspec
from msgspec import UNSET, Raw, UnsetType

from runbook.couch.asking import Asking, CutOff
from runbook.couch.client import Client, RequestRefused
from runbook.couch.dumping.dumpfile import opener
from runbook.couch.dumping.ledger import Held, Ledger
from runbook.couch.progress import Progress

_PIECE = 1 << 20
#: documents looked up at once
_GROUP = 500
#: from so many bytes of attachments on, documents are held in memory one at a time
_LARGE = 4_000_000


class _Attachment(msgspec.Struct):
    length: int = 0  #: of a stub
    data: Raw | UnsetType = UNSET


class _Document(msgspec.Struct, rename={"id": "_id", "rev": "_rev", "attachments": "_attachments"}):
    id: str
    rev: str
    attachments: dict[str, _Attachment] = {}


_document = msgspec.json.Decoder(_Document)
_members = msgspec.json.Decoder(dict[str, Raw])
_entries = msgspec.json.Decoder(dict[str, dict[str, Raw]])


def length(doc: bytes | memoryview) -> int:
    """Bytes of all attachments whose contents are not in the document."""
    return sum(one.length for one in _document.decode(doc).attachments.values() if one.data is UNSET)


def complete(doc: bytes, one: Held) -> bool:
    """Is that the whole of this document in this revision, with as many bytes of attachments?"""
    try:
        found = _document.decode(doc)
    except (ValueError, RecursionError):
        return False
    contents = [each.data for each in found.attachments.values()]
    held = sum(_decoded(each) for each in contents if not isinstance(each, UnsetType))
    return (found.id, found.rev, held) == (one.id, one.rev, one.length or 0) and UNSET not in contents


def stubbed(doc: bytes | memoryview) -> bytes:
    """The document as ``_all_docs`` shows it: stubs in place of the contents."""
    members = _members.decode(doc)
    entries = _entries.decode(members["_attachments"])
    for entry in entries.values():
        if (data := entry.pop("data", None)) is not None:
            entry["length"], entry["stub"] = Raw(b"%d" % _decoded(data)), Raw(b"true")
    members["_attachments"] = Raw(msgspec.json.encode(entries))
    return msgspec.json.encode(members)


def _decoded(text: Raw) -> int:
    """Bytes that a base64 string stands for."""
    coded = memoryview(text)[1:-1]
    padding = bytes(coded[-2:]).count(b"=")
    return len(coded) * 3 // 4 - padding


@contextmanager
def opened(spool: Path, ledger: Ledger) -> Iterator[io.FileIO]:
    """The spool, to be appended to; what the ledger does not know of it is cut off."""
    with open(spool, "a+b", buffering=0, opener=opener) as file:
        file.truncate(ledger.spooled())
        yield file
        os.fsync(file.fileno())


def store(ledger: Ledger, file: io.FileIO, id: str, doc: memoryview) -> bool:
    """A document that changed since it was listed, with the contents of its attachments where the
    server gave them. False when it is not that document."""
    try:
        found = _document.decode(doc)
    except (ValueError, RecursionError):
        return False
    if found.id != id:
        return False
    contents = [one.data for one in found.attachments.values()]
    if not contents:
        ledger.read_again(Held(id, found.rev, None), bytes(doc))
    elif UNSET in contents:
        ledger.read_again(Held(id, found.rev, length(doc)), bytes(doc))
    else:
        size = sum(_decoded(one) for one in contents if not isinstance(one, UnsetType))
        ledger.read_again(Held(id, found.rev, size), stubbed(doc))
        ledger.fill(id, found.rev, *_append(file, doc))
    return True


def _append(file: io.FileIO, doc: memoryview) -> tuple[int, int]:
    start, left = file.seek(0, os.SEEK_END), doc
    while left:
        left = left[file.write(left) :]
    return start, len(doc)


def fill(
    ledger: Ledger, database: str, asking: Asking, spool: Path, progress: Progress, gate: threading.Lock
) -> int:
    """Fetch the attachments of every document that the dump holds, in its very revision, where they
    are not there yet. How many could not be had: the server has another revision by now. Raises what
    Asking.ask does, OSError."""
    after, lacking = "", 0
    while group := ledger.lacking(after, _GROUP):
        with opened(spool, ledger) as file:
            for one in group:
                with gate if (one.length or 0) >= _LARGE else nullcontext():
                    lacking += not _fill(one, ledger, database, asking, file, progress)
        after = group[-1].id
    return lacking


def _fill(
    one: Held, ledger: Ledger, database: str, asking: Asking, file: io.FileIO, progress: Progress
) -> bool:
    start = file.seek(0, os.SEEK_END)
    size = asking.ask(lambda client: _fetch(client, database, one, file, asking))
    if size is None:
        return False
    ledger.fill(one.id, one.rev, start, size)
    progress.came(0, size)
    return True


def _fetch(client: Client, database: str, one: Held, file: io.FileIO, asking: Asking) -> int | None:
    """The document in that revision, appended to the file: its size. None: there is no such."""
    start = file.seek(0, os.SEEK_END)
    try:
        with client.stream(database, one.id, attachments="true", rev=one.rev) as body:
            while piece := body.read1(_PIECE):
                file.write(piece)
                asking.go_on()
        file.seek(start)
        doc = file.read().rstrip()
        if complete(doc, one):
            return len(doc)
        raise CutOff(client, f"{one.id} of {database} with its attachments")
    except BaseException as error:
        file.truncate(start)
        if isinstance(error, RequestRefused) and error.status == 404:
            return None
        raise
