"""What can be compared: a dump, the chosen dumps of a backup, a database on a server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from runbook.couch import alldocs, beside, content, inspection
from runbook.couch.alldocs import Held
from runbook.couch.client import Client, RequestRefused
from runbook.couch.reader import Row
from runbook.couch.selection import SERVER_MADE, Selection

_PIECE = 1 << 20


Documents = Callable[[], Iterator[Row]]


class Dumped:
    """Documents that lie in files, which are opened anew for each stream; ``rows`` without what
    takes long to find."""

    def __init__(self, rows: Documents, documents: Documents) -> None:
        self.rows, self.documents = rows, documents

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        wanted = set(ids)
        return [row for row in self.documents() if row.id in wanted]

    def attachment(self, id: str, rev: str, name: str) -> str:
        return ""  # what is not in the document is not in the backup


def dump(path: Path, database: str) -> Dumped:
    """One file, with the attachments that lie beside it; the server's own documents left out."""
    own = SERVER_MADE.get(database)

    def rows() -> Iterator[Row]:
        return (row for row in inspection.rows(path) if row.id != own)

    return Dumped(rows, lambda: beside.whole(path, rows()))


def chosen(one: Selection) -> Dumped:
    def documents() -> Iterator[Row]:
        rows = one.rows()
        for source in one.sources:
            rows = beside.whole(Path(source.path), rows)
        return rows

    return Dumped(one.rows, documents)


def nothing() -> Dumped:
    """A database that does not exist holds no documents."""
    return Dumped(lambda: iter(()), lambda: iter(()))


class Live:
    """A database as the first of ``clients`` shows it; the others are asked when it does not answer."""

    def __init__(self, clients: Sequence[Client], database: str) -> None:
        self.clients, self.database = list(clients), database

    def rows(self) -> Iterator[Held]:
        first, *others = self.clients
        return alldocs.held(first, self.database, others)

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
