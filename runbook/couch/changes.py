"""The changes feed, page by page: what was written or deleted since a sequence.

A feed tells of each document once, as it is now, in the order in which they changed; the state at a
page's sequence is exact when nothing follows on it. A feed tells everything at least once: after a
node was lost, or when another copy of a shard is read than before, it may start again from far
back, so who reads it must cope with the known.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from runbook.couch.asking import Asking, CutOff
from runbook.couch.client import Client, RequestRefused
from runbook.couch.dumping.dumpfile import opener

#: rows asked for at once (a few hundred bytes each), and rows with their documents
PAGE, DOCUMENTS = 2000, 200
_PIECE = 1 << 20


class _Rev(msgspec.Struct):
    rev: str


class Change(msgspec.Struct):
    """``doc``: the document, where it was asked for."""

    id: str
    changes: list[_Rev]
    seq: str | int | list[Raw]
    deleted: bool = False
    doc: Raw | UnsetType = UNSET

    @property
    def rev(self) -> str:
        """Of the winning revision."""
        return self.changes[0].rev


class Page(msgspec.Struct):
    """``pending``: changes that follow on these; 0 also where the server does not tell."""

    results: list[Change]
    last_seq: str | int
    pending: int = 0


_page = msgspec.json.Decoder(Page)


def now(asking: Asking, database: str) -> str:
    """The sequence the database has reached. Raises what ``Asking.ask`` does."""
    return str(asking.ask(lambda client: page(client, database, "now", 1)).last_seq)


def pages(asking: Asking, database: str, since: str) -> Iterator[Page]:
    """What changed after ``since``: at least one page, the last one with less than PAGE rows."""
    full = True
    while full:
        found = asking.ask(lambda client, since=since: page(client, database, since))  # type: ignore[misc]
        since, full = str(found.last_seq), len(found.results) >= PAGE
        yield found


def page(client: Client, database: str, since: str, limit: int = 0) -> Page:
    """Without documents. Raises RequestRefused, the Client's errors."""
    reply = client.get(database, "_changes", raw=True, since=since, limit=limit or PAGE)
    if not reply.ok:
        raise RequestRefused(client.node, f"show the changes of {database}", reply)
    return _decoded(client, database, reply.body)


def documents(client: Client, database: str, since: str, answer: Path, beat: Callable[[], None]) -> Page:
    """A page of at most DOCUMENTS rows with their documents and the contents of their attachments, which
    lie in the file ``answer``: none of them is in memory. ``beat`` may raise. Raises the same, and
    OSError."""
    answer.unlink(missing_ok=True)  # an earlier page may still be in use
    with open(answer, "w+b", opener=opener) as file:
        query: dict[str, Any] = {
            "since": since,
            "limit": DOCUMENTS,
            "include_docs": "true",
            "attachments": "true",
        }
        with client.stream(database, "_changes", **query) as body:
            while piece := body.read1(_PIECE):
                file.write(piece)
                beat()
        file.flush()
        if not file.tell():
            raise CutOff(client, f"the changes of {database}")
        return _decoded(client, database, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _decoded(client: Client, database: str, text: bytes | mmap.mmap) -> Page:
    """A page is whole or it is none: one that a server ended too early is asked for again."""
    try:
        return _page.decode(text)
    except (ValueError, RecursionError) as error:
        raise CutOff(client, f"the changes of {database} ({error})") from None
