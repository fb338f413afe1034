"""The cluster's wires: which nodes reach each other, know each other, and what is on its way.

Nothing runs in the background: whoever looks first calls ``advance``, which does what was due by then.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING

from runbook.lab.couchdb.replication import LateWrite, Push
from runbook.lab.couchdb.shards import ShardMap
from runbook.lab.couchdb.storage import ShardCopy
from runbook.lab.couchdb.tree import Leaf

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn

Pair = frozenset[str]  #: two addresses


@dataclass
class Link:
    """Two nodes' connection: up from ``up_at`` on, members and maps exchanged at ``meet_at``."""

    a: StandIn
    b: StandIn
    up_at: float
    meet_at: float
    met: bool = False


class Network:
    """``clock`` (seconds, monotonic), ``wall`` (seconds since 1970) and ``entropy`` (n bytes in hex)
    are exchanged by tests; ``chance`` makes replication between two nodes a matter of luck."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        entropy: Callable[[int], str] = secrets.token_hex,
        chance: Random | None = None,
    ) -> None:
        self.clock, self.wall, self.entropy, self.chance = clock, wall, entropy, chance
        self.lock = threading.RLock()
        self.standins: dict[str, StandIn] = {}
        self._cuts: dict[Pair, bool] = {}  #: True: port 5984 too
        self._links: dict[Pair, Link] = {}
        self._pushes: list[Push] = []
        self._late: deque[LateWrite] = deque()

    def add(self, standin: StandIn) -> None:
        with self.lock:
            self.standins[standin.address] = standin

    def cut(self, a: str, b: str, *, http: bool = False) -> None:
        """Close the cluster ports (4369, 9100) between two addresses; with ``http``, 5984 as well."""
        with self.lock:
            self._cuts[frozenset((a, b))] = http
            self.changed()

    def heal(self, a: str, b: str) -> None:
        with self.lock:
            self._cuts.pop(frozenset((a, b)), None)
            self.changed()

    def isolate(self, address: str, *, http: bool = False) -> None:
        """Close an address's cluster ports to everybody (they were not published, a firewall)."""
        for other in list(self.standins):
            if other != address:
                self.cut(address, other, http=http)

    def reopen(self, address: str) -> None:
        for other in list(self.standins):
            if other != address:
                self.heal(address, other)

    def http_peer(self, source: str, host: str) -> StandIn | None:
        """The server that ``source`` reaches on ``host``'s port 5984; None: no route to it."""
        found = self.standins.get(host)
        if found is None or self._cuts.get(frozenset((source, host)), False):
            return None
        return found

    def connected(self, node: StandIn) -> list[StandIn]:
        """The node itself and those it is connected to."""
        self.advance()
        now = self.clock()
        found = [node]
        for link in self._links.values():
            if now >= link.up_at and node in (link.a, link.b):
                found.append(link.b if link.a is node else link.a)
        return found

    def backlog(self, node: StandIn) -> int:
        """``internal_replication_jobs``: honest, but 0 as long as nobody has counted."""
        self.advance()
        now = self.clock()
        return sum(push.backlog(now) for push in self._pushes if push.source is node)

    def changed(self, *, eager: StandIn | None = None, at_once: bool = False) -> None:
        """Somebody started, stopped, was cut off or added. ``eager`` connects by itself to the members
        it knows; otherwise the others notice after ``Timing.reconnect``."""
        now = self.clock()
        for a, b in combinations(self.standins.values(), 2):
            pair = frozenset((a.address, b.address))
            link = self._links.get(pair)
            if not self._able(a, b) or (b.name not in a.disk.nodes and a.name not in b.disk.nodes):
                if link is not None:
                    self._drop(pair)
                continue
            knows = eager in (a, b) and (a if eager is b else b).name in (eager or a).disk.nodes
            wait = 0.0 if knows else max(a.timing.reconnect, b.timing.reconnect)
            meet = 0.0 if at_once and knows else max(a.timing.discover, b.timing.discover)
            if link is None:
                self._links[pair] = Link(a, b, now + wait, now + wait + meet)
            elif not link.met and now + wait + meet < link.meet_at:
                link.up_at, link.meet_at = min(link.up_at, now + wait), now + wait + meet
        self.advance()

    def stopped(self, node: StandIn) -> None:
        """A node is gone: its connections, and what was on the way to it."""
        for pair in [pair for pair in self._links if node.address in pair]:
            self._drop(pair)
        for write in [each for each in self._late if each.target is node]:
            write.copy.late = 0
        self._late = deque(each for each in self._late if each.target is not node)

    def advance(self) -> None:
        """Do everything that was due by now."""
        now = self.clock()
        for link in list(self._links.values()):
            if not link.met and now >= link.meet_at:
                link.met = True
                self.gossip()
                for source, target in ((link.a, link.b), (link.b, link.a)):
                    self._pushes.append(Push(source, target, link.meet_at, chance=self.chance))
        if self._pushes:
            for push in self._pushes:
                push.step(now)
            self._pushes = [push for push in self._pushes if not push.done]
        while self._late and self._late[0].due <= now:
            self._late.popleft().apply()

    def gossip(self) -> None:
        """Members and shard maps spread over all met connections until nobody learns anything."""
        again = True
        while again:
            again = False
            for link in list(self._links.values()):
                if not link.met:
                    continue
                for one, other in ((link.a, link.b), (link.b, link.a)):
                    if one.disk.nodes.learn(other.disk.nodes):
                        again = True
                        self.changed(eager=one, at_once=True)
                    for found in list(other.disk.dbs.values()):
                        if one.disk.learn(found):
                            again = True
                            self.settle(one, found)

    def publish(self, node: StandIn, found: ShardMap) -> None:
        """A database was made, changed or deleted: all connected nodes take it over now."""
        for each in self.connected(node):
            each.disk.learn(found)
            self.settle(each, found)

    def settle(self, node: StandIn, found: ShardMap) -> None:
        node.disk.ensure_copies(node.name, found, self.entropy(12), round(self.wall() * 1_000_000))

    def sync(self, node: StandIn, database: str) -> None:
        """``_sync_shards``: every connected node pushes its copies to the others."""
        now = self.clock()
        nodes = self.connected(node)
        for source in nodes:
            self._pushes += [Push(source, each, now, database) for each in nodes if each is not source]
        self.advance()

    def forget(self, database: str) -> None:
        """Damage: replication of this database ended in errors, and nobody knows of it any more."""
        with self.lock:
            self.advance()
            for push in self._pushes:
                push.forget(database)

    def write_late(
        self, target: StandIn, copy: ShardCopy, writes: list[tuple[str, Leaf]], revs_limit: int
    ) -> None:
        copy.late += len(writes)
        due = self.clock() + target.timing.late_write
        self._late.append(LateWrite(due, target, copy, writes, revs_limit))

    def hurry(self, copy: ShardCopy) -> None:
        """Let the writes that are on their way to this copy arrive."""
        for write in self._late:
            if write.copy is copy:
                write.apply()
        self._late = deque(write for write in self._late if write.copy is not copy)

    def _able(self, a: StandIn, b: StandIn) -> bool:
        """Same cookie, names that the other can resolve, open ports."""
        return (
            a.running
            and b.running
            and a.cookie == b.cookie
            and all(each.name.partition("@")[2] == each.address for each in (a, b))
            and frozenset((a.address, b.address)) not in self._cuts
        )

    def _drop(self, pair: Pair) -> None:
        link = self._links.pop(pair)
        ends = (link.a, link.b)
        self._pushes = [each for each in self._pushes if each.source not in ends or each.target not in ends]
