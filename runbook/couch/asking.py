"""Reads that go on: one node after the other is asked, with growing pauses, until one answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from runbook.couch.client import Client, RequestRefused
from runbook.errors import ActionFailed, HostError, LoginRefused, Unreachable

T = TypeVar("T")
ATTEMPTS = 10
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0


class Stopped(ActionFailed):
    pass


class CutOff(Unreachable):
    """An answer that ended too early, though the connection did not break."""

    def __init__(self, client: Client, what: str) -> None:
        super().__init__(client.node, f"CouchDB on {client.node} ended {what} too early.")


class Asking:
    """For one thread of work. ``clients`` are nodes of one cluster, the first asked first; a set
    ``stop`` ends it between two requests."""

    def __init__(
        self,
        clients: Sequence[Client],
        stop: threading.Event,
        *,
        attempts: int = ATTEMPTS,
        pause: float = FIRST_PAUSE,
    ) -> None:
        self.clients, self.stop, self.attempts, self.pause = list(clients), stop, attempts, pause

    def go_on(self) -> None:
        """Raises Stopped once somebody wants this to end."""
        if self.stop.is_set():
            raise Stopped("Stopped.")

    def ask(self, work: Callable[[Client], T], reached: Callable[[], int] = lambda: 0) -> T:
        """``work`` with one node, which may be repeated with another after it failed. ``reached``
        tells how far it got: attempts are counted anew when it got further. Raises Stopped,
        LoginRefused, RequestRefused, and what the last attempt raised."""
        attempt, pause, far = 0, self.pause, reached()
        while True:
            self.go_on()
            attempt += 1
            try:
                return work(self.clients[0])
            except (HostError, RequestRefused) as error:
                self.go_on()
                if reached() > far:
                    attempt, pause, far = 1, self.pause, reached()
                if attempt >= self.attempts or not _passing(error):
                    raise
            self.clients.append(self.clients.pop(0))  # the one that failed is asked last
            self.stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def _passing(error: HostError | RequestRefused) -> bool:
    """May the next attempt fare better? A node that is down makes shards 412 ``nodedown``."""
    if isinstance(error, RequestRefused):
        return error.status >= 500 or error.status == 429 or error.error == "nodedown"
    return not isinstance(error, LoginRefused)
