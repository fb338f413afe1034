"""Internal replication: late writes, and what one node pushes to another that lacks it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import zip_longest
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from runbook.lab.couchdb.storage import ShardCopy
from runbook.lab.couchdb.tree import Leaf

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn


class LateWrite(NamedTuple):
    """Revisions on their way to one copy, beyond the write quorum."""

    due: float
    target: StandIn
    copy: ShardCopy
    writes: list[tuple[str, Leaf]]
    revs_limit: int

    def apply(self) -> None:
        self.copy.late -= len(self.writes)
        for doc_id, leaf in self.writes:
            self.copy.write(doc_id, leaf, self.revs_limit)


class Push:
    """Everything that ``source`` holds and ``target`` lacks, going over at a rate. ``chance`` makes
    each one different: its speed, its order, and when its backlog is told."""

    def __init__(
        self,
        source: StandIn,
        target: StandIn,
        now: float,
        database: str | None = None,
        chance: Random | None = None,
    ) -> None:
        self.source, self.target = source, target
        told, speed = (chance.uniform(0, 3), chance.uniform(0.3, 3)) if chance else (1.0, 1.0)
        self.told_at = now + target.timing.backlog * told  #: before, the backlog is not known to anybody
        self._rate = target.timing.rate * speed
        self._last, self._credit = now, 0.0
        self._waiting = deque(_lacking(source, target, database, chance))

    @property
    def done(self) -> bool:
        return not self._waiting

    def backlog(self, now: float) -> int:
        return len(self._waiting) if now >= self.told_at else 0

    def forget(self, database: str) -> None:
        """What waits for this database is not sent any more."""
        found = self.source.disk.map(database)
        lost = {found.copy_path(range_) for range_ in found.by_range}
        self._waiting = deque(each for each in self._waiting if each[0] not in lost)

    def step(self, now: float) -> None:
        """Move as many documents as the time since the last step allows."""
        self._credit = min(self._credit + (now - self._last) * self._rate, 1e12)
        if self._rate == float("inf"):
            self._credit = 1e12
        self._last = now
        while self._waiting and self._credit >= 1:
            self._credit -= 1
            path, doc_id = self._waiting.popleft()
            mine, theirs = self.source.disk.copies.get(path), self.target.disk.copies.get(path)
            state = mine.docs.get(doc_id) if mine else None
            if theirs is not None and state is not None:
                theirs.accept(doc_id, state)


def _lacking(
    source: StandIn, target: StandIn, database: str | None, chance: Random | None
) -> Iterator[tuple[str, str]]:
    """(shard, document), all shards growing side by side; or by chance one after the other."""
    lanes = []
    for found in source.disk.dbs.values():
        if found.deleted or (database is not None and found.name != database):
            continue
        for range_ in found.by_range:
            path = found.copy_path(range_)
            mine, theirs = source.disk.copies.get(path), target.disk.copies.get(path)
            if mine is None or theirs is None:
                continue
            held = theirs.docs
            lanes.append(
                [(path, doc_id) for doc_id, state in mine.docs.items() if held.get(doc_id) is not state]
            )
    if chance:
        chance.shuffle(lanes)
        if chance.random() < 0.5:
            lanes = [[each for lane in lanes for each in lane]]
    for row in zip_longest(*lanes):
        yield from (each for each in row if each is not None)
