"""Does a database hold what the backup holds? Ids and revisions of all, contents of some or all.

Both sides come in the order of their ids and are merged as streams: memory does not grow with the
database. Contents are compared as values (a server may write the same number or key order in
another way); of an upload, which is a document with the file in base64 under ``data``, the
file's own bytes are compared.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import heapq
import json
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from decimal import Context, Decimal, DecimalException
from typing import Any, NamedTuple, TypeVar

import msgspec

from runbook.couch.client import Client, RequestRefused
from runbook.couch.reader import Row
from runbook.couch.selection import SERVER_MADE
from runbook.errors import RunbookError, TimedOut, Unreachable

T = TypeVar("T")
#: rows of ids and revisions asked for at once (about 100 bytes each)
PAGE = 5000
#: how often each node is asked for a page before giving up
ROUNDS = 3
#: ids named in a result; the counts are whole
NAMED = 20
_GROUP_BYTES, _GROUP_DOCS = 4_000_000, 100


class _Value(msgspec.Struct):
    rev: str


class Held(msgspec.Struct):
    """A document as a server lists it."""

    id: str
    value: _Value


class _Page(msgspec.Struct):
    rows: list[Held]


class _Body(msgspec.Struct):
    id: str = ""
    doc: msgspec.Raw = msgspec.Raw(b"null")  #: null for one that is deleted


class _Bodies(msgspec.Struct):
    rows: list[_Body]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """``missing``: in the backup, not on the server; ``extra``: the other way round; ``other``:
    there in another revision; ``differing``: the same revision with other content. The ``first_…``
    name up to 20 ids each. ``bodies``: how many contents were compared."""

    database: str
    expected: int
    actual: int
    missing: int = 0
    extra: int = 0
    other: int = 0
    bodies: int = 0
    differing: int = 0
    first_missing: tuple[str, ...] = ()
    first_extra: tuple[str, ...] = ()
    first_other: tuple[str, ...] = ()
    first_differing: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return not (self.missing or self.extra or self.other or self.differing)

    @property
    def there(self) -> int:
        """Documents of the backup that the server holds in the right revision."""
        return self.expected - self.missing - self.other

    def words(self) -> str:
        """``2 missing (a, b), 1 extra (c)``; empty when all is the same."""
        parts = [
            (self.missing, "missing", self.first_missing),
            (self.extra, "extra", self.first_extra),
            (self.other, "in another revision", self.first_other),
            (self.differing, "with the same revision but different content", self.first_differing),
        ]
        return ", ".join(
            f"{count} {what} ({', '.join(ids)}{', …' if count > len(ids) else ''})"
            for count, what, ids in parts
            if count
        )


def held(client: Client, database: str, page: int = PAGE, others: Sequence[Client] = ()) -> Iterator[Held]:
    """What the server lists, in the order of ids, without what it made itself; ``others`` are asked
    when it does not answer. Raises RequestRefused (404: no such database) and the Client's errors."""
    last, own = None, SERVER_MADE.get(database)
    while True:
        query: dict[str, str] = {} if last is None else {"startkey": json.dumps(last)}
        found = _page([client, *others], database, limit=page + 1, **query).rows
        for row in found:
            if row.id not in (last, own):
                yield row
        if len(found) <= page:
            return
        last = found[-1].id


def _page(clients: list[Client], database: str, **query: Any) -> _Page:
    """A page of the list, from the first node that gives it."""
    for attempt, client in enumerate(clients * ROUNDS, start=1):
        last = attempt == len(clients) * ROUNDS
        try:
            reply = client.get(database, "_all_docs", raw=True, **query)
        except (Unreachable, TimedOut):
            if last or client.closed:
                raise
        else:
            if reply.ok:
                return _decoded(client, reply.body, _Page)
            if last or reply.status < 500:
                raise RequestRefused(client.node, f"list {database}", reply)
        time.sleep(0.1 * attempt)
    raise AssertionError("unreachable")


def _decoded(client: Client, body: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except (ValueError, RecursionError) as error:
        raise RunbookError(
            f"CouchDB on {client.node} listed documents in an unknown form: {error}."
        ) from None


def aligned(rows: Iterable[Row], there: Iterable[Held]) -> Iterator[tuple[Row | None, Held | None]]:
    """Both streams side by side: pairs of the same id, None where one side has no such document."""
    left, right = iter(rows), iter(there)
    row, other = next(left, None), next(right, None)
    while row is not None or other is not None:
        if other is None or (row is not None and row.id < other.id):
            yield row, None
            row = next(left, None)
        elif row is None or other.id < row.id:
            yield None, other
            other = next(right, None)
        else:
            yield row, other
            row, other = next(left, None), next(right, None)


class _Wanted(NamedTuple):
    order: int
    id: str
    size: int
    digest: bytes


class _Tally:
    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, id: str) -> None:
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(id)


def compare(rows: Iterable[Row], client: Client, database: str, *, sample: int | None = 100) -> Comparison:
    """Merge ``rows`` (Selection.rows()) with the server's list. ``sample``: of how many documents
    the contents are compared, always the same ones; None: of all. Blocks: call it in a thread.

    Raises DumpDamaged, RequestRefused and the Client's errors.
    """
    missing, extra, other, differing = _Tally(), _Tally(), _Tally(), _Tally()
    expected = actual = bodies = 0
    chosen: list[_Wanted] = []  # the documents with the smallest hashes of their ids
    group: list[_Wanted] = []
    for row, there in aligned(rows, held(client, database)):
        expected += row is not None
        actual += there is not None
        if row is None:
            extra.add(there.id if there else "")
        elif there is None:
            missing.add(row.id)
        elif there.value.rev != row.rev:
            other.add(row.id)
        elif sample is None:
            group.append(_wanted(row, 0))
            if _full(group):
                bodies += _check(client, database, group, differing)
                group = []
        else:
            order = -zlib.crc32(row.id.encode())
            if len(chosen) < sample:
                heapq.heappush(chosen, _wanted(row, order))
            elif chosen and order > chosen[0].order:
                heapq.heapreplace(chosen, _wanted(row, order))
    for one in chosen:
        group.append(one)
        if _full(group):
            bodies += _check(client, database, group, differing)
            group = []
    bodies += _check(client, database, group, differing)
    return Comparison(
        database=database,
        expected=expected,
        actual=actual,
        missing=missing.count,
        extra=extra.count,
        other=other.count,
        bodies=bodies,
        differing=differing.count,
        first_missing=tuple(missing.first),
        first_extra=tuple(extra.first),
        first_other=tuple(other.first),
        first_differing=tuple(differing.first),
    )


def _wanted(row: Row, order: int) -> _Wanted:
    return _Wanted(order, row.id, len(row.doc), content_digest(row.doc))


def _full(group: list[_Wanted]) -> bool:
    return len(group) >= _GROUP_DOCS or sum(one.size for one in group) >= _GROUP_BYTES


def _check(client: Client, database: str, group: list[_Wanted], differing: _Tally) -> int:
    """Fetch the documents of ``group`` and compare their contents; how many were compared."""
    if not group:
        return 0
    keys = {"keys": [one.id for one in group]}
    reply = client.post(database, "_all_docs", body=keys, raw=True, include_docs=True, timeout=300.0)
    if not reply.ok:
        raise RequestRefused(client.node, f"show documents of {database}", reply)
    found = {row.id: row.doc for row in _decoded(client, reply.body, _Bodies).rows}
    for one in group:
        doc = bytes(found.get(one.id, b"null"))
        if doc == b"null" or content_digest(doc) != one.digest:
            differing.add(one.id)
    return len(group)


def content_digest(doc: bytes) -> bytes:
    """SHA-256 over a document's content without its ``_`` fields: the same for the same values,
    however they are written."""
    try:
        fields = json.loads(doc, parse_int=_number, parse_float=_number)
    except RecursionError:
        return hashlib.sha256(doc).digest()
    content = {key: value for key, value in fields.items() if not key.startswith("_")}
    if "content_type" in content and isinstance(content.get("data"), str):
        try:
            upload = base64.b64decode(content["data"], validate=True)
            content["data"] = {"#file": hashlib.sha256(upload).hexdigest()}
        except (binascii.Error, ValueError):
            pass  # not a file after all: compared as text
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


def _number(text: str) -> Any:
    """A number by its exact value: 1.50 is 1.5, thirty digits are thirty digits, -0.0 is not 0."""
    try:
        value = str(Context(prec=len(text) + 1).normalize(Decimal(text)))
    except DecimalException:
        value = text
    return {"#number": value}
