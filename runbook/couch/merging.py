"""Two streams in the order of their ids, side by side.

Where both are the same for long, lists of them are compared at once; only around a difference are
they taken one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol, TypeVar

#: as many are compared at once, when all before were equal
_MOST = 1 << 14


class Listed(Protocol):
    """A document by its id and revision."""

    @property
    def id(self) -> str: ...
    @property
    def rev(self) -> str: ...


class Listing(NamedTuple):
    """Some documents, in the order of their ids; never none."""

    ids: list[str]
    revs: list[str]


class Entry(NamedTuple):
    """One of them."""

    id: str
    rev: str


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
    left: Iterable[Listing], right: Iterable[Listing]
) -> Iterator[int | tuple[Entry | None, Entry | None]]:
    """How many are the same on both sides, and between them each pair that is not, as ``aligned``
    gives it: the one side has no such document, or the revisions differ."""
    ours, theirs, step = _Place(left), _Place(right), 1
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
            one, other = ours.entry, theirs.entry
            ours.at += one.id <= other.id
            theirs.at += other.id <= one.id
            yield one if one.id <= other.id else None, other if other.id <= one.id else None
    for place, mine in ((ours, True), (theirs, False)):
        while place.ready():
            yield (place.entry, None) if mine else (None, place.entry)
            place.at += 1


class _Place:
    """How far one side is."""

    def __init__(self, listings: Iterable[Listing]) -> None:
        self._listings = iter(listings)
        self._ids: list[str] = []
        self._revs: list[str] = []
        self.at = 0

    @property
    def left(self) -> int:
        return len(self._ids) - self.at

    @property
    def entry(self) -> Entry:
        return Entry(self._ids[self.at], self._revs[self.at])

    def ready(self) -> bool:
        """Is there another one? Reads on when need be."""
        if self.at < len(self._ids):
            return True
        listing = next(self._listings, None)
        if listing is not None:
            (self._ids, self._revs), self.at = listing, 0
        return listing is not None

    def ahead(self, count: int) -> tuple[list[str], list[str]]:
        end = self.at + count
        return self._ids[self.at : end], self._revs[self.at : end]
