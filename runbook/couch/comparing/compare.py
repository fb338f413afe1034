"""Do two sides hold the same documents? Ids and revisions of all, contents of none, some or all.

A side is a dump, the chosen dumps of a backup, or a database on a server (see ``sides``). Both come
in the order of their ids and are merged as streams: memory does not grow with the database, only
with its largest document where contents are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NoReturn, Protocol

import msgspec

from runbook.couch.comparing import content
from runbook.couch.comparing.content import Content
from runbook.couch.comparing.heads import Entry, Heads, Listed, Strange, entries
from runbook.couch.comparing.merging import A, B, aligned, skimmed
from runbook.couch.comparing.sampling import Choice
from runbook.couch.reading.reader import Row

#: ids named in a result; the counts are whole, and ``told`` hears of all
NAMED = 20
#: documents whose contents are compared by default: always the same ones
SAMPLE = 100

Kind = Literal["missing", "extra", "other", "differing"]


class Side(Protocol):
    """One side of a comparison; its streams ascend by id. All of it blocks."""

    def listed(self) -> Iterator[Heads]: ...

    def documents(self) -> Iterator[Row]: ...

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """A few documents; those that are not there are left out."""
        ...

    def complain(self, what: str) -> NoReturn:
        """Raises what says that this side cannot be compared."""
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
    try:
        return _compared(database, left, right, sample, _Found(told))
    except Strange as strange:
        (left if strange.left else right).complain(str(strange))


def _compared(database: str, left: Side, right: Side, sample: int | None, found: _Found) -> Comparison:
    if sample is None:
        for one, other in found.pairs(left.documents(), right.documents()):
            found.bodies += 1
            # byte for byte the same is the rule, and spares the decoding
            if one.doc != other.doc:
                mine, theirs = content.of(one.doc), content.of(other.doc)
                found.judge(one, _same(left, right, one, mine, theirs))
    elif sample:
        choice = Choice(sample)
        for one, _ in found.pairs(left.documents(), _right(right.listed())):
            choice.offer(one)
        for chosen, there in choice.beside(right.fetch):
            found.bodies += 1
            found.judge(chosen, there is not None and _same(left, right, chosen, chosen.content, there))
    else:
        for piece in skimmed(left.listed(), right.listed()):
            if isinstance(piece, int):
                found.expected += piece
                found.actual += piece
            else:
                found.one(*piece)
    return found.result(database)


def _right(pieces: Iterable[Heads]) -> Iterator[Entry]:
    try:
        yield from entries(pieces)
    except Strange as strange:
        strange.left = False
        raise


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
        """The documents that both have in the same revision; all others are told."""
        for one, other in aligned(left, right):
            if one is not None and other is not None and one.rev == other.rev:
                self.expected += 1
                self.actual += 1
                yield one, other
            else:
                self.one(one, other)

    def one(self, one: Listed | None, other: Listed | None) -> None:
        """What only one side has, or the two in different revisions."""
        if one is not None:
            self.expected += 1
        if other is not None:
            self.actual += 1
        if one is None and other is not None:
            self.add(Difference(other.id, "extra", right=other.rev))
        elif one is not None and other is None:
            self.add(Difference(one.id, "missing", left=one.rev))
        elif one is not None and other is not None:
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


__all__ = ["Comparison", "Difference", "Side", "aligned", "compare", "proven"]
