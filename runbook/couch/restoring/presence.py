"""What a database holds already, in the order of ids, while it is being written to.

Asked for in pages: a single answer that is read no faster than documents are stored would be given
up by the server before its end.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from functools import partial

import msgspec

from runbook.couch.asking import Asking
from runbook.couch.client import Client, RequestRefused
from runbook.couch.reading.selection import SERVER_MADE
from runbook.errors import RunbookError

#: rows asked for at once (about 100 bytes each)
PAGE = 5000


class _Value(msgspec.Struct, gc=False):
    rev: str


class Held(msgspec.Struct, gc=False):
    """A document as the server lists it."""

    id: str
    value: _Value

    @property
    def rev(self) -> str:
        return self.value.rev


class _Page(msgspec.Struct):
    rows: list[Held]


def there(database: str, asking: Asking, page: int = PAGE) -> Generator[Held, None, None]:
    """Ids and revisions, without what the server made itself; from whichever node answers. Raises
    RequestRefused (404: no such database) and what ``Asking.ask`` does."""
    if not asking.ask(lambda client: client.need(database)).get("doc_count"):
        return  # nothing to be told apart: the usual case, and one listing less
    last, own = "", SERVER_MADE.get(database)
    while True:
        rows = asking.ask(partial(_page, database=database, last=last, limit=page + 1))
        for row in rows:
            if row.id not in (last, own):
                yield row
        if len(rows) <= page:
            return
        last = rows[-1].id


def _page(client: Client, database: str, last: str, limit: int) -> list[Held]:
    query = {"startkey": json.dumps(last)} if last else {}
    reply = client.get(database, "_all_docs", raw=True, limit=limit, **query)
    if not reply.ok:
        raise RequestRefused(client.node, f"list {database}", reply)
    try:
        return msgspec.json.decode(reply.body, type=_Page).rows
    except (ValueError, RecursionError) as error:
        raise RunbookError(
            f"CouchDB on {client.node} listed documents in an unknown form: {error}."
        ) from None
