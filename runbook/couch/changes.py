"""The changes feed, page by page: what was written or deleted since a sequence.

A feed tells everything at least once. After a node was lost, or when another copy of a shard is
read than before, it may start again from far back: who reads it must cope with the known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from runbook.couch.asking import Asking
from runbook.couch.client import Client, RequestRefused
from runbook.errors import RunbookError

#: rows asked for at once (a few hundred bytes each)
PAGE = 2000


class Change(NamedTuple):
    id: str
    rev: str  #: of the winning revision
    deleted: bool


class _Rev(msgspec.Struct):
    rev: str


class _Row(msgspec.Struct):
    id: str
    changes: list[_Rev]
    deleted: bool = False


class _Page(msgspec.Struct):
    results: list[_Row]
    last_seq: str | int


_page = msgspec.json.Decoder(_Page)


def now(asking: Asking, database: str) -> str:
    """The sequence the database has reached. Raises what ``Asking.ask`` does."""
    return str(asking.ask(lambda client: _get(client, database, "now", 1)).last_seq)


def pages(asking: Asking, database: str, since: str) -> Iterator[tuple[list[Change], str]]:
    """What changed after ``since``, each page with the sequence it reaches to; at least one page."""
    full = True
    while full:
        found = asking.ask(lambda client, since=since: _get(client, database, since, PAGE))  # type: ignore[misc]
        since, full = str(found.last_seq), len(found.results) >= PAGE
        yield [Change(row.id, row.changes[0].rev, row.deleted) for row in found.results], since


def _get(client: Client, database: str, since: str, limit: int) -> _Page:
    reply = client.get(database, "_changes", raw=True, since=since, limit=limit)
    if not reply.ok:
        raise RequestRefused(client.node, f"show the changes of {database}", reply)
    try:
        return _page.decode(reply.body)
    except (ValueError, RecursionError) as error:
        raise RunbookError(
            f"CouchDB on {client.node} told its changes in an unknown form: {error}."
        ) from None
