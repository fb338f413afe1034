"""Reading dumps: every layout, every damage, and not one byte of a document changed."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.couch.inspection import DumpDamaged, inspect, rows
from runbook.couch.reader import Problem, Reader, Row, revision


def couch_dump(docs, total=None, offset=0):
    """Bytes as CouchDB writes them; ``docs``: (id, rev, raw body fields)."""
    lines = []
    for id, rev, fields in docs:
        name = json.dumps(id, ensure_ascii=False)
        doc = f'{{"_id":{name},"_rev":"{rev}"{"," if fields else ""}{fields}}}'
        lines.append(f'{{"id":{name},"key":{name},"value":{{"rev":"{rev}"}},"doc":{doc}}}')
    total = len(docs) if total is None else total
    head = f'{{"total_rows":{total},"offset":{json.dumps(offset)},"rows":['
    return (head + "\r\n" + ",\r\n".join(lines) + "\r\n]}\n").encode()


def written(tmp_path: Path, data: bytes, name="openedx_1.json") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


pieces = st.one_of(
    st.sampled_from(['},"doc":', "]}", "\u2028", '"', "\\", "}", "{", "é", "漢", "😀", "\x7f", ",", ":"]),
    st.characters(exclude_categories=["Cs"]),
)
texts = st.lists(pieces, max_size=8).map("".join)
ids = st.lists(texts.filter(bool), unique=True, max_size=12).map(sorted)
NUMBERS = ["123456789012345678901234567890", "1e400", "-0.0", "1.50", "-7", "true", "null"]


@st.composite
def documents(draw):
    docs = []
    for id in draw(ids):
        text = json.dumps(draw(texts), ensure_ascii=draw(st.booleans()))
        fields = f'"n":{draw(st.sampled_from(NUMBERS))},"t":{text},"d":[{{"}}":[{text}]}}]'
        docs.append(
            (id, f"{draw(st.integers(1, 400))}-{draw(st.text(string.hexdigits, min_size=1))}", fields)
        )
    return docs


@settings(deadline=None)
@given(documents())
def test_documents_come_out_byte_for_byte(tmp_path_factory, docs):
    path = written(tmp_path_factory.mktemp("dump"), couch_dump(docs))
    found = list(rows(path))
    assert [(row.id, row.rev) for row in found] == [(id, rev) for id, rev, _ in docs]
    for row, (_, _, fields) in zip(found, docs, strict=True):
        assert row.doc.endswith((fields + "}").encode())
    whole = inspect(path)
    assert whole.problems == () and whole.rows == whole.total_rows == len(docs)


@settings(deadline=None)
@given(documents(), st.sampled_from([None, 2]), st.booleans())
def test_other_layouts_hold_the_same(tmp_path_factory, docs, indent, sort_keys):
    value = json.loads(couch_dump(docs), parse_float=str, parse_int=str)
    value["total_rows"] = len(docs)
    value["offset"] = None
    text = json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=False)
    path = written(tmp_path_factory.mktemp("dump"), text.encode())
    whole = inspect(path)
    assert whole.problems == () and whole.total_rows == len(docs)
    assert [json.loads(row.doc) for row in rows(path)] == [row["doc"] for row in value["rows"]]


@settings(deadline=None)
@given(st.data(), documents(), st.sampled_from(["couchdb", "line", "pretty"]))
def test_cut_off_anywhere_is_found(tmp_path_factory, data, docs, layout):
    raw = couch_dump(docs)
    if layout != "couchdb":
        indent = 1 if layout == "pretty" else None
        raw = json.dumps(json.loads(raw, parse_float=str), indent=indent).encode() + b"\n"
    end = raw.rindex(b"}")
    cut = data.draw(st.integers(0, end))
    path = written(tmp_path_factory.mktemp("dump"), raw[:cut])
    fatal = inspect(path).fatal
    assert fatal is not None and fatal.kind in ("cut_off", "empty")
    if fatal.kind == "cut_off":
        assert "is cut off after row" in fatal.text and "nothing restored" in fatal.text
    with pytest.raises(DumpDamaged):
        list(rows(path))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_problem_or_rows(tmp_path_factory, data):
    for raw in (
        data,
        b'{"total_rows":1,"offset":0,"rows":[' + data,
        couch_dump([("a", "1-a", '"x":1')]) + data,
    ):
        path = written(tmp_path_factory.mktemp("dump"), raw)
        assert all(isinstance(item, Row | Problem) for item in Reader(path))


@settings(deadline=None)
@given(st.data(), documents().filter(bool))
def test_one_changed_byte_never_raises(tmp_path_factory, data, docs):
    raw = bytearray(couch_dump(docs))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    inspect(written(tmp_path_factory.mktemp("dump"), bytes(raw)))


def test_rows_cut_where_the_last_looks_complete(tmp_path):
    raw = couch_dump([("a", "1-a", '"x":1'), ("b", "1-b", '"x":2')])
    path = written(tmp_path, raw[: raw.index(b"\r\n]}")])
    assert inspect(path).fatal.text == "Backup of openedx_1 is cut off after row 2; nothing restored."


def test_rows_longer_than_a_chunk_in_one_line(tmp_path):
    fields = f'"data":"{"x" * 1_500_000}\\\\"'
    raw = couch_dump([(f"{n}", "1-a", fields) for n in range(4)]).replace(b"\r\n", b"")
    found = [row.doc.decode() for row in rows(written(tmp_path, raw))]
    assert found == [f'{{"_id":"{n}","_rev":"1-a",{fields}}}' for n in range(4)]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"error":"unauthorized","reason":"Name or password is incorrect."}\n', "error_page"),
        (b"<html>502 Bad Gateway</html>", "not_a_dump"),
        (b'{"backup_date":"2026","nodes":[]}', "not_a_dump"),
        (
            b'{"total_rows":1,"offset":0,"rows":[\r\n{"id":"a","key":"a","value":{"rev":"1-a"}}\r\n]}\n',
            "no_doc",
        ),
        (couch_dump([("a", "1-a", "")]) * 2, "trailing"),
        (couch_dump([("a", "1-a", '"x":"\xff"')]).replace(b"\xc3\xbf", b"\xff"), "not_utf8"),
        (couch_dump([("a", "1-a", '"x":01')]), "not_json"),
        (couch_dump([("a", "1-a", '"x":' + "[" * 400_000 + "]" * 400_000)]), "too_deep"),
        (couch_dump([("a", "1-a", "")]).replace(b'"_rev":"1-a"', b'"_rev":"2-a"'), "mismatch"),
        (couch_dump([("a", "nonsense", "")]), "mismatch"),
        (couch_dump([("a", "1-a", ""), ("a", "1-a", "")]), "double"),
        (couch_dump([("b", "1-a", ""), ("a", "1-a", "")]), "disorder"),
        (couch_dump([("a", "1-a", "")], total=7), "row_count"),
        (
            couch_dump([("a", "1-a", '"_attachments":{"f":{"stub":true,"length":5,"digest":"md5-x"}}')]),
            "stub",
        ),
        (couch_dump([("big", "1-a", f'"x":"{"y" * 2000}"')]), "too_large"),
        (b'{"total_rows":2,"offset":0,"rows":[\r\n{"error":"timeout","reason":"x"}\n', "cut_off"),
    ],
)
def test_every_damage_has_its_name(tmp_path, data, kind):
    found = inspect(written(tmp_path, data), limit=1000)
    assert kind in [problem.kind for problem in found.problems]
    assert (found.fatal is None) == (kind in ("row_count", "stub", "too_large"))


def test_a_damaged_row_is_placed_and_the_rest_still_read(tmp_path):
    raw = couch_dump([("a", "1-a", ""), ("b", "1-b", '"x":tru'), ("c", "1-c", "")])
    found = inspect(written(tmp_path, raw))
    assert found.rows == 2
    assert found.fatal.kind == "not_json" and found.fatal.offset == raw.index(b"tru}") + 3


def test_many_problems_of_a_kind_are_one(tmp_path):
    stub = '"_attachments":{"f":{"stub":true}}'
    docs = [(f"{n:03}", "1-a", stub) for n in range(50)]
    (problem,) = inspect(written(tmp_path, couch_dump(docs))).problems
    assert problem.count == 50 and len(problem.ids) == 20
    assert problem.text.startswith("50 documents have attachments whose contents are not in the backup: 000")


def test_the_limit_is_for_what_the_server_measures(tmp_path):
    blank = '"x":' + " " * 2000 + "1"
    assert inspect(written(tmp_path, couch_dump([("a", "1-a", blank)])), limit=1000).problems == ()


def test_names_with_a_slash(tmp_path):
    path = written(tmp_path, couch_dump([]), "a%2Fb.json")
    assert inspect(path).database == "a/b"


def test_revisions_in_the_order_in_which_they_win():
    revs = ["10-a", "9-f", "10-b", "2-zz"]
    assert sorted(revs, key=revision) == ["2-zz", "9-f", "10-a", "10-b"]
