"""Is a node in sync with its sisters? Shown by its copies, never by the backlog alone.

The backlog (``internal_replication_jobs``) is 0 before the jobs are known: a tenth of the documents
may be there by then, with 0 on every node.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from runbook.couch import cluster, copies
from runbook.couch.client import Client
from runbook.couch.copies import Copy
from runbook.couch.joining import join
from runbook.errors import ActionFailed, HostError, LoginRefused

#: seconds without any movement after which the nodes are asked to look for work again
_STALLED = 20.0
_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
_NEXT = (
    "When the count moves, retry: it goes on from here. When only the newest writes are missing, stop LMS "
    "and Studio for two minutes, so that nothing is written meanwhile. When it stands still, look at docker "
    "logs couchdb on the others."
)


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One look at all copies: ``done`` of ``total`` documents are on the node, the fullest of its
    sisters being the measure. ``behind``: database -> what is not equal, in words; ``busy``:
    replication that waits, or nodes that could not be asked; ``serving``: it is in service."""

    done: int = 0
    total: int = 0
    ranges: int = 0
    databases: tuple[str, ...] = ()
    behind: dict[str, list[str]] = {}
    busy: list[str] = []
    serving: bool = False

    @property
    def equal(self) -> bool:
        return not self.behind and not self.busy

    def words(self) -> str:
        """What is not equal; the first few."""
        found = [f"{name}: {text}" for name, texts in self.behind.items() for text in texts]
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        return " ".join([*found[:3], *self.busy[:3]]) + more


async def level(clients: Mapping[str, Client], machine: str) -> Level:
    """``clients``: those of the node on ``machine`` and of its sisters; copies on other nodes are not
    looked at. Raises LoginRefused, CouldNotLook."""
    try:
        found = await cluster.members(clients)
        if problems := [one.problem for one in found.values() if one.problem]:
            return Level(busy=problems)
        busy = copies.waiting(await copies.backlog(clients))
        seen = await copies.look(clients, found=found)
        busy += copies.waiting(await copies.backlog(clients))
    except LoginRefused:
        raise
    except HostError as error:
        return Level(busy=[error.what])
    name, names = found[machine].name, {one.name for one in found.values()}
    shared = {database: _shared(rows, name, names) for database, rows in seen.items()}
    groups = [group for one in shared.values() for group in one]
    return Level(
        done=sum(copy.documents or 0 for group in groups for copy in group if copy.node == name),
        total=sum(max(copy.documents or 0 for copy in group) for group in groups),
        ranges=len(groups),
        databases=tuple(shared),
        behind={
            database: problems
            for database, one in shared.items()
            if (problems := copies.unequal(copy for group in one for copy in group))
        },
        busy=list(dict.fromkeys(busy)),
        serving=found[machine].serves,
    )


def _shared(found: Iterable[Copy], name: str, names: set[str]) -> list[list[Copy]]:
    """The ranges of which that node should have a copy, as far as the nodes at hand have them."""
    groups: dict[str, list[Copy]] = {}
    for copy in found:
        if copy.node in names:
            groups.setdefault(copy.range, []).append(copy)
    return [group for group in groups.values() if any(copy.node == name for copy in group)]


async def settled(clients: Mapping[str, Client], machine: str, pause: float = 1.0) -> Level:
    """Two looks, unless the first shows that it is not; the last one."""
    now = await level(clients, machine)
    if now.equal:
        await asyncio.sleep(pause)
        now = await level(clients, machine)
    return now


async def caught_up(
    clients: Mapping[str, Client],
    machine: str,
    limit: float,
    tell: Callable[[Level], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Level:
    """Wait until every copy is equal to its sisters in two looks, one after the other, with no
    backlog on any node; meanwhile the node is held in maintenance mode. Raises ActionFailed after
    ``limit`` seconds."""
    end, proven = clock() + limit, 0
    moved, before = clock(), Level()
    while True:
        began = clock()
        now = await level(clients, machine)
        tell(now)
        if now.serving:  # its container was made anew meanwhile
            await join.hold(clients[machine])
        proven = proven + 1 if now.equal else 0
        if proven == 2:
            return now
        if clock() > end:
            raise ActionFailed(
                f"CouchDB on {machine} is not in sync: {now.done} of {now.total} documents are there, "
                f"{len(now.behind)} of {len(now.databases)} databases differ. {now.words()} {join.HELD}",
                next=_NEXT,
            )
        if now != before or now.busy:
            moved, before = clock(), now
        elif clock() - moved > _STALLED:
            await _nudge(clients, now.behind)
            moved = clock()
        await sleep(min(max(clock() - began, _PAUSE), _LONGEST_PAUSE))


async def _nudge(clients: Mapping[str, Client], databases: Iterable[str]) -> None:
    """Replication that ended in an error may be forgotten until the next write: ask for it."""
    through = clients[cluster.veteran(await cluster.members(clients))]
    for database in databases:
        await through.apost(database, "_sync_shards")
