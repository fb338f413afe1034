"""Work on many files side by side: in processes where there is much of it, since reading dumps is work
for the processor; else one after the other.

A process ends at once when it is told to, or when its parent is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from runbook.backup.verifying.feed import Came
from runbook.errors import CouldNotLook

R = TypeVar("R")
A = TypeVar("A")
#: processes; each takes 30 MB and twice its largest document
MOST = 2
#: bytes from which on starting them is worth its time
WORTH = 48_000_000
_LOOK = 0.1


class Pool(Protocol):
    def map(self, work: Callable[[A, Came], R], args: Sequence[A]) -> list[R]:
        """``work`` of each, in order. Raises what it raises, InterruptedError when stopped."""
        ...


@contextmanager
def pool(size: int, tick: Callable[[int], None], stop: threading.Event) -> Iterator[Pool]:
    """For work on ``size`` bytes; ``tick`` hears how many were read. ``stop`` ends it soon."""
    processes = min(MOST, os.cpu_count() or 1)
    if size < WORTH or processes == 1:
        yield _Here(tick, stop)
        return
    try:
        many = _Many(processes, tick, stop)
    except (OSError, ImportError):  # a system without shared semaphores
        yield _Here(tick, stop)
        return
    try:
        yield many
    finally:
        many.close()


class _Here:
    def __init__(self, tick: Callable[[int], None], stop: threading.Event) -> None:
        self._tick, self._stop, self._done = tick, stop, 0

    def map(self, work: Callable[[A, Came], R], args: Sequence[A]) -> list[R]:
        return [work(arg, self._came) for arg in args]

    def _came(self, count: int) -> None:
        if self._stop.is_set():
            raise InterruptedError
        self._done += count
        self._tick(self._done)


class _Many:
    def __init__(self, processes: int, tick: Callable[[int], None], stop: threading.Event) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
        self._tick, self._stop = tick, stop
        self._count, self._over = context.Value("q", 0), context.RawValue("b", 0)
        self._pool = ProcessPoolExecutor(
            processes, context, initializer=_begin, initargs=(self._count, self._over, os.getpid())
        )

    def map(self, work: Callable[[A, Came], R], args: Sequence[A]) -> list[R]:
        futures = [self._pool.submit(_work, work, arg) for arg in args]
        left = set(futures)
        while left:
            if self._stop.is_set():
                raise InterruptedError
            _, left = wait(left, timeout=_LOOK)
            self._tick(self._count.value)
        try:
            return [future.result() for future in futures]
        except BrokenProcessPool:
            raise CouldNotLook(
                "A process that read the backup was ended from outside (was there too little memory?). "
                "Nothing is known of it, and nothing was changed."
            ) from None

    def close(self) -> None:
        self._over.value = 1
        self._pool.shutdown(wait=True, cancel_futures=True)


_counter: Any = None


def _begin(counter: Any, over: Any, parent: int) -> None:
    """In each process."""
    global _counter
    _counter = counter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's affair

    def watch() -> None:
        while not over.value and os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="watch").start()


def _work(work: Callable[[A, Came], R], arg: A) -> R:
    return work(arg, _came)


def _came(count: int) -> None:
    with _counter.get_lock():
        _counter.value += count
