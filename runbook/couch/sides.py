"""What can be compared: a dump, the chosen dumps of a backup, a database on a server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from runbook.couch import alldocs, beside, content, inspection
from runbook.couch.client import Client, RequestRefused
from runbook.couch.inspection import DumpDamaged, out_of_order
from runbook.couch.merging import Listing
from runbook.couch.reader import Problem, Reader, Row, database_name
from runbook.couch.selection import SERVER_MADE, Selection

_PIECE = 1 << 20
#: rows that are listed together
_AT_ONCE = 1000


class Dumped:
    """Documents that lie in files, which are opened anew for each stream."""

    def __init__(
        self, listed: Callable[[], Iterator[Listing]], documents: Callable[[], Iterator[Row]]
    ) -> None:
        self.listed, self.documents = listed, documents

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        wanted = set(ids)
        return [row for row in self.documents() if row.id in wanted]

    def attachment(self, id: str, rev: str, name: str) -> str:
        return ""  # what is not in the document is not in the backup


def dump(path: Path, database: str) -> Dumped:
    """One file, with the attachments that lie beside it; the server's own documents left out."""
    own = SERVER_MADE.get(database)

    def documents() -> Iterator[Row]:
        return beside.whole(path, (row for row in inspection.rows(path) if row.id != own))

    return Dumped(lambda: _listed(path, own), documents)


def chosen(one: Selection) -> Dumped:
    """Raises ActionFailed on reading when a dump changed since it was chosen."""
    paths = [Path(source.path) for source in one.sources]

    def documents() -> Iterator[Row]:
        rows = one.rows()
        for path in paths:
            rows = beside.whole(path, rows)
        return rows

    def listed() -> Iterator[Listing]:
        rows = one.rows()  # looks whether they changed
        return _listed(paths[0], SERVER_MADE.get(one.database)) if len(paths) == 1 else listings(rows)

    return Dumped(listed, documents)


def nothing() -> Dumped:
    """A database that does not exist holds no documents."""
    return Dumped(lambda: iter(()), lambda: iter(()))


def listings(rows: Iterator[Row]) -> Iterator[Listing]:
    while some := list(islice(rows, _AT_ONCE)):
        yield Listing([row.id for row in some], [row.rev for row in some])


def _listed(path: Path, own: str | None) -> Iterator[Listing]:
    """What one dump holds, without taking each row apart. Raises DumpDamaged."""
    last = ""
    for found in Reader(path).batches():
        if isinstance(found, Problem):
            raise DumpDamaged(path, found)
        ids, revs = found.ids, found.revs
        if (id := alldocs.disorder(ids, last)) is not None:
            before = last if id == ids[0] else ids[ids.index(id) - 1]
            raise DumpDamaged(path, out_of_order(database_name(path), id, before))
        last = ids[-1]
        if own in ids:
            place = ids.index(own)
            ids, revs = ids[:place] + ids[place + 1 :], revs[:place] + revs[place + 1 :]
        if ids:
            yield Listing(ids, revs)


class Live:
    """A database as the first of ``clients`` shows it; the others are asked when it does not answer."""

    def __init__(self, clients: Sequence[Client], database: str) -> None:
        self.clients, self.database = list(clients), database

    def listed(self) -> Iterator[Listing]:
        first, *others = self.clients
        return alldocs.listed(first, self.database, others)

    def documents(self) -> Iterator[Row]:
        first, *others = self.clients
        return alldocs.documents(first, self.database, others)

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """Raises RequestRefused and the Client's errors."""
        return alldocs.asking(self.clients).ask(lambda client: alldocs.some(client, self.database, ids))

    def attachment(self, id: str, rev: str, name: str) -> str:
        return alldocs.asking(self.clients).ask(lambda client: self._md5(client, id, rev, name))

    def _md5(self, client: Client, id: str, rev: str, name: str) -> str:
        found = hashlib.md5(usedforsecurity=False)
        try:
            with client.stream(self.database, id, name, rev=rev) as body:
                while piece := body.read(_PIECE):
                    found.update(piece)
        except RequestRefused as error:
            if error.status == 404:
                return ""
            raise
        return content.digest_text(found.digest())
