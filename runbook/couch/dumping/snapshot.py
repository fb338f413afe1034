"""One database, dumped as it was at one moment though it is being written to.

1. The sequence of its changes feed is noted, then all documents are listed into a file.
2. The contents of attachments are fetched for the very revisions that the dump holds.
3. The feed is followed from that sequence to its end, and what it tells is put into the file: it is
   the exact state at the sequence where it ended. Of a database that is written to faster than it can
   be read, how much is left is told (Meta.late).

Everything is kept in files beside the dump, so that a killed one goes on where it was; one that
was done already is brought up to date.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from runbook.couch import changes, copies
from runbook.couch.asking import Asking, CutOff
from runbook.couch.client import Client, RequestRefused
from runbook.couch.dumping import dumpfile, following, inlined, listing
from runbook.couch.dumping.ledger import Held, Ledger
from runbook.couch.progress import Progress
from runbook.couch.reading import beside
from runbook.couch.reading.beside import Meta
from runbook.couch.reading.inspection import DumpDamaged
from runbook.couch.reading.reader import Problem, Reader, Row
from runbook.errors import ActionFailed

#: how often the feed is followed where it does not tell the contents of attachments
ROUNDS = 5
#: listings that end too early, though no connection broke
_LISTINGS = 3


class Snapshot:
    """``path`` is where the dump of ``database`` goes, ``work`` a folder of its own for as long as it
    is being made; ``identity`` tells which database was meant (see ``identity``). ``gate`` is held by
    what needs memory for a whole document. All in one thread."""

    def __init__(
        self,
        database: str,
        path: Path,
        work: Path,
        asking: Asking,
        *,
        identity: str,
        progress: Progress,
        gate: threading.Lock,
    ) -> None:
        self.database, self.path, self.work = database, path, work
        self.spool = work / "spool"
        self.asking, self.identity, self.progress, self.gate = asking, identity, progress, gate

    def take(self) -> Meta:
        """Raises what Asking.ask does, DumpDamaged, OSError, sqlite3.Error; what is there by then is
        gone on with by the next call."""
        for folder in (self.work, self.path.parent / beside.FOLDER):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ledger = Ledger(self.work / "ledger")
        try:
            self._begin()
            self._list()
            late = self._settle()
            self._merge()
            self._write_whole()
            return self._write_meta(late)
        finally:
            self.ledger.close()

    # ── 1. the listing ─────────────────────────────────────────────────────────────────────
    def _begin(self) -> None:
        """Note the sequence from which on changes are followed, before the first document is read."""
        found = self.asking.ask(lambda client: identity(client, self.database))
        if found != self.identity:
            raise ActionFailed(f"{self.database} was made anew meanwhile: it is another database now.")
        if self.ledger["sequence"]:
            return
        self.path.unlink(missing_ok=True)  # nothing is known of what it is
        sequence = changes.now(self.asking, self.database)
        self.ledger["sequence"] = sequence

    def _list(self) -> None:
        if self.ledger["listed"]:
            self.progress.found(self.ledger.documents(), self.path.stat().st_size)
            return
        for attempt in range(1, _LISTINGS + 1):
            rough = Progress(within=self.progress)
            listing.fetch(self.path, self.database, self.asking, rough)
            with self.gate:
                problem = self._check()
            if problem is None:
                self.progress.came(self.ledger.documents() - rough.documents, 0)
                return
            if problem.kind != "cut_off":
                self.path.unlink()  # nothing in it can be gone on with
                raise DumpDamaged(self.path, problem)
            if attempt == _LISTINGS:
                raise CutOff(self.asking.clients[0], f"the list of {self.database}")

    def _check(self) -> Problem | None:
        """Read the listing to its end and note its documents."""
        reader, last = Reader(self.path), ""
        with self.ledger.together():
            self.ledger.forget()
            for found in reader.batches():
                self.asking.go_on()
                if isinstance(found, Problem):
                    if found.kind != "no_doc":
                        return found
                    continue  # deleted just then: the feed tells of it
                for before, id in pairwise((last, *found.ids)):
                    if before >= id:
                        return Problem("disorder", f"{self.database} lists {id!r} after {before!r}.")
                last = found.ids[-1]
                stubs = frozenset(found.stubs)
                rows = zip(found.ids, found.revs, strict=True)
                self.ledger.read((Held(id, rev, 0 if id in stubs else None) for id, rev in rows))
            self._measure()
            self.ledger["announced"] = str(reader.total_rows)
            self.ledger["listed"] = "yes"
        return None

    def _measure(self) -> None:
        """Note the length of all attachments, where there are any: their documents are looked into."""
        if not self.ledger.attached()[0]:
            return
        for row in Reader(self.path):
            if isinstance(row, Row) and row.stubs:
                self.ledger.read([Held(row.id, row.rev, inlined.length(row.doc))])

    # ── 2. and 3. attachments, changes ─────────────────────────────────────────────────────
    def _settle(self) -> int:
        """Changes that the dump is without: 0 for one that is exact."""
        self._fill()
        for _ in range(ROUNDS):
            left = following.follow(self.ledger, self.database, self.asking, self.work / "answer", self.spool)
            if not self._fill():
                break
        return left

    def _fill(self) -> int:
        return inlined.fill(self.ledger, self.database, self.asking, self.spool, self.progress, self.gate)

    # ── the files ──────────────────────────────────────────────────────────────────────────
    def _merge(self) -> None:
        """Put what was read again into the dump's file, and its true number of rows."""
        late, count = next(self.ledger.late(), None), self.ledger.documents()
        if late is None and self.ledger["announced"] == str(count):
            return
        self._write(self.path, count, dumpfile.merged(self.path, self.ledger.late()))
        with self.ledger.together():
            self.ledger.merged()
            self.ledger["announced"] = str(count)

    def _write_whole(self) -> None:
        path, (_, count) = beside.attached_path(self.path), self.ledger.attached()
        if not count:
            path.unlink(missing_ok=True)
            return
        with self.spool.open("rb") as spool:

            def inline() -> Iterator[dumpfile.Document]:
                for id, rev, start, size in self.ledger.whole():
                    spool.seek(start)
                    yield id, rev, spool.read(size)

            self._write(path, count, inline())

    def _write(self, path: Path, count: int, documents: Iterator[dumpfile.Document]) -> None:
        with self.gate:
            dumpfile.write(path, self.work / "part.json", count, documents, self.asking.go_on)

    def _write_meta(self, late: int) -> Meta:
        info = self.asking.ask(lambda client: client.need(self.database))
        stubs, attached = self.ledger.attached()
        cluster, props = info.get("cluster", {}), info.get("props", {})
        meta = Meta(
            database=self.database,
            documents=self.ledger.documents(),
            deleted=int(info.get("doc_del_count", 0)),
            sequence=self.ledger["sequence"],
            q=int(cluster.get("q", 0)),
            n=int(cluster.get("n", 0)),
            partitioned=props.get("partitioned") is True,
            security=self._told("_security", dict),
            revs_limit=self._told("_revs_limit", int) or 0,
            attached=attached,
            lacking=stubs - attached,
            late=late,
            identity=self.identity,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        text = msgspec.json.format(msgspec.json.encode(meta)) + b"\n"
        dumpfile.replace(beside.meta_path(self.path), text)
        return meta

    def _told(self, what: str, type: type[Any]) -> Any:
        """A setting of the database; None where the server does not know it."""

        def get(client: Client) -> Any:
            reply = client.get(self.database, what)
            if reply.status in (404, 405, 501):
                return None
            if not reply.ok:
                raise RequestRefused(client.node, f"show {what} of {self.database}", reply)
            return reply.body if isinstance(reply.body, type) else None

        return self.asking.ask(get)


def identity(client: Client, database: str) -> str:
    """What sets this database apart from any other of its name, on this server or another."""
    try:
        return copies.suffix(client, database)
    except RequestRefused as error:
        if error.status not in (400, 404):
            raise
    # no CouchDB cluster: the server's own name and when the database was opened, if it tells
    server = client.need()
    return f"{server.get('uuid', '')} {client.need(database).get('instance_start_time', '')}".strip()
