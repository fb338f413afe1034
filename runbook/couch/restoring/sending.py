"""One batch of documents, sent until the servers have it or say which documents they do not take.

Which node, how many at once, how large and when again is for ``pace``; whether documents are to blame
for ``trouble``. Sending the same revision twice changes nothing, so all of it may be repeated.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from runbook.couch import trouble
from runbook.couch.client import Client, Refusal, RequestRefused
from runbook.couch.reading.reader import Row
from runbook.couch.restoring.pace import FIRST_PAUSE, Clock, Nodes, Pace, Tell, pauses, quiet
from runbook.errors import ActionFailed, RunbookError, TimedOut

BATCH_BYTES = 4_000_000
BATCH_DOCS = 500
#: requests at once, over all nodes (measured: twice as fast as one, and not slower than eight)
PARALLEL = 6
#: a document of that size is sent as it is: within a list of one, it would be in memory twice
LARGE = 1_000_000
#: seconds for which no node takes anything until the restore gives up
PATIENCE = 180.0
#: seconds for an answer, besides the time for the bytes at this rate (a second) of a slow line
ANSWER, SLOWEST = 30.0, 50_000
#: a validation function's word is final; anything else is said again, in case the server was busy
_FINAL = frozenset({"forbidden", "unauthorized"})
_REPEATS = 3
#: so many documents in a row found guilty of failures, and none stored meanwhile: the server is
_GUILTY = 3


class Sending:
    """``send`` from many threads. ``stored`` and ``refuse`` hear of every document; ``stop`` ends all
    waiting (requests on their way end with their client)."""

    def __init__(
        self,
        database: str,
        clients: Sequence[Client],
        *,
        stored: Callable[[Sequence[Row]], None],
        refuse: Callable[[str, str, str], None],
        stop: threading.Event,
        parallel: int = PARALLEL,
        batch: int = BATCH_DOCS,
        patience: float = PATIENCE,
        pause: float = FIRST_PAUSE,
        tell: Tell = quiet,
        clock: Clock = time.monotonic,
    ) -> None:
        self.database, self._stored, self._refuse, self._stop = database, stored, refuse, stop
        self._batch, self._patience, self._pause, self._clock = batch, patience, pause, clock
        self._pace = Pace(parallel, clock=clock, tell=tell)
        self._nodes = Nodes(clients, clock=clock, tell=tell)
        self._every = {client.node for client in clients}
        self._chance = random.Random(database)
        self._lock = threading.Lock()
        self._gone: set[str] = set()  #: nodes that know no such database
        self._successes = self._guilty = 0
        self._last_success = clock()
        self._health = trouble.Health()
        self._known: Row | None = None  #: a document that was stored

    def wake(self) -> None:
        """Look at ``stop`` now."""
        self._pace.wake()

    def send(self, rows: Sequence[Row]) -> None:
        """Raises LoginRefused, RequestRefused (no right, no such database, nothing is taken), the
        Client's errors when no node took anything for long, ActionFailed when stopped."""
        while rows:
            count = max(1, int(self._batch * self._pace.share))
            part, rows = rows[:count], rows[count:]
            waits = pauses(self._chance, self._pause)
            for left in reversed(range(_REPEATS)):
                part = self._once(part, final=not left)
                if not part:
                    break
                self._stop.wait(next(waits))

    def _once(self, rows: Sequence[Row], final: bool) -> Sequence[Row]:
        """Returns those that are worth another try; none when this was the ``final`` one."""
        try:
            refused = {one.id: one for one in self._try(rows)}
        except _Blamed as blame:
            if len(rows) == 1:
                self._blame(rows[0], blame.error)
                return ()
            middle = len(rows) // 2
            self.send(rows[:middle])
            self.send(rows[middle:])
            return ()
        self._stored([row for row in rows if row.id not in refused] if refused else rows)
        again = {} if final else {id: one for id, one in refused.items() if one.error not in _FINAL}
        found = [row for row in rows if row.id in again]
        for row in found:
            del refused[row.id]
        for one in refused.values():
            self._refuse(one.id, one.error, one.reason)
        return found

    def _try(self, rows: Sequence[Row]) -> list[Refusal]:
        """Until a node takes the request: which documents it refused. Raises _Blamed when the
        request's documents are the reason that it is never taken."""
        waits = pauses(self._chance, self._pause)
        doubt = trouble.Doubt(len(rows), self._clock(), self._successes)
        size, late = sum(len(row.doc) for row in rows), 0
        while True:
            try:
                refused = self._request(rows, size, late)
                self._health.saw(doubt.failures > 0)
                return refused
            except RunbookError as error:
                self._go_on()
                self._patient(error)
                doubt.add(error)
                if doubt.often(self._health) and doubt.alone(self._successes):
                    self._control()
                if doubt.enough(error, self._health, self._clock(), self._successes, self._patience):
                    raise _Blamed(error) from None
                late += isinstance(error, TimedOut)
                pause = next(waits)
                # nothing was refused and others are there to take it: no reason to wait
                if trouble.kind(error) != "lost" or not self._nodes.any_awake:
                    self._stop.wait(pause)

    def _control(self) -> None:
        """Send what was stored before once more: it tells a server that fails from a document that
        makes it fail, when nothing else is sent that could."""
        if self._known is not None:
            with suppress(RunbookError):
                self._request([self._known], len(self._known.doc), 0)

    def _request(self, rows: Sequence[Row], size: int, late: int) -> list[Refusal]:
        with self._pace.slot(self._stop.is_set) as began, self._nodes.take() as client:
            self._go_on()
            try:
                refused = _write(client, self.database, rows, _limit(size, late))
            except RunbookError as error:
                self._failed(client, began, error)
                raise
            self._pace.answered(began, max(size / BATCH_BYTES, len(rows) / self._batch))
            self._nodes.well(client)
        if not refused and len(rows[0].doc) < LARGE:
            self._known = rows[0]
        with self._lock:
            self._successes += 1
            self._guilty = 0
            self._last_success = self._clock()
            self._gone.discard(client.node)
        return refused

    def _failed(self, client: Client, began: float, error: RunbookError) -> None:
        if self._stop.is_set():
            return
        found, why = trouble.kind(error), trouble.words(error)
        if found == "busy":
            self._pace.refused(began, f"{client.node}: {why}")
        if found in ("busy", "lost", "gone"):
            self._nodes.failed(client, why)
        if found == "gone":
            with self._lock:
                self._gone.add(client.node)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise ActionFailed(f"The restore of {self.database} was stopped.")

    def _patient(self, error: RunbookError) -> None:
        """Raises ``error`` when it will not go away."""
        found = trouble.kind(error)
        everywhere = found == "gone" and self._gone == self._every
        waited = self._clock() - self._last_success > self._patience
        if found == "denied" or everywhere or (waited and found != "document"):
            raise error

    def _blame(self, row: Row, error: RunbookError) -> None:
        """Refuse this document, unless it is the servers that fail, whatever they are sent."""
        if trouble.kind(error) != "document":
            with self._lock:
                self._guilty += 1
                if self._guilty > _GUILTY:
                    raise error
        if isinstance(error, RequestRefused):
            self._refuse(row.id, f"{error.status} {error.error}", error.reason)
        else:
            self._refuse(row.id, "no answer", error.what)


class _Blamed(Exception):
    def __init__(self, error: RunbookError) -> None:
        self.error = error


def _limit(size: int, late: int) -> float:
    """Seconds for the answer, twice as many after each that was not enough. In steps: connections
    are kept by their limit."""
    wanted, limit = (ANSWER + size / SLOWEST) * 2**late, ANSWER
    while limit < wanted:
        limit *= 2
    return limit


def _write(client: Client, database: str, rows: Sequence[Row], timeout: float) -> list[Refusal]:
    """One request: the documents that were refused. Raises RequestRefused and the Client's errors."""
    if len(rows) > 1 or len(rows[0].doc) < LARGE:
        return client.bulk(database, [row.doc for row in rows], timeout=timeout)
    path, query = (database, rows[0].id), {"new_edits": False}
    reply = client.request("PUT", path, query, body=rows[0].doc, timeout=timeout, repeatable=True)
    if reply.status == 403:
        return [Refusal(rows[0].id, str(reply.body.get("error")), str(reply.body.get("reason")))]
    if not reply.ok:
        raise RequestRefused(client.node, f"store a document in {database}", reply)
    return []
