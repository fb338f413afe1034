"""Two streams in the order of their ids, side by side.

Where both are the same for long, their heads are compared many at once; only around a difference are
they taken one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from runbook.couch.comparing.heads import Entry, Heads, Listed, Strange, entry

#: as many are compared at once, when all before were equal
_MOST = 1 << 14


A = TypeVar("A", bound=Listed)
B = TypeVar("B", bound=Listed)


def aligned(left: Iterable[A], right: Iterable[B]) -> Iterator[tuple[A | None, B | None]]:
    """Pairs of the same id, None where one side has no such document."""
    ours, theirs = iter(left), iter(right)
    one, other = next(ours, None), next(theirs, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.id < other.id):
            yield one, None
            one = next(ours, None)
        elif one is None or other.id < one.id:
            yield None, other
            other = next(theirs, None)
        else:
            yield one, other
            one, other = next(ours, None), next(theirs, None)


def skimmed(
    left: Iterable[Heads], right: Iterable[Heads]
) -> Iterator[int | tuple[Entry | None, Entry | None]]:
    """How many are the same on both sides, and between them each pair that is not, as ``aligned``
    gives it: the one side has no such document, or the revisions differ. Raises Strange."""
    ours, theirs, step = _Place(left, True), _Place(right, False), 1
    while ours.ready() and theirs.ready():
        count = min(step, ours.left, theirs.left)
        if ours.ahead(count) == theirs.ahead(count):
            ours.at += count
            theirs.at += count
            step = min(2 * step, _MOST)
            yield count
        elif count > 1:
            step = count // 2
        else:
            one, other = ours.entry(), theirs.entry()
            ours.at += one.id <= other.id
            theirs.at += other.id <= one.id
            if one == other:  # written in another way
                yield 1
            else:
                yield one if one.id <= other.id else None, other if other.id <= one.id else None
    while ours.ready():
        yield ours.entry(), None
        ours.at += 1
    while theirs.ready():
        yield None, theirs.entry()
        theirs.at += 1


class _Place:
    """How far one side is."""

    def __init__(self, pieces: Iterable[Heads], mine: bool) -> None:
        self._pieces, self._mine = iter(pieces), mine
        self._heads: Heads = []
        self._before = b""  #: the last one of the piece before
        self.at = 0

    @property
    def left(self) -> int:
        return len(self._heads) - self.at

    def entry(self) -> Entry:
        """The next one. Only where the sides differ is it looked at, and whether it is in order."""
        before = self._heads[self.at - 1] if self.at else self._before
        try:
            found = entry(self._heads[self.at])
            if before and (last := entry(before).id) >= found.id:
                raise Strange(f"{found.id} comes after {last}")
        except Strange as strange:
            strange.left = self._mine
            raise
        return found

    def ready(self) -> bool:
        """Is there another one? Reads on when need be."""
        while self.at >= len(self._heads):
            heads = next(self._pieces, None)
            if heads is None:
                return False
            self._before, self._heads, self.at = self._heads[-1] if self._heads else b"", heads, 0
        return True

    def ahead(self, count: int) -> Heads:
        return self._heads[self.at : self.at + count]
