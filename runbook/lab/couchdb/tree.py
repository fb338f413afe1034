"""A document's revision tree: its leaves, the winning one, tombstones and conflicts.

Only leaves keep their body, as after a compaction: an older revision answers 404 ``missing``.
States are immutable, so that the copies of one document share them.
"""

from __future__ import annotations

from typing import NamedTuple

from runbook.lab.couchdb import revisions
from runbook.lab.couchdb.attachments import Attachment


class Leaf(NamedTuple):
    """A revision that nothing follows. ``path`` holds its hash and its ancestors', newest first."""

    position: int
    path: tuple[str, ...]
    deleted: bool
    members: bytes  #: the body's JSON text, without braces, ``_id`` and ``_rev``
    attachments: tuple[Attachment, ...] = ()

    @property
    def rev(self) -> str:
        return f"{self.position}-{self.path[0]}"

    def holds(self, position: int, name: str) -> bool:
        """Is this revision this leaf or one of its ancestors?"""
        back = self.position - position
        return 0 <= back < len(self.path) and self.path[back] == name


class State(NamedTuple):
    """All leaves of a document, the winner first."""

    leaves: tuple[Leaf, ...]

    @property
    def winner(self) -> Leaf:
        return self.leaves[0]

    def leaf(self, position: int, name: str) -> Leaf | None:
        for leaf in self.leaves:
            if leaf.position == position and leaf.path[0] == name:
                return leaf
        return None

    def conflicts(self, *, deleted: bool) -> list[Leaf]:
        return [leaf for leaf in self.leaves[1:] if leaf.deleted is deleted]


def merged(old: State | None, new: Leaf, revs_limit: int = 1000) -> tuple[State, bool]:
    """The state with ``new`` in it, and whether the tree grew.

    A revision that is there already takes the new body and the tree does not grow; one that is an
    ancestor changes nothing; one that follows a leaf replaces it; any other is a conflict.
    """
    if len(new.path) > revs_limit:
        new = new._replace(path=new.path[:revs_limit])
    if old is None:
        return State((new,)), True
    name = new.path[0]
    kept = []
    for leaf in old.leaves:
        if leaf.position == new.position and leaf.path[0] == name:
            if len(leaf.path) > len(new.path):
                new = new._replace(path=leaf.path)
            if leaf == new:
                return old, False
            return State(tuple(new if each is leaf else each for each in old.leaves)), False
        if leaf.holds(new.position, name):
            return old, False
        if not new.holds(leaf.position, leaf.path[0]):
            kept.append(leaf)
    if not kept:
        return State((new,)), True
    return State(tuple(sorted((*kept, new), key=_rank, reverse=True))), True


def united(mine: State | None, theirs: State) -> State:
    """Both trees in one, as replication between two copies makes it."""
    if mine is None or mine is theirs:
        return theirs
    found = mine
    for leaf in theirs.leaves:
        known = found.leaf(leaf.position, leaf.path[0])
        if known is None:
            found, _ = merged(found, leaf)
    return found


def _rank(leaf: Leaf) -> tuple[bool, int, bytes]:
    return (not leaf.deleted, leaf.position, revisions.raw(leaf.path[0]))
