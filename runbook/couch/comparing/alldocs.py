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
from typing import Any, TypeVar

import msgspec

from runbook.couch.asking import Asking, CutOff, Stopped
from runbook.couch.client import BULK_TIMEOUT, Client, RequestRefused
from runbook.couch.comparing import heads
from runbook.couch.comparing.heads import Entry, Heads, Strange
from runbook.couch.reading import jsonlist
from runbook.couch.reading.reader import Problem, Reader, Row, as_rows
from runbook.couch.reading.selection import SERVER_MADE
from runbook.errors import CouldNotLook

P = TypeVar("P")
#: how often a read is tried without getting any further, and the first pause (seconds) between
ATTEMPTS, PAUSE = 6, 0.2


class _Value(msgspec.Struct, gc=False):
    rev: str


class _Keyed(msgspec.Struct):
    id: str = ""
    value: _Value | None = None
    doc: msgspec.Raw = msgspec.Raw(b"null")  #: null for one that is deleted


class _KeyedRows(msgspec.Struct):
    rows: list[_Keyed]


_keyed = msgspec.json.Decoder(_KeyedRows)


def asking(clients: Sequence[Client]) -> Asking:
    return Asking(clients, threading.Event(), attempts=ATTEMPTS, pause=PAUSE)


def listed(client: Client, database: str, others: Sequence[Client] = ()) -> Generator[Heads, None, None]:
    """Ids and revisions, in the order of ids, without what the server made itself; ``others`` are
    asked when ``client`` does not answer. Blocks; leaving early ends the connection.

    Raises RequestRefused (404: no such database), CouldNotLook and the Client's errors.
    """
    last, own = b"", _own(database)

    def read(stack: ExitStack, client: Client) -> Iterator[Heads]:
        after = _after(_entry(client, database, last).id if last else "")
        body = stack.enter_context(client.stream(database, "_all_docs", **after))
        try:
            yield from map(heads.of_list, jsonlist.texts(body))
        except (jsonlist.Broken, ValueError) as said:
            told = str(said) if isinstance(said, jsonlist.Broken) else ""
            raise _cut_off(client, database, told) from None

    with closing(pieces([client, *others], read)) as found:
        for _, some in found:
            some = some[1:] if some[0] == last else some  # where an earlier answer broke off
            if some:
                last = some[-1]
                if kept := [one for one in some if not one.startswith(own)] if own else some:
                    yield kept


def held(client: Client, database: str, others: Sequence[Client] = ()) -> Generator[Entry, None, None]:
    """The same, one by one."""
    with closing(listed(client, database, others)) as found:
        try:
            yield from heads.entries(found)
        except Strange as strange:
            raise disordered(client, database, str(strange)) from None


def documents(client: Client, database: str, others: Sequence[Client] = ()) -> Generator[Row, None, None]:
    """The same with the documents (stubs in place of attachments), in memory for a few of them."""
    last, own = "", SERVER_MADE.get(database)

    def read(stack: ExitStack, client: Client) -> Iterator[Iterator[Row]]:
        query = {"include_docs": "true"} | _after(last)
        body = stack.enter_context(client.stream(database, "_all_docs", **query))
        for found in Reader.of(body, database).batches(docs_from=0):
            if not isinstance(found, Problem):
                yield as_rows(found)
            elif found.kind in ("cut_off", "empty"):
                raise _cut_off(client, database, "")
            else:
                raise CouldNotLook(f"CouchDB on {client.node} lists {database} unreadably: {found.text}")

    with closing(pieces([client, *others], read)) as found:
        for at, rows in found:
            for row in rows:
                if row.id <= last:
                    if row.id == last:  # where an earlier answer broke off
                        continue
                    raise disordered(at, database, f"{row.id} comes after {last}")
                last = row.id
                if row.id != own:
                    yield row


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


def disordered(client: Client, database: str, what: str = "") -> CouldNotLook:
    told = f": {what}" if what else ""
    return CouldNotLook(f"CouchDB on {client.node} does not list {database} in the order of ids{told}.")


def _entry(client: Client, database: str, head: bytes) -> Entry:
    try:
        return heads.entry(head)
    except Strange as strange:
        raise disordered(client, database, str(strange)) from None


def _own(database: str) -> bytes:
    """How the head of the document begins that the server makes itself; nothing where it makes none."""
    id = SERVER_MADE.get(database)
    return f'{{"id":"{id}",'.encode() if id else b""


def _after(last: str) -> dict[str, Any]:
    return {"startkey": json.dumps(last)} if last else {}


def _cut_off(client: Client, database: str, said: str) -> CutOff:
    return CutOff(client, f"the list of {database}{f' ({said})' if said else ''}")


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
