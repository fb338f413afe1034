"""What a database holds, as its servers list it, in one long answer read as it comes.

When that breaks off, the rest is asked of another node, from the last id on. Ids ascend in the
order of Python's text, which is that of their UTF-8 bytes; a server that lists them otherwise cannot
be compared with anything, and is told.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from operator import ge
from typing import Any, TypeVar

import msgspec

from runbook.couch import jsonlist
from runbook.couch.asking import Asking, CutOff, Stopped
from runbook.couch.client import BULK_TIMEOUT, Client, RequestRefused
from runbook.couch.merging import Entry, Listing
from runbook.couch.reader import Problem, Reader, Row
from runbook.couch.selection import SERVER_MADE
from runbook.errors import CouldNotLook

T = TypeVar("T", "_Held", Row)
P = TypeVar("P")
#: how often a read is tried without getting any further, and the first pause (seconds) between
ATTEMPTS, PAUSE = 6, 0.2
#: documents decoded at once, and their bytes
_DOCS, _BYTES = 200, 4_000_000


class _Value(msgspec.Struct, gc=False):
    rev: str


class _Held(msgspec.Struct, gc=False):
    id: str
    value: _Value


class _Keyed(msgspec.Struct):
    id: str = ""
    value: _Value | None = None
    doc: msgspec.Raw = msgspec.Raw(b"null")  #: null for one that is deleted


class _KeyedRows(msgspec.Struct):
    rows: list[_Keyed]


_held = msgspec.json.Decoder(list[_Held])
_keyed = msgspec.json.Decoder(_KeyedRows)


def asking(clients: Sequence[Client]) -> Asking:
    return Asking(clients, threading.Event(), attempts=ATTEMPTS, pause=PAUSE)


def listed(client: Client, database: str, others: Sequence[Client] = ()) -> Generator[Listing, None, None]:
    """Ids and revisions, in the order of ids, without what the server made itself; ``others`` are
    asked when ``client`` does not answer. Blocks; leaving early ends the connection.

    Raises RequestRefused (404: no such database), CouldNotLook and the Client's errors.
    """

    def read(stack: ExitStack, client: Client, query: dict[str, Any]) -> Iterator[list[_Held]]:
        body = stack.enter_context(client.stream(database, "_all_docs", **query))
        try:
            yield from jsonlist.batches(body, _held)
        except jsonlist.Broken as said:
            raise _cut_off(client, database, str(said)) from None

    with closing(_in_order([client, *others], database, read)) as found:
        for ids, rows in found:
            if ids:
                yield Listing(ids, [row.value.rev for row in rows])


def held(client: Client, database: str, others: Sequence[Client] = ()) -> Generator[Entry, None, None]:
    """The same, one by one."""
    with closing(listed(client, database, others)) as found:
        for listing in found:
            yield from map(Entry, *listing)


def documents(client: Client, database: str, others: Sequence[Client] = ()) -> Generator[Row, None, None]:
    """The same with the documents (stubs in place of attachments), in memory for a few of them."""

    def read(stack: ExitStack, client: Client, query: dict[str, Any]) -> Iterator[list[Row]]:
        body = stack.enter_context(client.stream(database, "_all_docs", include_docs="true", **query))
        rows: list[Row] = []
        size = 0
        for item in Reader.of(body, database):
            if isinstance(item, Problem) and item.kind in ("cut_off", "empty"):
                raise _cut_off(client, database, "")
            if isinstance(item, Problem):
                raise CouldNotLook(f"CouchDB on {client.node} lists {database} unreadably: {item.text}")
            rows.append(item)
            size += len(item.doc)
            if len(rows) >= _DOCS or size >= _BYTES:
                yield rows
                rows, size = [], 0
        yield rows

    with closing(_in_order([client, *others], database, read)) as found:
        for _, some in found:
            yield from some


def some(client: Client, database: str, ids: Sequence[str]) -> list[Row]:
    """The documents of these ids, as far as they are there. Raises RequestRefused, CouldNotLook."""
    keys = {"keys": list(ids)}
    reply = client.post(database, "_all_docs", body=keys, raw=True, include_docs="true", timeout=BULK_TIMEOUT)
    if not reply.ok:
        raise RequestRefused(client.node, f"show documents of {database}", reply)
    try:
        rows = _keyed.decode(reply.body).rows
    except (ValueError, RecursionError) as error:
        text = f"CouchDB on {client.node} shows documents of {database} unreadably: {error}."
        raise CouldNotLook(text) from None
    return [
        Row(row.id, row.value.rev, bytes(row.doc), False)
        for row in rows
        if row.id and row.value and row.doc != b"null"
    ]


def _cut_off(client: Client, database: str, said: str) -> CutOff:
    return CutOff(client, f"the list of {database}{f' ({said})' if said else ''}")


def _in_order(
    clients: list[Client],
    database: str,
    read: Callable[[ExitStack, Client, dict[str, Any]], Iterator[list[T]]],
) -> Generator[tuple[list[str], list[T]], None, None]:
    """Rows and their ids; goes on after the last one where an answer broke off."""
    last, own = "", SERVER_MADE.get(database)

    def begin(stack: ExitStack, client: Client) -> Iterator[list[T]]:
        return read(stack, client, {"startkey": json.dumps(last)} if last else {})

    with closing(pieces(clients, begin)) as found:
        for client, rows in found:
            ids = [row.id for row in rows]
            if ids and ids[0] == last:  # where an earlier answer broke off
                rows, ids = rows[1:], ids[1:]
            if not ids:
                continue
            if disorder(ids, last) is not None:
                raise CouldNotLook(f"CouchDB on {client.node} does not list {database} in the order of ids.")
            last = ids[-1]
            if own in ids:
                place = ids.index(own)
                rows, ids = rows[:place] + rows[place + 1 :], ids[:place] + ids[place + 1 :]
            yield ids, rows


def disorder(ids: Sequence[str], last: str = "") -> str | None:
    """The first id that does not come after the one before it (``last``, before all of them)."""
    if not any(map(ge, chain((last,), ids), ids)):
        return None
    return next(id for before, id in zip(chain((last,), ids), ids, strict=False) if before >= id)


def pieces(
    clients: Sequence[Client], read: Callable[[ExitStack, Client], Iterator[P]]
) -> Generator[tuple[Client, P], None, None]:
    """What ``read`` gives, and of which node. When that fails, it is begun anew with another one, and
    has to go on where the caller was; its stream belongs into the stack. Raises what ``Asking.ask``
    does."""
    tries = asking(clients)
    running: Iterator[P] | None = None
    with ExitStack() as stack:

        def more(client: Client) -> P | None:
            nonlocal running
            if client.closed:
                raise Stopped(f"The connection to CouchDB on {client.node} was closed here.")
            try:
                if running is None:
                    running = read(stack, client)
                return next(running, None)
            except Exception:
                running = None
                stack.close()
                raise

        while (piece := tries.ask(more)) is not None:
            yield tries.clients[0], piece
