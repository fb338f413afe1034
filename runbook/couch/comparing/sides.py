"""What can be compared: a dump, the chosen dumps of a backup, a database on a server."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from runbook.couch.client import Client, RequestRefused
from runbook.couch.comparing import alldocs, content, heads
from runbook.couch.comparing.heads import Heads
from runbook.couch.reading import beside, inspection
from runbook.couch.reading.reader import Row
from runbook.couch.reading.selection import SERVER_MADE, Selection
from runbook.errors import CouldNotLook

_PIECE = 1 << 20


class Dumped:
    """Documents that lie in files, which are opened anew for each stream."""

    def __init__(self, listed: Callable[[], Iterator[Heads]], documents: Callable[[], Iterator[Row]]) -> None:
        self.listed, self.documents = listed, documents

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        wanted = set(ids)
        return [row for row in self.documents() if row.id in wanted]

    def attachment(self, id: str, rev: str, name: str) -> str:
        return ""  # what is not in the document is not in the backup

    def complain(self, what: str) -> NoReturn:
        """Raises DumpDamaged with the exact fault, or CouldNotLook."""
        deque(self.documents(), maxlen=0)
        raise CouldNotLook(f"The dump cannot be compared: {what}.")


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

    def listed() -> Iterator[Heads]:
        rows = one.rows()  # looks whether they changed
        return _listed(paths[0], SERVER_MADE.get(one.database)) if len(paths) == 1 else heads.of_rows(rows)

    return Dumped(listed, documents)


def nothing() -> Dumped:
    """A database that does not exist holds no documents."""
    return Dumped(lambda: iter(()), lambda: iter(()))


def _listed(path: Path, own: str | None) -> Iterator[Heads]:
    begin = f'{{"id":"{own}",'.encode()
    for some in heads.of_dump(path):
        if kept := [one for one in some if not one.startswith(begin)] if own else some:
            yield kept


class Live:
    """A database as the first of ``clients`` shows it; the others are asked when it does not answer."""

    def __init__(self, clients: Sequence[Client], database: str) -> None:
        self.clients, self.database = list(clients), database

    def listed(self) -> Iterator[Heads]:
        first, *others = self.clients
        return alldocs.listed(first, self.database, others)

    def documents(self) -> Iterator[Row]:
        first, *others = self.clients
        return alldocs.documents(first, self.database, others)

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """Raises RequestRefused and the Client's errors."""
        return alldocs.asking(self.clients).ask(lambda client: alldocs.some(client, self.database, ids))

    def complain(self, what: str) -> NoReturn:
        raise alldocs.disordered(self.clients[0], self.database, what)

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
