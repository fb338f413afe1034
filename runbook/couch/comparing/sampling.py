"""Which documents' contents are compared when not all are: always the same ones, spread over all."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from runbook.couch.comparing import content
from runbook.couch.comparing.content import Content
from runbook.couch.reading.reader import Row

#: bytes of documents that are fetched at once
_GROUP_BYTES = 4_000_000


class Chosen(NamedTuple):
    order: int
    id: str
    rev: str
    size: int
    content: Content


class Choice:
    """The ``count`` documents whose ids have the smallest checksums."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._heap: list[Chosen] = []

    def offer(self, row: Row) -> None:
        order = -zlib.crc32(row.id.encode())
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, _chosen(order, row))
        elif order > self._heap[0].order:
            heapq.heapreplace(self._heap, _chosen(order, row))

    def beside(self, fetch: Callable[[Sequence[str]], list[Row]]) -> Iterator[tuple[Chosen, Content | None]]:
        """Each with what the other side has in the same revision now, in the order of ids. ``fetch``
        gives documents by their ids."""
        group: list[Chosen] = []
        for one in sorted(self._heap, key=lambda one: one.id):
            if group and sum(other.size for other in group) + one.size > _GROUP_BYTES:
                yield from _fetched(fetch, group)
                group = []
            group.append(one)
        if group:
            yield from _fetched(fetch, group)


def _chosen(order: int, row: Row) -> Chosen:
    return Chosen(order, row.id, row.rev, len(row.doc), content.of(row.doc))


def _fetched(
    fetch: Callable[[Sequence[str]], list[Row]], group: list[Chosen]
) -> Iterator[tuple[Chosen, Content | None]]:
    there = {(row.id, row.rev): row for row in fetch([one.id for one in group])}
    for one in group:
        row = there.get((one.id, one.rev))
        yield one, content.of(row.doc) if row else None
