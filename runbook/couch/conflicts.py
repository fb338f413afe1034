"""Documents of which a database holds several revisions that nobody chose between.

CouchDB shows one of them and keeps silent about the others. In ``_users`` it locks the user out. The
changes feed tells all revisions that have no successor; whether more than one of them is alive, the
documents concerned are asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import msgspec

from runbook.couch.asking import CutOff
from runbook.couch.client import Client, RequestRefused
from runbook.couch.comparing.alldocs import asking, pieces
from runbook.couch.reading import jsonlist

#: ids named in words; the counts are whole
NAMED = 20


class _Rev(msgspec.Struct, gc=False):
    rev: str


class _Change(msgspec.Struct, gc=False):
    id: str
    seq: str | int
    changes: list[_Rev]
    deleted: bool = False


class _Document(msgspec.Struct, rename={"conflicts": "_conflicts"}):
    conflicts: list[str] = []


_changes = msgspec.json.Decoder(list[_Change])
_document = msgspec.json.Decoder(_Document)


class Conflicts(msgspec.Struct, frozen=True):
    """How many documents of a database are in conflict; the first of them by name."""

    database: str
    count: int = 0
    first: tuple[str, ...] = ()

    def words(self) -> str:
        """Empty when there are none."""
        if not self.count:
            return ""
        what = "1 document is" if self.count == 1 else f"{self.count} documents are"
        names = ", ".join(self.first) + (", …" if self.count > len(self.first) else "")
        return f"{what} in conflict in {self.database}: {names}"


def look(clients: Sequence[Client], database: str) -> Conflicts:
    """Read the whole feed, in memory that does not grow with it. Blocks.

    Raises RequestRefused (404: no such database) and the Client's errors.
    """
    first: list[str] = []
    count = 0
    for id in dict.fromkeys(_suspects(clients, database)):
        if asking(clients).ask(lambda client, id=id: _in_conflict(client, database, id)):  # type: ignore[misc]
            count += 1
            if len(first) < NAMED:
                first.append(id)
    return Conflicts(database, count, tuple(sorted(first)))


def _suspects(clients: Sequence[Client], database: str) -> Iterator[str]:
    """Documents with several revisions that have no successor, perhaps more than once each."""
    since: str | int = 0

    def read(stack: ExitStack, client: Client) -> Iterator[list[_Change]]:
        query: dict[str, Any] = {"style": "all_docs", "since": since}
        body = stack.enter_context(client.stream(database, "_changes", **query))
        try:
            yield from jsonlist.batches(body, _changes)
        except jsonlist.Broken as said:
            raise CutOff(client, f"the changes of {database} ({said})") from None

    with closing(pieces(clients, read)) as found:
        for _, rows in found:
            for row in rows:
                if len(row.changes) > 1 and not row.deleted:
                    yield row.id
            since = rows[-1].seq


def _in_conflict(client: Client, database: str, id: str) -> bool:
    reply = client.get(database, id, raw=True, conflicts="true")
    if reply.status == 404:  # deleted by now
        return False
    if not reply.ok:
        raise RequestRefused(client.node, f"show {id} of {database}", reply)
    return bool(_document.decode(reply.body).conflicts)
