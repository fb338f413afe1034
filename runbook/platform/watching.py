"""Watching a host's services until they are steady: the looks, and what was seen so far.

What was seen of a container is kept as long as its host is in use, whoever looked: a check that
follows an action goes on from the action's looks instead of waiting for the same window again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from weakref import WeakKeyDictionary

from runbook.hosts.base import Host
from runbook.platform import docker
from runbook.platform.docker import Container
from runbook.platform.steady import Sightings, Standing, Watch

_seen: WeakKeyDictionary[Host, Sightings] = WeakKeyDictionary()


def watch(
    host: Host,
    wanted: Sequence[str],
    window: float,
    *,
    once: Collection[str] = (),
    before: Iterable[Container] | None = None,
) -> Watch:
    """A Watch that knows what was seen on this host before."""
    return Watch(wanted, window, once=once, before=before, seen=_seen.setdefault(host, {}))


def now() -> float:
    """The time that looks are told by: monotonic seconds."""
    return asyncio.get_running_loop().time()


async def look(host: Host, project: str, watch: Watch) -> list[Standing]:
    """One look. Raises CouldNotLook."""
    at = now()
    return watch.see(at, await docker.containers(host, project))


async def looks(host: Host, project: str, watch: Watch, every: float) -> AsyncIterator[list[Standing]]:
    """A look now, then one after each ``every`` seconds, or sooner when it can be the last. Endless:
    the caller judges. Raises CouldNotLook."""
    while True:
        began = now()
        yield await look(host, project, watch)
        pause = every
        if left := watch.left(began):
            # a timer may go off a moment early, which would cost one more look
            pause = min(every, max(0.0, began + left - now()) + 0.01)
        await asyncio.sleep(pause)
