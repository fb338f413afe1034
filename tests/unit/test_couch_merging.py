"""Two sorted streams side by side: what is skimmed is what is there when they are taken one by one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.couch.comparing import heads
from runbook.couch.comparing.heads import Entry, Heads, Strange
from runbook.couch.comparing.merging import aligned, skimmed
from runbook.couch.reading.inspection import DumpDamaged
from tests.unit.couch import doc, dump

sides = st.dictionaries(st.text(min_size=1, max_size=2), st.sampled_from(["1-a", "1-b"]), max_size=60)
sizes = st.lists(st.integers(1, 9), min_size=1)


def entries(side: dict[str, str]) -> list[Entry]:
    return [Entry(id, side[id]) for id in sorted(side)]


def pieces(side: dict[str, str], sizes: list[int], write=heads.head) -> Iterator[Heads]:
    """In pieces of all sizes."""
    rows, at = entries(side), 0
    while at < len(rows):
        for size in sizes:
            if piece := rows[at : at + size]:
                yield [write(row) for row in piece]
            at += size


def otherwise(one: Entry) -> bytes:
    """The same row as another program writes it."""
    text = json.dumps({"key": one.id, "id": one.id, "value": {"rev": one.rev}}, indent=1)
    return text.encode().rstrip(b"\n }").removesuffix(b'"')


@pytest.mark.parametrize("write", [heads.head, otherwise])
@given(left=sides, right=sides, common=sides, cuts=sizes, others=sizes)
def test_skimmed_is_aligned(write, left, right, common, cuts, others):
    one, two = {**left, **common}, {**right, **common}
    found = list(skimmed(pieces(one, cuts), pieces(two, others, write)))
    wanted = [pair for pair in aligned(entries(one), entries(two)) if pair[0] != pair[1]]
    assert [piece for piece in found if not isinstance(piece, int)] == wanted
    equal = set(entries(one)) & set(entries(two))
    assert sum(piece for piece in found if isinstance(piece, int)) == len(equal)


def test_long_runs_are_taken_at_once():
    many = {f"{n:06}": "1-a" for n in range(100_000)}
    other = many | {"050000": "2-a"}
    found = list(skimmed(pieces(many, [7000]), pieces(other, [9000])))
    assert found.count((Entry("050000", "1-a"), Entry("050000", "2-a"))) == 1
    assert len(found) < 150


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("rows", ["adbc", "abcc", "bac"])
@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_what_is_not_in_order_is_told_and_on_which_side(left, rows, at_once):
    good = heads.of_rows([Entry(id, "1-a") for id in "abcdef"])
    all_ = [heads.head(Entry(id, "1-a")) for id in rows]
    bad = [all_[at : at + at_once] for at in range(0, len(rows), at_once)]
    with pytest.raises(Strange, match="comes after") as caught:
        list(skimmed(bad, good) if left else skimmed(good, bad))
    assert caught.value.left is left
    with pytest.raises(Strange, match="comes after"):
        list(heads.entries(bad))


def test_what_is_no_row_is_told():
    with pytest.raises(Strange, match="no row"):
        list(skimmed([[b"no row"]], [[heads.head(Entry("a", "1-a"))]]))


# ── of dumps and lists ─────────────────────────────────────────────────────────────────────
IDS = ["A", 'q"},"doc":{', '"}},\r\n', "\\", "a\u2028b", "é", "漢", "😀", "x" * 70_000]
DOCS = [doc(id, doc={"doc": 1}, text="é" * n) for n, id in enumerate(IDS)]


def read(path: Path) -> list[str]:
    return [one.id for one in heads.entries(heads.of_dump(path))]


def pretty(data: bytes) -> bytes:
    return json.dumps(json.loads(data), indent=2).encode()


def one_line(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"")


@pytest.mark.parametrize("layout", [bytes, pretty, one_line, gzip.compress])
@pytest.mark.parametrize("piece", [100, 1 << 20])
def test_dumps_in_every_layout(tmp_path, monkeypatch, layout, piece):
    monkeypatch.setattr(heads, "_PIECE", piece)
    path = tmp_path / ("db.json.gz" if layout is gzip.compress else "db.json")
    path.write_bytes(layout(dump(DOCS)))
    assert read(path) == sorted(IDS)
    path.write_bytes(layout(dump([])))
    assert read(path) == []


@pytest.mark.parametrize("piece", [100, 1 << 20])
def test_a_dump_cut_anywhere_is_damaged(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(heads, "_PIECE", piece)
    whole, path = dump(DOCS[:-1]), tmp_path / "db.json"
    for end in range(len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(DumpDamaged):
            read(path)


def test_damage_in_the_middle_is_told_exactly(tmp_path):
    path, whole = tmp_path / "db.json", dump([doc(f"{n:04}") for n in range(5000)])
    path.write_bytes(whole.replace(b'{"id":"3000"', b'{"xd":"3000"'))
    with pytest.raises(DumpDamaged, match="row 3001 "):
        read(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(DumpDamaged, match="goes on after its end"):
        read(path)


def test_lists_of_servers():
    rows = [{"id": id, "key": id, "value": {"rev": "1-a"}} for id in sorted(IDS)]
    for between in (",\r\n", ",\n", ",", " ,\n "):
        text = between.join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
        assert [one.id for one in heads.entries([heads.of_list(text.encode())])] == sorted(IDS)
    assert heads.of_list(json.dumps(rows[0]).encode()) == [heads.head(Entry(rows[0]["id"], "1-a"))]
    with pytest.raises(ValueError, match="value"):
        heads.of_list(b'{"id":"a"}')
