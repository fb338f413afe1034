"""Do two sides hold the same documents? Ids and revisions of all, contents of none, some or all.

A side is a dump, the chosen dumps of a backup, or a database on a server (see ``sides``). Both come
in the order of their ids and are merged as streams: memory does not grow with the database, only
with its largest document where contents are compared.
"""

from __future__ import annotations

import heapq
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

import msgspec

from runbook.couch import content
from runbook.couch.alldocs import Held, held
from runbook.couch.content import Content
from runbook.couch.reader import Row

#: ids named in a result; the counts are whole, and ``told`` hears of all
NAMED = 20
#: documents whose contents are compared by default: always the same ones
SAMPLE = 100
#: bytes of documents that are fetched at once
_GROUP_BYTES = 4_000_000

Kind = Literal["missing", "extra", "other", "differing"]


class Listed(Protocol):
    """A Row or a Held."""

    @property
    def id(self) -> str: ...
    @property
    def rev(self) -> str: ...


A = TypeVar("A", bound=Listed)
B = TypeVar("B", bound=Listed)


class Side(Protocol):
    """One side of a comparison; its streams ascend by id. All of it blocks."""

    def rows(self) -> Iterator[Listed]: ...

    def documents(self) -> Iterator[Row]: ...

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """A few documents; those that are not there are left out."""
        ...

    def attachment(self, id: str, rev: str, name: str) -> str:
        """The MD5 of an attachment's contents, as ``content.md5``; empty when they cannot be had."""
        ...


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """``what``: as in Comparison. ``left`` and ``right`` are the revisions, where there is one."""

    id: str
    what: Kind
    left: str = ""
    right: str = ""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """``missing``: on the left side (the backup), not on the right one (the server); ``extra``: the
    other way round; ``other``: there in another revision; ``differing``: the same revision with
    other content. The ``first_…`` name up to 20 ids each. ``bodies``: how many contents were
    compared."""

    database: str
    expected: int
    actual: int
    missing: int = 0
    extra: int = 0
    other: int = 0
    bodies: int = 0
    differing: int = 0
    first_missing: tuple[str, ...] = ()
    first_extra: tuple[str, ...] = ()
    first_other: tuple[str, ...] = ()
    first_differing: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return not (self.missing or self.extra or self.other or self.differing)

    @property
    def there(self) -> int:
        """Documents of the backup that the server holds in the right revision."""
        return self.expected - self.missing - self.other

    def words(self) -> str:
        """``2 missing (a, b), 1 extra (c)``; empty when all is the same."""
        parts = [
            (self.missing, "missing", self.first_missing),
            (self.extra, "extra", self.first_extra),
            (self.other, "in another revision", self.first_other),
            (self.differing, "with the same revision but different content", self.first_differing),
        ]
        return ", ".join(
            f"{count} {what} ({', '.join(ids)}{', …' if count > len(ids) else ''})"
            for count, what, ids in parts
            if count
        )


def proven(found: Sequence[Comparison]) -> str:
    """What was looked at, and no more than that."""
    documents, bodies = sum(one.expected for one in found), sum(one.bodies for one in found)
    places = "1 database" if len(found) == 1 else f"{len(found)} databases"
    return f"ids and revisions of {documents} documents in {places} compared, contents of {bodies}"


Told = Callable[[Difference], None]


def silent(difference: Difference) -> None:
    pass


def compare(
    database: str, left: Side, right: Side, *, sample: int | None = SAMPLE, told: Told = silent
) -> Comparison:
    """``sample``: of how many documents the contents are compared; None: of all. ``told`` hears of
    every difference when it is found. Blocks: call it in a thread.

    Raises DumpDamaged, RequestRefused (404: no such database), CouldNotLook and the Client's errors.
    """
    found = _Found(told)
    if sample is None:
        for one, other in found.pairs(left.documents(), right.documents()):
            found.bodies += 1
            # byte for byte the same is the rule, and spares the decoding
            if one.doc != other.doc:
                mine, theirs = content.of(one.doc), content.of(other.doc)
                found.judge(one, _same(left, right, one, mine, theirs))
    elif sample:
        choice = _Choice(sample)
        for one, _ in found.pairs(left.documents(), right.rows()):
            choice.offer(one)
        for chosen, there in choice.beside(right):
            found.bodies += 1
            found.judge(chosen, there is not None and _same(left, right, chosen, chosen.content, there))
    else:
        deque(found.pairs(left.rows(), right.rows()), maxlen=0)
    return found.result(database)


def aligned(left: Iterable[A], right: Iterable[B]) -> Iterator[tuple[A | None, B | None]]:
    """Both streams side by side: pairs of the same id, None where one side has no such document."""
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


def _same(left: Side, right: Side, one: Listed, mine: Content, theirs: Content) -> bool:
    names = content.unsettled(mine, theirs)
    if names is None:
        return False
    for name in names:
        contents = _contents(left, one, name, mine)
        if not contents or contents != _contents(right, one, name, theirs):
            return False
    return True


def _contents(side: Side, one: Listed, name: str, known: Content) -> str:
    attachment = known.attachments[name]
    return attachment.digest if attachment.inline else side.attachment(one.id, one.rev, name)


class _Found:
    """What differs, counted; the first of each kind by name."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.expected = self.actual = self.bodies = 0
        self.counts: dict[Kind, int] = {"missing": 0, "extra": 0, "other": 0, "differing": 0}
        self.first: dict[Kind, list[str]] = {kind: [] for kind in self.counts}

    def pairs(self, left: Iterable[A], right: Iterable[B]) -> Iterator[tuple[A, B]]:
        """The documents that both have in the same revision."""
        for one, other in aligned(left, right):
            if other is None:
                self.expected += 1
                if one is not None:
                    self.add(Difference(one.id, "missing", left=one.rev))
            elif one is None:
                self.actual += 1
                self.add(Difference(other.id, "extra", right=other.rev))
            else:
                self.expected += 1
                self.actual += 1
                if one.rev == other.rev:
                    yield one, other
                else:
                    self.add(Difference(one.id, "other", left=one.rev, right=other.rev))

    def judge(self, one: Listed, same: bool) -> None:
        if not same:
            self.add(Difference(one.id, "differing", left=one.rev, right=one.rev))

    def add(self, one: Difference) -> None:
        self.counts[one.what] += 1
        if len(self.first[one.what]) < NAMED:
            self.first[one.what].append(one.id)
        self.told(one)

    def result(self, database: str) -> Comparison:
        return Comparison(
            database=database,
            expected=self.expected,
            actual=self.actual,
            bodies=self.bodies,
            missing=self.counts["missing"],
            extra=self.counts["extra"],
            other=self.counts["other"],
            differing=self.counts["differing"],
            first_missing=tuple(self.first["missing"]),
            first_extra=tuple(self.first["extra"]),
            first_other=tuple(self.first["other"]),
            first_differing=tuple(self.first["differing"]),
        )


class _Chosen(NamedTuple):
    order: int
    id: str
    rev: str
    size: int
    content: Content


class _Choice:
    """The documents whose ids have the smallest checksums: spread over all, and always the same."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._heap: list[_Chosen] = []

    def offer(self, row: Row) -> None:
        order = -zlib.crc32(row.id.encode())
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, self._one(order, row))
        elif order > self._heap[0].order:
            heapq.heapreplace(self._heap, self._one(order, row))

    @staticmethod
    def _one(order: int, row: Row) -> _Chosen:
        return _Chosen(order, row.id, row.rev, len(row.doc), content.of(row.doc))

    def beside(self, right: Side) -> Iterator[tuple[_Chosen, Content | None]]:
        """Each with what the other side has in the same revision now, in the order of ids."""
        group: list[_Chosen] = []
        for one in sorted(self._heap, key=lambda one: one.id):
            if group and sum(other.size for other in group) + one.size > _GROUP_BYTES:
                yield from self._fetched(right, group)
                group = []
            group.append(one)
        if group:
            yield from self._fetched(right, group)

    @staticmethod
    def _fetched(right: Side, group: list[_Chosen]) -> Iterator[tuple[_Chosen, Content | None]]:
        there = {(row.id, row.rev): row for row in right.fetch([one.id for one in group])}
        for one in group:
            row = there.get((one.id, one.rev))
            yield one, content.of(row.doc) if row else None


__all__ = ["Comparison", "Difference", "Held", "Side", "aligned", "compare", "held"]
