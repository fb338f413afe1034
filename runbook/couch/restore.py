"""Putting the chosen documents into an empty database, with the revisions they have.

Requests of ``_bulk_docs`` with ``new_edits: false`` carry documents as the dump's own bytes, a few
MB each, several at once over all nodes. Sending a document twice changes nothing, so everything
that failed on the way is tried again, and a restore that was ended goes on by sending what is
missing. Design documents go last: their validation functions apply to restored documents too.

Every document the servers do not take is told with its id and the reason.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import msgspec

from runbook.couch.client import Client, Refusal, RequestRefused
from runbook.couch.compare import aligned, held
from runbook.couch.reader import Row
from runbook.couch.selection import NEVER, Selection
from runbook.errors import ActionFailed, HostError, LoginRefused

BATCH_BYTES = 4_000_000
BATCH_DOCS = 500
#: requests at once, over all nodes (measured: twice as fast as one, and not slower than eight)
PARALLEL = 6
#: bytes read from the dump but not yet stored; one document may be larger
IN_FLIGHT = 64_000_000
ATTEMPTS = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0
_BUSY = frozenset({429, 502, 503, 504})


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """``present``: were there before; ``stored``: accepted now (look at the database for proof)."""

    database: str
    expected: int
    present: int
    stored: int
    refused: tuple[Refusal, ...] = ()


def batches(
    rows: Iterator[Row], max_bytes: int = BATCH_BYTES, max_docs: int = BATCH_DOCS
) -> Iterator[list[Row]]:
    """Rows in groups of at most so many bytes and documents; one that is larger goes alone."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        if batch and (size + len(row.doc) > max_bytes or len(batch) >= max_docs):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += len(row.doc)
    if batch:
        yield batch


class Restoring:
    """One restore: ``run`` blocks until it is done, ``stop`` ends it from another thread.

    ``docs`` and ``bytes`` count what is on the servers by now.
    """

    def __init__(
        self,
        selection: Selection,
        clients: Sequence[Client],
        *,
        parallel: int = PARALLEL,
        attempts: int = ATTEMPTS,
        pause: float = FIRST_PAUSE,
    ) -> None:
        if selection.database in NEVER:
            raise ActionFailed(f"{selection.database} is never restored.")
        self.selection, self.clients = selection, list(clients)
        self.parallel, self.attempts, self.pause = parallel, attempts, pause
        self.docs = self.bytes = self.present = 0
        self.refused: list[Refusal] = []
        self._designs: list[Row] = []
        self._stop = threading.Event()
        self._state = threading.Condition()
        self._in_flight = self._waiting = 0
        self._error: BaseException | None = None

    def run(self) -> Result:
        """Raises DumpDamaged, LoginRefused, RequestRefused (the database is gone) and the
        Client's errors after many attempts; what was stored by then stays."""
        pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="restore")
        try:
            for turn, batch in enumerate(batches(self._missing())):
                self._hand_over(pool, batch, turn)
            self._drain()
            for turn, batch in enumerate(batches(iter(self._designs))):
                self._send(batch, turn)
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        stored = self.docs - self.present
        return Result(
            database=self.selection.database,
            expected=self.selection.expected,
            present=self.present,
            stored=stored,
            refused=tuple(self.refused),
        )

    def stop(self) -> None:
        """End soon: connections are cut, nothing more is sent."""
        self._stop.set()
        with self._state:
            self._state.notify_all()
        for client in self.clients:
            client.close()

    # ── reading ────────────────────────────────────────────────────────────────────────────
    def _missing(self) -> Iterator[Row]:
        """The documents to send: those the database does not hold yet."""
        first, *others = self.clients
        there_now = held(first, self.selection.database, others=others)
        for row, there in aligned(self.selection.rows(), there_now):
            if row is None:
                continue
            if there is not None and there.value.rev == row.rev:
                with self._state:
                    self.present += 1
                self._count([row])
            elif there is not None:
                self._refuse(row.id, "conflict", f"the database holds revision {there.value.rev}")
            elif row.stubs:
                self._refuse(row.id, "missing_stub", "the contents of its attachments are not in the backup")
            elif row.id.startswith("_design/"):
                self._designs.append(row)
            else:
                yield row

    # ── handing over, within limits ────────────────────────────────────────────────────────
    def _hand_over(self, pool: ThreadPoolExecutor, batch: list[Row], turn: int) -> None:
        size = sum(len(row.doc) for row in batch)
        with self._state:
            self._state.wait_for(lambda: self._ended() or self._room(size))
            self._raise_ended()
            self._in_flight += size
            self._waiting += 1

        def done(future: Future[None]) -> None:
            error = None if future.cancelled() else future.exception()
            with self._state:
                self._in_flight -= size
                self._waiting -= 1
                self._error = self._error or error
                self._state.notify_all()

        pool.submit(self._send, batch, turn).add_done_callback(done)

    def _room(self, size: int) -> bool:
        fits = self._in_flight == 0 or self._in_flight + size <= IN_FLIGHT
        return fits and self._waiting < 2 * self.parallel

    def _ended(self) -> bool:
        return self._stop.is_set() or self._error is not None

    def _raise_ended(self) -> None:
        if self._error is not None:
            raise self._error
        if self._stop.is_set():
            raise ActionFailed(f"The restore of {self.selection.database} was stopped.")

    def _drain(self) -> None:
        with self._state:
            self._state.wait_for(lambda: self._error is not None or self._waiting == 0)
            self._raise_ended()

    # ── sending ────────────────────────────────────────────────────────────────────────────
    def _send(self, batch: list[Row], turn: int) -> None:
        """Store a batch; where it is refused as a whole, find the documents that are to blame."""
        try:
            refused = self._try(batch, turn)
        except RequestRefused as error:
            if error.status == 404:
                raise
            if len(batch) == 1:
                self._refuse(batch[0].id, f"{error.status} {error.error}", error.reason)
                return
            middle = len(batch) // 2
            self._send(batch[:middle], turn)
            self._send(batch[middle:], turn)
            return
        for one in refused:
            self._refuse(one.id, one.error, one.reason)
        names = {one.id for one in refused}
        self._count([row for row in batch if row.id not in names])

    def _try(self, batch: list[Row], turn: int) -> list[Refusal]:
        """Send until a node takes it: another node each time, with growing pauses."""
        pause = self.pause
        for attempt in range(1, self.attempts + 1):
            if self._ended():
                self._raise_ended()
            client = self.clients[(turn + attempt - 1) % len(self.clients)]
            try:
                return client.bulk(self.selection.database, [row.doc for row in batch])
            except LoginRefused:
                raise
            except RequestRefused as error:
                # a 500 may be the request's fault: once more, then look for the culprit
                if attempt == self.attempts or not (
                    error.status in _BUSY or (error.status == 500 and attempt == 1)
                ):
                    raise
            except HostError:
                if attempt == self.attempts:
                    raise
            self._stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        raise AssertionError("unreachable")

    def _count(self, rows: list[Row]) -> None:
        with self._state:
            self.docs += len(rows)
            self.bytes += sum(len(row.doc) for row in rows)

    def _refuse(self, id: str, error: str, reason: str) -> None:
        with self._state:
            self.refused.append(Refusal(id, error, reason))


async def restore(
    selection: Selection,
    clients: Sequence[Client],
    *,
    progress: Callable[[int, int], None] | None = None,
    parallel: int = PARALLEL,
) -> Result:
    """Restore in threads. ``progress(documents, bytes)`` is called on the event loop. When this is
    cancelled, the clients are closed and all threads have ended before it returns."""
    work = Restoring(selection, clients, parallel=parallel)
    task = asyncio.ensure_future(asyncio.to_thread(work.run))
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=0.2)
            if progress:
                progress(work.docs, work.bytes)
        return task.result()
    finally:
        if not task.done():
            work.stop()
            with suppress(Exception):
                await asyncio.shield(task)
