"""Putting the chosen documents into an empty database, with the revisions they have.

Requests of ``_bulk_docs`` with ``new_edits: false`` carry documents as the dump's own bytes, a few
MB each, several at once over all nodes. Sending a document twice changes nothing, so everything
that failed on the way is tried again, and a restore that was ended goes on by sending what is
missing. Design documents go last: their validation functions apply to restored documents too.
Then ``_security`` and ``_revs_limit``, where they stand beside the dump.

Every document the servers do not take is told with its id and the reason.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec

from runbook.couch import threads
from runbook.couch.asking import Asking
from runbook.couch.client import Client, Refusal
from runbook.couch.reading import beside
from runbook.couch.reading.reader import Row
from runbook.couch.reading.selection import NEVER, Selection
from runbook.couch.restoring import presence, properties
from runbook.couch.restoring.pace import FIRST_PAUSE, Clock, Tell, quiet
from runbook.couch.restoring.sending import BATCH_BYTES, BATCH_DOCS, PARALLEL, PATIENCE, Sending
from runbook.errors import ActionFailed

#: bytes read from the dump but not yet stored; one document may be larger
IN_FLIGHT = 24_000_000
#: how often a node is asked for the list of what is there already: as patient as the sending
ASKED = 20


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """``database``: of the backup; ``present``: were there before; ``stored``: accepted now (look at
    the database for proof); ``problems``: what could not be set besides, in words."""

    database: str
    expected: int
    present: int
    stored: int
    refused: tuple[Refusal, ...] = ()
    problems: tuple[str, ...] = ()


def batches(
    rows: Iterator[Row], max_bytes: int = BATCH_BYTES, max_docs: int = BATCH_DOCS
) -> Generator[list[Row], None, None]:
    """Rows in groups of at most so many bytes and documents; one that is larger goes alone."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        if batch and size + len(row.doc) > max_bytes:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += len(row.doc)
        if size >= max_bytes or len(batch) >= max_docs:
            del row
            yield batch  # before the next row is read
            batch, size = [], 0
    if batch:
        yield batch


class Restoring:
    """One restore: ``run`` blocks until it is done, ``stop`` ends it from another thread.

    ``docs`` and ``bytes`` count what is on the servers by now, ``present`` and ``present_bytes`` what
    of it was there before. ``tell`` hears, from several threads, when it slows down or a node fails.
    """

    def __init__(
        self,
        selection: Selection,
        clients: Sequence[Client],
        *,
        parallel: int = PARALLEL,
        batch: int = BATCH_DOCS,
        patience: float = PATIENCE,
        pause: float = FIRST_PAUSE,
        tell: Tell = quiet,
        clock: Clock = time.monotonic,
    ) -> None:
        """``parallel`` requests at once, of ``batch`` documents at most; ``patience``: seconds for which no
        node takes anything until this gives up."""
        if selection.database in NEVER:
            raise ActionFailed(f"{selection.database} is never restored.")
        self.selection, self.clients = selection, list(clients)
        self.parallel, self._batch = parallel, batch
        self.docs = self.bytes = self.present = self.present_bytes = 0
        self.refused: list[Refusal] = []
        self._designs: list[Row] = []
        self._stop = threading.Event()
        self._asking = Asking(self.clients, self._stop, attempts=ASKED, pause=pause)
        self._sending = Sending(
            selection.target,
            self.clients,
            stored=self._count,
            refuse=self._refuse,
            stop=self._stop,
            parallel=parallel,
            batch=batch,
            patience=patience,
            pause=pause,
            tell=tell,
            clock=clock,
        )
        self._state = threading.Condition()
        self._in_flight = self._waiting = 0
        self._error: BaseException | None = None

    def run(self) -> Result:
        """Raises DumpDamaged, LoginRefused, RequestRefused (the database is gone, or the servers take
        nothing) and the Client's errors when no node took anything for long; what was stored by then
        stays."""
        pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="restore")
        try:
            with closing(self._missing()) as rows, closing(batches(rows, max_docs=self._batch)) as groups:
                for batch in groups:
                    self._hand_over(pool, batch)
                    del batch  # it may be large, and the next one is read now
                    self._until(lambda: self._room(BATCH_BYTES))
            self._until(lambda: self._waiting == 0)
            for batch in batches(iter(self._designs)):
                self._sending.send(batch)
            problems = self._asking.ask(lambda client: properties.put(self.selection, client))
        except BaseException:
            self._end()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return Result(
            database=self.selection.database,
            expected=self.selection.expected,
            present=self.present,
            stored=self.docs - self.present,
            refused=tuple(self.refused),
            problems=tuple(problems),
        )

    def stop(self) -> None:
        """End soon: connections are cut, nothing more is sent."""
        self._end()
        for client in self.clients:
            client.close()

    def _end(self) -> None:
        self._stop.set()
        self._sending.wake()
        with self._state:
            self._state.notify_all()

    # ── reading ────────────────────────────────────────────────────────────────────────────
    def _missing(self) -> Generator[Row, None, None]:
        """The documents to send: those the database does not hold yet."""
        database = self.selection.target
        with closing(_rows(self.selection)) as rows, closing(presence.there(database, self._asking)) as held:
            there = next(held, None)
            for row in rows:
                while there is not None and there.id < row.id:
                    there = next(held, None)
                if there is not None and there.id == row.id:
                    self._is_there(row, there.rev)
                elif row.stubs:
                    self._refuse(row.id, "missing_stub", "its attachments' contents are not in the backup")
                elif row.id[:1] == "_" and (reason := _illegal(row.id)):
                    self._refuse(row.id, "illegal_docid", reason)
                elif row.id.startswith("_design/"):
                    self._designs.append(row)
                else:
                    yield row

    def _is_there(self, row: Row, rev: str) -> None:
        if rev == row.rev:
            self.present += 1
            self.present_bytes += len(row.doc)
            self._count([row])
        else:
            self._refuse(row.id, "conflict", f"the database holds revision {rev}")

    # ── handing over, within limits ────────────────────────────────────────────────────────
    def _hand_over(self, pool: ThreadPoolExecutor, batch: list[Row]) -> None:
        size = sum(len(row.doc) for row in batch)
        self._until(lambda: self._room(size))
        with self._state:
            self._in_flight += size
            self._waiting += 1

        def done(future: Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            with self._state:
                self._in_flight -= size
                self._waiting -= 1
                self._error = self._error or error
                self._state.notify_all()

        pool.submit(self._sending.send, batch).add_done_callback(done)

    def _room(self, size: int) -> bool:
        fits = self._in_flight == 0 or self._in_flight + size <= IN_FLIGHT
        return fits and self._waiting < 2 * self.parallel

    def _until(self, ready: Callable[[], bool]) -> None:
        """Wait; raises what a thread raised, ActionFailed when stopped."""
        with self._state:
            self._state.wait_for(lambda: self._error is not None or self._stop.is_set() or ready())
            if self._error is not None:
                raise self._error
            if self._stop.is_set():
                raise ActionFailed(f"The restore of {self.selection.target} was stopped.")

    # ── counting ───────────────────────────────────────────────────────────────────────────
    def _count(self, rows: Sequence[Row]) -> None:
        with self._state:
            self.docs += len(rows)
            self.bytes += sum(len(row.doc) for row in rows)

    def _refuse(self, id: str, error: str, reason: str) -> None:
        with self._state:
            self.refused.append(Refusal(id, error, reason))


def _rows(one: Selection) -> Generator[Row, None, None]:
    """The chosen documents, with their attachments where the contents lie beside a dump."""
    found = one.rows()
    for source in one.sources:
        found = beside.whole(Path(source.path), found)
    yield from found


def _illegal(id: str) -> str:
    """Why no server takes a document of that id: a request would be refused for it as a whole, or
    keep it where no listing shows it."""
    if id.startswith("_local/"):
        return "it belongs to one server alone, and is in no listing"
    if not id.startswith("_design/") or id == "_design/":
        return "only reserved document ids may start with underscore"
    return ""


async def restore(
    selection: Selection,
    clients: Sequence[Client],
    *,
    progress: Callable[[Restoring], None] | None = None,
    parallel: int = PARALLEL,
    tell: Tell = quiet,
) -> Result:
    """Restore in threads. ``progress`` (with what counts) and ``tell`` are called on the event loop.
    When this is cancelled, the clients are closed and all threads have ended before it returns."""
    work = Restoring(selection, clients, parallel=parallel, tell=threads.teller(tell))
    return await threads.watched(work, (lambda: progress(work)) if progress else None)
