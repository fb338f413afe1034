"""Streams over a whole database: ``_all_docs`` and ``_changes``. A snapshot is taken under the lock,
then sent while others write on."""

from __future__ import annotations

import base64
import struct
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from runbook.lab.couchdb import documents, fabric, jsontext
from runbook.lab.couchdb.errors import bad_request, unsupported
from runbook.lab.couchdb.shards import ShardMap
from runbook.lab.couchdb.tree import State
from runbook.lab.couchdb.users import Caller
from runbook.lab.couchdb.web import Reply, Request

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn

_PIECE = 64 * 1024


def all_docs(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    request.allow("GET", "POST")
    keys = request.json_param("keys")
    if request.method == "POST" and request.body:
        keys = request.fields().get("keys", keys)
    if keys is not None and not isinstance(keys, list):
        raise bad_request("`keys` parameter must be an array.")
    total, ids, states = fabric.rows(node, found)
    shown = _Shown(request.flag("include_docs"), request.flag("conflicts"), request.flag("attachments"))
    skip = request.number("skip", 0)
    if keys is not None:
        wanted = keys[skip : skip + request.number("limit", len(keys))]
        rows = (_keyed(key, states, shown) for key in wanted)
        return Reply(200, _page(total, None, rows))
    start, stop = _range(request, ids)
    if request.flag("descending"):
        offset = len(ids) - stop
        ids = ids[start:stop][::-1]
    else:
        offset = start
        ids = ids[start:stop]
    ids = ids[skip : skip + request.number("limit", len(ids))]
    rows = (shown.row(doc_id, states[doc_id]) for doc_id in ids)
    return Reply(200, _page(total, min(offset + skip, total), rows))


class _Shown:
    def __init__(self, docs: bool, conflicts: bool, contents: bool) -> None:
        self.docs, self.conflicts, self.contents = docs, conflicts, contents

    def row(self, doc_id: str, state: State) -> bytes:
        name, leaf = jsontext.text(doc_id), state.winner
        row = b'{"id":%b,"key":%b,"value":{"rev":%b' % (name, name, jsontext.text(leaf.rev))
        if leaf.deleted:
            return row + (b',"deleted":true},"doc":null}' if self.docs else b',"deleted":true}}')
        if not self.docs:
            return row + b"}}"
        doc = documents.printed(doc_id, state, conflicts=self.conflicts, contents=self.contents)
        return b'%b},"doc":%b}' % (row, doc)


def _keyed(key: object, states: dict[str, State], shown: _Shown) -> bytes:
    state = states.get(key) if isinstance(key, str) else None
    if state is None:
        return b'{"key":%b,"error":"not_found"}' % jsontext.text(key)
    return shown.row(str(key), state)


def _range(request: Request, ids: Sequence[str]) -> tuple[int, int]:
    """The slice of ``ids`` between the keys asked for."""
    low = request.json_param("startkey", "start_key")
    high = request.json_param("endkey", "end_key")
    inclusive = request.flag("inclusive_end", True)
    key = request.json_param("key")
    if key is not None:
        low = high = key
    descending = request.flag("descending")
    if descending:
        low, high = high, low
    start = 0 if low is None else bisect_left(ids, str(low))
    stop = len(ids) if high is None else bisect_right(ids, str(high))
    if not inclusive and key is None:
        if descending and low is not None:
            start = bisect_right(ids, str(low))
        if not descending and high is not None:
            stop = bisect_left(ids, str(high))
    return start, max(start, stop)


def _page(total: int, offset: int | None, rows: Iterable[bytes]) -> Iterator[bytes]:
    """The rows as CouchDB lays them out: one a line."""
    buffer = [b'{"total_rows":%d,"offset":%b,"rows":[\r\n' % (total, jsontext.text(offset))]
    size, first = 0, True
    for row in rows:
        if not first:
            buffer.append(b",\r\n")
        first = False
        buffer.append(row)
        size += len(row)
        if size > _PIECE:
            yield b"".join(buffer)
            buffer, size = [], 0
    buffer.append(b"\r\n]}\n")
    yield b"".join(buffer)


def changes(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    """The normal feed. A ``since`` from other copies than those read now starts at the beginning."""
    request.allow("GET", "POST")
    if request.query.get("feed", "normal") != "normal" or "filter" in request.query:
        raise unsupported("this kind of _changes")
    held = fabric.reading(node, found)
    token = f"{zlib.crc32(''.join(each.copy.uuid for each in held).encode()):08x}"
    at = [0] * len(held)
    since = request.query.get("since", "0").strip('"')
    if since == "now":
        at = [each.copy.update_seq for each in held]
    elif since != "0":
        at = _position(since, token, len(held))
    events: list[tuple[int, int, str, State]] = []
    for place, each in enumerate(held):
        for doc_id, seq in each.copy.changes.items():
            if seq > at[place]:
                events.append((seq, place, doc_id, each.copy.docs[doc_id]))
    events.sort(key=lambda event: event[:2])
    limit = request.number("limit", len(events))
    rows = _change_rows(events[: max(limit, 1)] if events else [], at, token, request)
    return Reply(200, _feed(rows, max(len(events) - max(limit, 1), 0), _seq(at, token)))


def _change_rows(
    events: list[tuple[int, int, str, State]], start: list[int], token: str, request: Request
) -> Iterator[tuple[str, bytes]]:
    include, every = request.flag("include_docs"), request.query.get("style") == "all_docs"
    at = list(start)
    for seq, place, doc_id, state in events:
        at[place] = seq
        told = _seq(at, token)
        leaves = state.leaves if every else state.leaves[:1]
        row: dict[str, Any] = {"seq": told, "id": doc_id, "changes": [{"rev": leaf.rev} for leaf in leaves]}
        if state.winner.deleted:
            row["deleted"] = True
        text = jsontext.text(row)
        if include:
            doc = documents.printed(doc_id, state, contents=request.flag("attachments"))
            text = b'%b,"doc":%b}' % (text[:-1], doc)
        yield told, text


def _feed(rows: Iterator[tuple[str, bytes]], pending: int, last: str) -> Iterator[bytes]:
    buffer, size, first = [b'{"results":[\n'], 0, True
    for told, text in rows:
        last = told
        buffer.append(text if first else b",\n" + text)
        first = False
        size += len(text)
        if size > _PIECE:
            yield b"".join(buffer)
            buffer, size = [], 0
    buffer.append(b'\n],\n"last_seq":%b,"pending":%d}\n' % (jsontext.text(last), pending))
    yield b"".join(buffer)


def _seq(at: list[int], token: str) -> str:
    packed = base64.urlsafe_b64encode(struct.pack(f">{len(at)}I", *at)).decode().rstrip("=")
    return f"{sum(at)}-{token}{packed}"


def _position(since: str, token: str, count: int) -> list[int]:
    _, _, opaque = since.partition("-")
    if opaque[:8] == token:
        coded = opaque[8:]
        try:
            return list(
                struct.unpack(f">{count}I", base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4)))
            )
        except (ValueError, struct.error):
            pass
    return [0] * count
