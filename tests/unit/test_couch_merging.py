"""Two sorted streams side by side: what is skimmed is what is there when they are taken one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.couch.alldocs import disorder
from runbook.couch.merging import Entry, Listing, aligned, skimmed

sides = st.dictionaries(st.text(min_size=1, max_size=2), st.sampled_from(["1-a", "1-b"]), max_size=60)
sizes = st.lists(st.integers(1, 9), min_size=1)


def listings(side: dict[str, str], sizes: list[int]) -> Iterator[Listing]:
    """In pieces of all sizes."""
    ids, at = sorted(side), 0
    while at < len(ids):
        for size in sizes:
            if piece := ids[at : at + size]:
                yield Listing(piece, [side[id] for id in piece])
            at += size


def entries(side: dict[str, str]) -> list[Entry]:
    return [Entry(id, side[id]) for id in sorted(side)]


@given(left=sides, right=sides, common=sides, cuts=sizes, others=sizes)
def test_skimmed_is_aligned(left, right, common, cuts, others):
    one, two = {**left, **common}, {**right, **common}
    found = list(skimmed(listings(one, cuts), listings(two, others)))
    wanted = [pair for pair in aligned(entries(one), entries(two)) if pair[0] != pair[1]]
    assert [piece for piece in found if not isinstance(piece, int)] == wanted
    assert sum(piece for piece in found if isinstance(piece, int)) == len(
        set(entries(one)) & set(entries(two))
    )


def test_long_runs_are_taken_at_once():
    many = {f"{n:06}": "1-a" for n in range(100_000)}
    other = many | {"050000": "2-a"}
    found = list(skimmed(listings(many, [7000]), listings(other, [9000])))
    assert found.count((Entry("050000", "1-a"), Entry("050000", "2-a"))) == 1
    assert len(found) < 150


@pytest.mark.parametrize(
    ("ids", "last", "wrong"),
    [
        ([], "x", None),
        (["a", "b"], "", None),
        (["b", "a"], "", "a"),
        (["b"], "b", "b"),
        (["a", "c", "c"], "", "c"),
    ],
)
def test_disorder(ids, last, wrong):
    assert disorder(ids, last) == wrong
