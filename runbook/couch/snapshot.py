"""One database, dumped as it was at one moment though it is being written to.

1. The sequence of its changes feed is noted, then all documents are listed into a file.
2. What changed since is read again, round after round, and merged into the file. A round's
   documents are read a little later than the feed, so they may be ahead of it; the dump is the
   exact state at a sequence when nothing that the last round read has changed since. If that is
   never so within ROUNDS, how many documents are not of that moment is told (Meta.late).
3. The contents of attachments are fetched for the very revisions that the dump holds.

Everything is kept in files beside the dump, so that a killed one goes on where it was; one that
was done already is brought up to date.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from runbook.couch import beside, changes, copies, dumpfile, inlined, listing
from runbook.couch.asking import Asking, CutOff
from runbook.couch.beside import Meta
from runbook.couch.client import Client, RequestRefused
from runbook.couch.dumpfile import opener
from runbook.couch.inspection import DumpDamaged
from runbook.couch.ledger import Held, Ledger
from runbook.couch.listing import PIECE
from runbook.couch.progress import Progress
from runbook.couch.reader import Problem, Reader, Row
from runbook.errors import ActionFailed

#: how often what changed meanwhile is read again
ROUNDS = 8
#: listings that end too early, though no connection broke
_LISTINGS = 3
#: documents asked for at once; documents with attachments looked up at once
_GROUP = 500
#: from so many bytes of attachments on, documents are held in memory one at a time
_LARGE = 4_000_000
_BATCH = 1000


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
            sequence, late = self._settle()
            self._merge()
            self._write_whole()
            return self._write_meta(sequence, late)
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
        with self.ledger.together():
            self.ledger["sequence"], self.ledger["round"] = sequence, "0"

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
            items = iter(reader)
            while batch := list(islice(items, _BATCH)):
                self.asking.go_on()
                held = []
                for item in batch:
                    if isinstance(item, Row):
                        if item.id <= last:
                            return Problem("disorder", f"{self.database} lists {item.id!r} after {last!r}.")
                        last = item.id
                        held.append(Held(item.id, item.rev, inlined.length(item)))
                    elif item.kind == "no_doc" and item.ids:
                        self.ledger.want(item.ids[0])  # deleted just then
                    else:
                        return item
                self.ledger.read(held, 0)
            self.ledger["announced"] = str(reader.total_rows)
            self.ledger["listed"] = "yes"
        return None

    # ── 2. and 3. what changed meanwhile; attachments ──────────────────────────────────────
    def _settle(self) -> tuple[str, int]:
        """Read again until the dump is the state at one sequence: (that sequence, documents that are
        not of that moment)."""
        turn = 0
        if self.ledger.outstanding():  # of a call that was killed
            self._reread()
        while True:
            self._fill()
            before = self.ledger["sequence"]
            ahead = self._look()
            left = self.ledger.outstanding()
            if not left:
                return self.ledger["sequence"], 0
            if turn and not ahead:
                return before, 0
            if turn == ROUNDS:
                return before, left
            turn += 1
            self._reread()

    def _look(self) -> bool:
        """Follow the feed to its end and note what has to be read again. Is anything of what was
        read in the last round ahead of where the feed was then?"""
        ledger, since = self.ledger, self.ledger["sequence"]
        last, ahead = int(ledger["round"]), bool(ledger["ahead"])
        with ledger.together():
            for page, reached in changes.pages(self.asking, self.database, since):
                for one in page:
                    rev, round = ledger.of(one.id) or ("", -1)
                    ahead |= round == last
                    if rev if one.deleted else rev != one.rev:
                        ledger.want(one.id, one.deleted)
                ledger["sequence"] = reached
            ledger["round"], ledger["ahead"] = str(last + 1), ""
        return ahead

    def _reread(self) -> None:
        with self.ledger.together():
            self.ledger.drop_deleted()
        while ids := self.ledger.wanted(_GROUP):
            self.asking.ask(lambda client, ids=ids: self._take(client, ids))  # type: ignore[misc]

    def _take(self, client: Client, ids: list[str]) -> None:
        """Read these documents as they are now."""
        answer, ledger, round = self.work / "again.json", self.ledger, int(self.ledger["round"])
        with (
            open(answer, "wb", opener=opener) as file,
            client.stream(self.database, "_all_docs", body={"keys": ids}, include_docs="true") as body,
        ):
            while piece := body.read1(PIECE):
                file.write(piece)
                self.asking.go_on()
        reader, rows = Reader(answer), 0
        with self.gate, ledger.together():
            missing = dict.fromkeys(ids)
            for item in reader:
                rows += 1
                if isinstance(item, Row):
                    missing.pop(item.id)
                    ledger.read_again(Held(item.id, item.rev, inlined.length(item)), item.doc, round)
                elif item.kind == "too_deep":
                    raise DumpDamaged(answer, item)
            if not reader.whole or rows != len(ids):
                raise CutOff(client, f"documents of {self.database}")
            for id in missing:
                if client.get(self.database, id, raw=True).status != 404:
                    raise CutOff(client, f"documents of {self.database}")
                ledger.gone(id)
            if missing:  # deleted only after what the feed had told
                ledger["ahead"] = "yes"

    def _fill(self) -> None:
        """Fetch the attachments of every document that the dump holds. One that changed meanwhile is
        passed over: the feed tells of it."""
        after = ""
        while group := self.ledger.lacking(after, _GROUP):
            for one in group:
                large = (one.length or 0) >= _LARGE
                with self.gate if large else nullcontext():
                    doc = self.asking.ask(lambda client, one=one: self._contents(client, one))  # type: ignore[misc]
                    if doc is not None:
                        self.ledger.fill(one.id, one.rev, doc)
                        self.progress.came(0, len(doc))
            after = group[-1].id

    def _contents(self, client: Client, one: Held) -> bytes | None:
        try:
            with client.stream(self.database, one.id, attachments="true", rev=one.rev) as body:
                pieces = []
                while piece := body.read1(PIECE):
                    pieces.append(piece)
                    self.asking.go_on()
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise
        doc = b"".join(pieces).strip()
        if not inlined.complete(doc, one.id, one.rev, one.length or 0):
            raise CutOff(client, f"{one.id} of {self.database} with its attachments")
        return doc

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
        if count:
            self._write(path, count, self.ledger.whole())
        else:
            path.unlink(missing_ok=True)

    def _write(self, path: Path, count: int, documents: Iterator[dumpfile.Document]) -> None:
        with self.gate:
            dumpfile.write(path, self.work / "part.json", count, documents, self.asking.go_on)

    def _write_meta(self, sequence: str, late: int) -> Meta:
        info = self.asking.ask(lambda client: client.need(self.database))
        stubs, attached = self.ledger.attached()
        cluster, props = info.get("cluster", {}), info.get("props", {})
        meta = Meta(
            database=self.database,
            documents=self.ledger.documents(),
            deleted=int(info.get("doc_del_count", 0)),
            sequence=sequence,
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
