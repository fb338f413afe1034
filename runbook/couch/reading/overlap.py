"""What several dumps of one database have in common, in one pass over all of them.

States of one database share documents in the same revision. Nodes that never were one cluster do not,
even where ids are the same: there, documents of one generation have different revisions. A document
that one copy has in a later generation than another proves neither.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import combinations, groupby, repeat
from pathlib import Path

from runbook.couch.reading import beside
from runbook.couch.reading.inspection import NAMED, rows
from runbook.couch.reading.reader import Row, revision

#: (generation, hash): the largest is the one that CouchDB lets win
Revision = tuple[int, str]


class Overlap:
    """``union``: documents in any copy; ``bytes``, ``stubs`` of their newest revisions."""

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self.nodes = nodes
        self.union = self.bytes = self.stubs = 0
        #: of each copy: documents; those that are not in it; those that are older in it
        self.counts, self.absent, self.older = Counter[str](), Counter[str](), Counter[str]()
        #: of each pair of copies: documents in the same revision; in different ones of one
        #: generation; in different generations
        self.same, self.clash, self.moved = (
            Counter[tuple[str, str]](),
            Counter[tuple[str, str]](),
            Counter[tuple[str, str]](),
        )
        #: documents changed on two nodes at once: all of them, and the first ids
        self.clashes, self.clashing = 0, list[str]()
        self.bodies = 0  #: documents with the same revision but different content
        self._equal = 0

    def behind(self, node: str) -> int:
        return self.absent[node] + self.older[node]

    def common(self) -> int:
        """Documents that the copies have in the same revision, two by two at most."""
        return max(self.same.values(), default=0)

    def related(self, one: str, other: str) -> bool:
        """Are these two states of one database? An empty copy is one of any."""
        pair = self._pair(one, other)
        smaller = min(self.counts[one], self.counts[other])
        shared = self.same[pair] + self.moved[pair]
        return shared * 2 >= smaller and self.same[pair] >= self.clash[pair]

    def _pair(self, one: str, other: str) -> tuple[str, str]:
        first, second = sorted((one, other), key=self.nodes.index)
        return first, second

    def groups(self) -> list[tuple[str, ...]]:
        """The copies, those together that are states of one database: related to the largest of them
        (an empty or small one may be related to several that have nothing to do with each other)."""
        found: list[list[str]] = []
        for node in sorted(self.nodes, key=lambda node: -self.counts[node]):
            group = next((group for group in found if self.related(group[0], node)), None)
            if group is None:
                found.append([node])
            else:
                group.append(node)
        groups = [tuple(sorted(group, key=self.nodes.index)) for group in found]
        return sorted(groups, key=lambda group: self.nodes.index(group[0]))

    def add(self, copies: list[tuple[str, Row]]) -> None:
        """One document, as those copies have it that have it."""
        best = newest(copies)
        self.union += 1
        self.bytes += len(best.doc)
        self.stubs += best.stubs
        design = best.id.startswith("_design/")
        if len(copies) == len(self.nodes) and all(row == best for _, row in copies):
            self._equal += not design  # most are; what they add is added in the end
            return
        if len(copies) < len(self.nodes):
            self.absent.update(self.nodes)
            self.absent.subtract(node for node, _ in copies)
        self.older.update(node for node, row in copies if row.rev != best.rev)
        self.bodies += any(
            row.rev == best.rev and row.doc != best.doc and row.stubs == best.stubs for _, row in copies
        )
        # every LMS makes the same design documents, in whatever cluster: they prove nothing
        if design:
            return
        self.counts.update(node for node, _ in copies)
        clashing = False
        for (one, row), (other, its) in combinations(copies, 2):
            pair = (one, other)
            if row.rev == its.rev:
                self.same[pair] += 1
            elif revision(row.rev)[0] == revision(its.rev)[0]:
                self.clash[pair] += 1
                clashing = True
            else:
                self.moved[pair] += 1
        self.clashes += clashing
        if clashing and len(self.clashing) < NAMED:
            self.clashing.append(best.id)

    def end(self) -> None:
        """All documents were added."""
        self.counts.update(dict.fromkeys(self.nodes, self._equal))
        self.same.update(dict.fromkeys(combinations(self.nodes, 2), self._equal))
        self._equal = 0


def overlap(dumps: Mapping[str, Path]) -> Overlap:
    """Raises DumpDamaged, OSError. The same unchanged files are read once a process."""
    stamps = [(path.stat().st_size, path.stat().st_mtime_ns) for path in dumps.values()]
    return _overlap(tuple(dumps.items()), tuple(stamps))


@lru_cache(maxsize=64)
def _overlap(dumps: tuple[tuple[str, Path], ...], stamps: tuple[tuple[int, int], ...]) -> Overlap:
    found = Overlap(tuple(node for node, _ in dumps))
    with streams(dict(dumps), whole=True) as documents:
        for copies in documents:
            found.add(copies)
    found.end()
    return found


def newest(copies: list[tuple[str, Row]]) -> Row:
    """The copy of a document that CouchDB would let win; one with its attachments before one without."""
    first = copies[0][1]
    if all(row.rev == first.rev and not row.stubs for _, row in copies):
        return first
    return max((row for _, row in copies), key=lambda row: (revision(row.rev), not row.stubs))


@contextmanager
def streams(dumps: Mapping[str, Path], *, whole: bool = False) -> Iterator[Iterator[list[tuple[str, Row]]]]:
    """The copies of each document, as (node, row) in the order of ``dumps``, by ascending id; ``whole``:
    with the attachments that lie beside the dumps. Closes the files."""
    found = {node: rows(path) for node, path in dumps.items()}
    read = {node: beside.whole(dumps[node], stream) if whole else stream for node, stream in found.items()}
    tagged = [zip(repeat(node), stream, strict=False) for node, stream in read.items()]
    merged = heapq.merge(*tagged, key=_id)
    try:
        yield (list(group) for _, group in groupby(merged, key=_id))
    finally:
        for stream in found.values():
            stream.close()


def _id(pair: tuple[str, Row]) -> str:
    return pair[1].id


def merged(paths: list[Path]) -> Iterator[Row]:
    """The newest revision of each document of all dumps, in the order of their ids."""
    if len(paths) == 1:
        yield from rows(paths[0])
        return
    with streams({str(path): path for path in paths}) as documents:
        for copies in documents:
            yield newest(copies)
