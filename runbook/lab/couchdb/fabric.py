"""The clustered view: one node coordinates reads and writes over the copies of all connected nodes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from runbook.lab.couchdb.errors import HttpError
from runbook.lab.couchdb.shards import ShardMap
from runbook.lab.couchdb.storage import ShardCopy
from runbook.lab.couchdb.tree import Leaf, State, united

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn


class Held(NamedTuple):
    node: StandIn
    copy: ShardCopy


def copies(node: StandIn, found: ShardMap, range_: str) -> list[Held]:
    """The range's copies within reach, the coordinator's own first, then round the ring. A node in
    maintenance mode serves none. Raises HttpError when there is no copy at all."""
    path = found.copy_path(range_)
    ring = sorted(node.network.connected(node), key=lambda each: (each.address <= node.address, each.address))
    held = []
    for each in (node, *(other for other in ring if other is not node)):
        copy = each.disk.copies.get(path)
        if copy is not None and each.name in found.by_range[range_] and not each.maintenance:
            held.append(Held(each, copy))
    if not held:
        known = {each.name for each in node.network.connected(node)}
        if any(name not in known for name in found.by_range[range_]):
            raise HttpError(412, "nodedown", "progress not possible")
        raise HttpError(500, "internal_server_error", "No DB shards could be opened.")
    return held


def reading(node: StandIn, found: ShardMap) -> list[Held]:
    """One copy of each range, in the ring's order: the first to answer, which is the coordinator's own
    unless writes are still on their way to it. When they are to all copies, the reader waits for
    those of the first. A blank copy answers as fast as a full one."""
    chosen = []
    for range_ in found.by_range:
        held = copies(node, found, range_)
        ready = next((each for each in held if not each.copy.late), None)
        if ready is None:
            ready = held[0]
            node.network.hurry(ready.copy)
        chosen.append(ready)
    return chosen


def state(node: StandIn, found: ShardMap, doc_id: str) -> State | None:
    """A document as the quorum sees it: what any of the copies knows."""
    best: State | None = None
    for held in copies(node, found, found.range_of(doc_id)):
        theirs = held.copy.docs.get(doc_id)
        if theirs is not None and theirs is not best:
            best = united(best, theirs)
    return best


def write(node: StandIn, found: ShardMap, writes: Iterable[tuple[str, Leaf]]) -> bool:
    """Store revisions: at once in two copies (the write quorum), in the third a little later. False
    when fewer than a quorum of copies could be written."""
    by_range: dict[str, list[tuple[str, Leaf]]] = {}
    for doc_id, leaf in writes:
        by_range.setdefault(found.range_of(doc_id), []).append((doc_id, leaf))
    limit, complete = found.settings.revs_limit, True
    for range_, group in by_range.items():
        held = copies(node, found, range_)
        quorum = len(found.by_range[range_]) // 2 + 1
        complete = complete and len(held) >= quorum
        serving = {each.node.address for each in held}
        for place, (target, copy) in enumerate(held):
            if place >= quorum and target.timing.late_write > 0:
                node.network.write_late(target, copy, group, limit)
            else:
                _write_now(copy, group, limit)
        for other in node.network.connected(node):  # in maintenance: by internal replication only
            kept = other.disk.copies.get(found.copy_path(range_))
            if kept is not None and other.address not in serving and other.name in found.by_range[range_]:
                node.network.write_late(other, kept, group, limit)
    return complete


def _write_now(copy: ShardCopy, group: list[tuple[str, Leaf]], limit: int) -> None:
    for doc_id, leaf in group:
        copy.write(doc_id, leaf, limit)


def rows(node: StandIn, found: ShardMap) -> tuple[int, list[str], dict[str, State]]:
    """Number of documents, all ids that live (sorted), and their states: a snapshot."""
    held = reading(node, found)
    total = sum(each.copy.doc_count for each in held)
    states: dict[str, State] = {}
    ids: list[str] = []
    for each in held:
        states.update(each.copy.docs)
        ids += each.copy.ids()
    ids.sort()  # runs that are sorted already: a merge
    if len(ids) != total:
        ids = [doc_id for doc_id in ids if not states[doc_id].winner.deleted]
    return total, ids, states
