"""How hard the servers are pressed: how many requests at once, how large, and who gets the next one.

Additive increase, multiplicative decrease: a server that refuses (429, 503), lets a time limit
pass or takes much longer than usual gets half as many requests of half the size; every answer in
time brings some of it back. A node that fails rests for a growing while, and the others take over.

Nothing here sends anything or sleeps on its own account; the clock is given, so that the same events
at the same times have the same outcome.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from runbook.couch.client import Client

Clock = Callable[[], float]
Tell = Callable[[str], None]

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0
#: the smallest part of a full batch that a request is cut to
SMALLEST = 1 / 32
#: answers in time until requests may be twice as large again
GOOD_ANSWERS = 8
#: an answer is late when it takes that many times as long as usual, and at least so many seconds
LATE, LATE_SECONDS = 4.0, 2.0
#: how far lateness alone slows down: waiting longer is no refusal, and tiny requests help nobody
LATE_WIDTH, LATE_SHARE = 2, 1 / 4
FIRST_REST, LONGEST_REST = 1.0, 60.0


def quiet(text: str) -> None:
    """Tells nobody."""


def pauses(chance: random.Random, first: float = FIRST_PAUSE) -> Iterator[float]:
    """Seconds before each next try: twice as long each time, half of it more or less by chance."""
    pause = first
    while True:
        yield pause * chance.uniform(0.5, 1.5)
        pause = min(pause * 2, LONGEST_PAUSE)


class Pace:
    """``width`` requests at once, each of ``share`` of a full batch. For many threads."""

    def __init__(self, most: int, *, clock: Clock = time.monotonic, tell: Tell = quiet) -> None:
        """``most`` requests at once when all is well; ``tell`` hears when it slows down, and why."""
        self.share = 1.0
        self._most, self._width = most, float(most)
        self._clock, self._tell = clock, tell
        self._active = self._good = 0
        self._usual = 0.0  #: seconds for a full batch
        self._cut = float("-inf")
        self._told = (most, 1.0)  #: the slowest that was told since all was well
        self._state = threading.Condition()

    @property
    def width(self) -> int:
        return max(1, int(self._width))

    @contextmanager
    def slot(self, ended: Callable[[], bool]) -> Iterator[float]:
        """One of the ``width`` requests, for the length of a block; gives the moment it began. Does
        not wait any longer once ``ended`` (ask for it with ``wake``)."""
        with self._state:
            self._state.wait_for(lambda: ended() or self._active < self.width)
            self._active += 1
        try:
            yield self._clock()
        finally:
            with self._state:
                self._active -= 1
                self._state.notify_all()

    def wake(self) -> None:
        with self._state:
            self._state.notify_all()

    def answered(self, began: float, part: float) -> None:
        """A request of that ``part`` of a full batch, begun at ``began``, was answered just now."""
        with self._state:
            seconds, part = self._clock() - began, max(part, SMALLEST)
            usual = self._usual * part
            late = self._usual and seconds > LATE_SECONDS and seconds > LATE * usual
            # what stays slow becomes the usual in the end: crawling would not make it any faster
            weight = 0.1 if self._usual else 1.0
            self._usual += (seconds / part - self._usual) * weight
            if late:
                why = f"an answer took {seconds:.1f} s, {usual:.1f} s are usual"
                self._slower(began, why, LATE_WIDTH, LATE_SHARE)
            else:
                self._faster()

    def refused(self, began: float, why: str) -> None:
        """A request begun at ``began`` was refused for now, or got no answer in time."""
        with self._state:
            self._slower(began, why, 1, SMALLEST)

    def _slower(self, began: float, why: str, width: int, share: float) -> None:
        self._good = 0
        if began < self._cut:
            return  # it was on its way when this was done last: the same trouble
        self._cut = self._clock()
        self._width = min(self._width, max(width, self.width / 2))
        self.share = min(self.share, max(share, self.share / 2))
        now = (self.width, self.share)
        if now[0] < self._told[0] or now[1] < self._told[1]:
            self._told = now
            size = "of full size" if self.share == 1 else f"of 1/{round(1 / self.share)} of the size"
            self._tell(f"slowed down to {self.width} requests at once, {size}: {why}")

    def _faster(self) -> None:
        self._width = min(self._most, self._width + 1 / self.width)
        self._good += 1
        if self._good >= GOOD_ANSWERS and self.share < 1:
            self._good, self.share = 0, self.share * 2
        if (self.width, self.share) == (self._most, 1.0) and self._told != (self._most, 1.0):
            self._told = (self._most, 1.0)
            self._tell(f"at full speed again: {self.width} requests at once")
        self._state.notify_all()


class _Node:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.busy = self.turn = 0
        self.until = self.rest = 0.0


class Nodes:
    """The nodes of one cluster: ``take`` one for a request, then say how it went. For many threads."""

    def __init__(
        self, clients: Sequence[Client], *, clock: Clock = time.monotonic, tell: Tell = quiet
    ) -> None:
        self._nodes = [_Node(client) for client in clients]
        self._clock, self._tell, self._turns = clock, tell, 0
        self._lock = threading.Lock()

    @contextmanager
    def take(self) -> Iterator[Client]:
        """The least busy node that is well; one that failed gets a single request when its rest is
        over. When all rest, the one that wakes first."""
        with self._lock:
            now = self._clock()
            awake = [node for node in self._nodes if _ready(node, now)]
            if awake:
                node = min(awake, key=lambda node: (node.busy, node.turn))
            else:
                node = min(self._nodes, key=lambda node: (node.until, node.busy))
            node.busy += 1
            self._turns += 1
            node.turn = self._turns
        try:
            yield node.client
        finally:
            with self._lock:
                node.busy -= 1

    @property
    def any_awake(self) -> bool:
        with self._lock:
            now = self._clock()
            return any(node.until <= now for node in self._nodes)

    def failed(self, client: Client, why: str) -> None:
        with self._lock:
            node = self._of(client)
            if not node.rest and len(self._nodes) > 1:
                self._tell(f"{client.node} rests, the others take over: {why}")
            if node.until <= self._clock():
                node.rest = min(max(node.rest * 2, FIRST_REST), LONGEST_REST)
                node.until = self._clock() + node.rest

    def well(self, client: Client) -> None:
        node = self._of(client)
        if not node.rest:
            return
        with self._lock:
            if node.rest and len(self._nodes) > 1:
                self._tell(f"{client.node} takes documents again")
            node.rest = node.until = 0.0

    def _of(self, client: Client) -> _Node:
        return next(node for node in self._nodes if node.client is client)


def _ready(node: _Node, now: float) -> bool:
    return node.until <= now and (not node.rest or not node.busy)
