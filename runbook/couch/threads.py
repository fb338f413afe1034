"""Work that blocks, in a thread, watched from the event loop and ended with whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

R = TypeVar("R", covariant=True)
S = TypeVar("S")
#: seconds between two looks at how far it is
_TICK = 0.2


class Work(Protocol[R]):
    def run(self) -> R:
        """Blocks until it is done."""
        ...

    def stop(self) -> None:
        """End soon; from any thread."""
        ...


async def watched(work: Work[S], tick: Callable[[], None] | None = None) -> S:
    """``work.run()`` in a thread; ``tick`` is called on the event loop while it goes on and once at its
    end. When this is cancelled the work is stopped, and has ended before it returns."""
    task = asyncio.ensure_future(asyncio.to_thread(work.run))
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_TICK)
            if tick:
                tick()
        return task.result()
    finally:
        if not task.done():
            work.stop()
            with suppress(Exception):
                await asyncio.shield(task)


def teller(tell: Callable[[str], None]) -> Callable[[str], None]:
    """``tell`` for calls from other threads: it is called on this event loop, while there is one."""
    loop = asyncio.get_running_loop()

    def soon(text: str) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any longer
            loop.call_soon_threadsafe(tell, text)

    return soon
