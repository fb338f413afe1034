"""Reading dumps: every layout, every damage, and not one byte of a document changed."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.couch.reading import documentsize, dumptext, places, reader, rowtext
from runbook.couch.reading.inspection import DumpDamaged, digest, inspect, rows
from runbook.couch.reading.reader import Problem, Reader, Row, revision

# ── dumps as text, so that every byte of a document is known ──────────────────────────────────


def quoted(text, ascii=False):
    return json.dumps(text, ensure_ascii=ascii)


def couch_dump(docs, total=None, offset=0, layout="couchdb"):
    """``docs``: (id, rev, the document's other fields as text). Layouts: ``couchdb``; ``line``, all in
    one; ``pretty``, a field a line."""
    texts = [row_text(id, rev, fields, layout)[0] for id, rev, fields in docs]
    total = len(docs) if total is None else total
    if layout == "pretty":
        body = "".join(f",\n    {text}" for text in texts)[1:]
        return f'{{\n  "total_rows": {total},\n  "offset": null,\n  "rows": [{body}\n  ]\n}}\n'.encode()
    between = "\r\n" if layout == "couchdb" else ""
    head = f'{{"total_rows":{total},"offset":{json.dumps(offset)},"rows":['
    return (head + between + f",{between}".join(texts) + between + "]}\n").encode()


def row_text(id, rev, fields, layout="couchdb"):
    """A row and the document in it."""
    name = quoted(id)
    if layout == "pretty":
        more = f",\n        {fields}" if fields else ""
        doc = f'{{\n        "_id": {name},\n        "_rev": "{rev}"{more}\n      }}'
        row = f'"id": {name},\n      "key": {name},\n      "value": {{\n        "rev": "{rev}"\n      }}'
        return f'{{\n      {row},\n      "doc": {doc}\n    }}', doc
    doc = f'{{"_id":{name},"_rev":"{rev}"{"," if fields else ""}{fields}}}'
    return f'{{"id":{name},"key":{name},"value":{{"rev":"{rev}"}},"doc":{doc}}}', doc


def expected(docs, layout="couchdb"):
    return [(id, rev, row_text(id, rev, fields, layout)[1].encode()) for id, rev, fields in docs]


def written(tmp_path: Path, data: bytes, name="openedx_1.json") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


# ── documents ─────────────────────────────────────────────────────────────────────────────────
AWKWARD = ['},"doc":', "]}", ',\r\n{"id":"', "\u2028", '"', "\\", "}", "{", "é", "漢", "😀", "\x7f", ",", ":"]
pieces = st.one_of(st.sampled_from(AWKWARD), st.characters(exclude_categories=["Cs"]))
texts = st.lists(pieces, max_size=8).map("".join)
ids = st.lists(texts.filter(bool), unique=True, max_size=12).map(sorted)
NUMBERS = ["123456789012345678901234567890", "1e400", "-0.0", "1.50", "-7", "true", "null"]
#: what looks like parts of a dump within a document
NESTED = [
    '{"doc":{"doc":{"_id":"x","_rev":"1-a"}}}',
    '[{"id":"x","key":"x","value":{"rev":"1-a"},"doc":{"_id":"x","_rev":"1-a"}},{"id":"y","key":"y","value":1}]',
    '{"total_rows":1,"offset":0,"rows":[]}',
    "[" * 200 + "]" * 200,
    '{"a":' * 150 + "{}" + "}" * 150,
    '"' + "QUJD" * 300 + '"',
]
revs = st.builds("{}-{}".format, st.integers(1, 400), st.text("0123456789abcdef", min_size=1, max_size=32))


@st.composite
def documents(draw, revs=revs):
    docs = []
    for id in draw(ids):
        text = quoted(draw(texts), draw(st.booleans()))
        fields = f'"n":{draw(st.sampled_from(NUMBERS))},"t":{text},"d":{draw(st.sampled_from(NESTED))}'
        docs.append((id, draw(revs), draw(st.sampled_from([fields, ""]))))
    return docs


layouts = st.sampled_from(["couchdb", "line", "pretty"])
#: how much is read at once: rows, documents and the things between them fall apart anywhere
sizes = st.integers(16, 400) | st.just(1 << 18)


@contextmanager
def pieces_of(size: int) -> Iterator[None]:
    with ExitStack() as stack:
        for module in (dumptext, places, reader):
            stack.enter_context(mock.patch.object(module, "PIECE", size))
        yield


class Trickle(io.RawIOBase):
    """A body that comes in pieces of any length."""

    def __init__(self, data: bytes, seed: int) -> None:
        self.data, self.random = io.BytesIO(data), random.Random(seed)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        piece = self.data.read(min(len(buffer), self.random.randint(1, 300)))
        buffer[: len(piece)] = piece
        return len(piece)


@settings(deadline=None)
@given(documents(), layouts, sizes, st.booleans())
def test_documents_come_out_byte_for_byte(tmp_path_factory, docs, layout, size, packed):
    data = couch_dump(docs, layout=layout)
    path = written(tmp_path_factory.mktemp("dump"), gzip.compress(data) if packed else data)
    with pieces_of(size):
        assert [tuple(row)[:3] for row in rows(path)] == expected(docs, layout)
        whole = inspect(path)
    assert whole.problems == () and whole.rows == whole.total_rows == len(docs)
    assert whole.designs == sum(id.startswith("_design/") for id, _, _ in docs)


@settings(deadline=None)
@given(documents(), layouts, st.integers())
def test_a_body_from_a_server_is_read_as_it_comes(docs, layout, seed):
    body = io.BufferedReader(Trickle(couch_dump(docs, layout=layout), seed), 64)
    found = Reader.of(body, "a/b")
    assert [tuple(row)[:3] for row in found] == expected(docs, layout)
    assert found.whole and found.name == "a/b" and not body.closed


@settings(deadline=None)
@given(documents(), st.sampled_from([None, 2]), st.booleans(), sizes)
def test_other_writers_dumps_hold_the_same(tmp_path_factory, docs, indent, sort_keys, size):
    value = json.loads(couch_dump(docs), parse_float=str, parse_int=str)
    value["total_rows"] = len(docs)
    value["offset"] = None
    text = json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=False)
    path = written(tmp_path_factory.mktemp("dump"), text.encode())
    with pieces_of(size):
        whole = inspect(path)
        assert whole.problems == () and whole.total_rows == len(docs)
        assert [json.loads(row.doc) for row in rows(path)] == [row["doc"] for row in value["rows"]]


# ── damage ────────────────────────────────────────────────────────────────────────────────────
def reference(data: bytes):
    """(id, rev, document) of each row as Python's own parser reads them, numbers as their text; None
    for what is no sound dump."""

    def refused(name):
        raise ValueError(name)

    try:
        value = json.loads(data.decode(), parse_float=str, parse_int=str, parse_constant=refused)
        found = [(row["id"], row["value"]["rev"], row["doc"]) for row in value["rows"]]
        assert all((id, rev) == (doc["_id"], doc["_rev"]) for id, rev, doc in found)
        assert all(re.fullmatch(r"[0-9]{1,18}-\S+", rev) for _, rev, _ in found)
        assert value.keys() <= {"total_rows", "offset", "update_seq", "rows"}
        names = [id for id, _, _ in found]
        assert names == sorted(set(names)) and value["total_rows"] in (None, str(len(names)))
    except (ValueError, KeyError, TypeError, AssertionError):
        return None
    return found


def as_read(path: Path):
    return [(row.id, row.rev, json.loads(row.doc, parse_float=str, parse_int=str)) for row in rows(path)]


@settings(deadline=None, max_examples=300)
@given(st.data(), documents().filter(bool), layouts, sizes)
def test_no_changed_byte_reads_as_sound_unless_it_is(tmp_path_factory, data, docs, layout, size):
    raw = bytearray(couch_dump(docs, layout=layout))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255) | st.sampled_from(list(b'"\\{}[],: 0\n')))
    path = written(tmp_path_factory.mktemp("dump"), bytes(raw))
    with pieces_of(size):
        if inspect(path).problems == ():
            assert as_read(path) == reference(bytes(raw))
        else:
            assert reference(bytes(raw)) != reference(couch_dump(docs, layout=layout))


@settings(deadline=None)
@given(st.data(), documents().filter(bool), layouts, sizes)
def test_no_row_can_be_dropped_doubled_or_moved(tmp_path_factory, data, docs, layout, size):
    place = data.draw(st.integers(0, len(docs) - 1))
    other = data.draw(st.integers(0, len(docs) - 1))
    dropped = docs[:place] + docs[place + 1 :]
    doubled = docs[: place + 1] + docs[place:]
    swapped = list(docs)
    swapped[place], swapped[other] = docs[other], docs[place]
    folder = tmp_path_factory.mktemp("dump")
    for name, changed in (("dropped", dropped), ("doubled", doubled), ("swapped", swapped)):
        if changed == docs:
            continue
        path = written(folder, couch_dump(changed, total=len(docs), layout=layout), f"{name}.json")
        with pieces_of(size):
            assert inspect(path).problems != ()


@settings(deadline=None)
@given(st.data(), documents(), layouts, sizes)
def test_cut_off_anywhere_is_found(tmp_path_factory, data, docs, layout, size):
    raw = couch_dump(docs, layout=layout)
    cut = data.draw(st.integers(0, raw.rindex(b"}")))
    path = written(tmp_path_factory.mktemp("dump"), raw[:cut])
    with pieces_of(size):
        fatal = inspect(path).fatal
        assert fatal is not None and fatal.kind in ("cut_off", "empty")
        if fatal.kind == "cut_off":
            assert "is cut off after row" in fatal.text and "nothing restored" in fatal.text
        with pytest.raises(DumpDamaged):
            list(rows(path))


@settings(deadline=None)
@given(st.data(), documents(), sizes)
def test_a_cut_off_gzip_file_is_found(tmp_path_factory, data, docs, size):
    raw = gzip.compress(couch_dump(docs))
    path = written(tmp_path_factory.mktemp("dump"), raw[: data.draw(st.integers(2, len(raw) - 1))])
    with pieces_of(size):
        found = inspect(path)
    (cut_off,) = (problem for problem in found.problems if problem.kind == "cut_off")
    assert f"cut off after row {found.rows} (its gzip file ends too early)" in cut_off.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw[:-8] + bytes([raw[-8] ^ 1]) + raw[-7:], "the checksum of its content is another"),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "its content has another length than its trailer says"),
        (lambda raw: raw + b"more", "something else stands where gzip should go on"),
        (lambda raw: b"\0" + raw[1:], "something else stands where gzip should go on"),
        (lambda raw: raw[:60] + b"\xff" * 8 + raw[68:], "Error -3 while decompressing data"),
    ],
)
def test_a_damaged_gzip_file_is_named(tmp_path, change, said):
    data = couch_dump([(f"d{n:04}", "1-a", f'"n":{n * n}') for n in range(500)])
    found = inspect(written(tmp_path, change(gzip.compress(data)), "openedx_1.json.gz"))
    (problem,) = (problem for problem in found.problems if problem.kind == "gzip")
    assert found.database == "openedx_1" and problem.fatal and said in problem.text


def test_gzip_files_that_are_whole(tmp_path):
    data = couch_dump([(f"d{n:04}", "1-a", f'"n":{n * n}') for n in range(500)])
    plain = written(tmp_path, data)
    for packed in (gzip.compress(data), gzip.compress(data[:9000]) + gzip.compress(data[9000:]), data):
        path = written(tmp_path, packed, "a%2Fb.json.gz")  # the last one was unpacked under its old name
        found = inspect(path)
        assert found.problems == () and found.rows == 500 and found.database == "a/b"
        assert digest(path) == digest(plain)


@settings(deadline=None)
@given(st.binary(max_size=300), sizes)
def test_any_bytes_end_in_a_problem_or_rows(tmp_path_factory, data, size):
    folder = tmp_path_factory.mktemp("dump")
    for raw in (
        data,
        b'{"total_rows":1,"offset":0,"rows":[' + data,
        couch_dump([("a", "1-a", '"x":1')]) + data,
        couch_dump([("a", "1-a", '"x":1'), ("b", "1-a", '"x":1')])[:-4] + data,
    ):
        path = written(folder, raw)
        with pieces_of(size):
            found = list(Reader(path))
        assert all(isinstance(item, Row | Problem) for item in found)


def test_rows_cut_where_the_last_looks_complete(tmp_path):
    raw = couch_dump([("a", "1-a", '"x":1'), ("b", "1-b", '"x":2')])
    path = written(tmp_path, raw[: raw.index(b"\r\n]}")])
    assert inspect(path).fatal.text == "Backup of openedx_1 is cut off after row 2; nothing restored."


@pytest.mark.parametrize("layout", ["couchdb", "line", "pretty"])
@pytest.mark.parametrize("packed", [False, True])
def test_documents_of_many_megabytes(tmp_path, layout, packed):
    """Uploads are documents with the file in base64, between small ones."""
    upload = f'"data":"{"QUJD" * 800_000}"'
    awkward = f'"data":"{"x" * 1_500_000}\\\\"'
    docs = [(f"d{n}", "1-a", (upload, awkward, '"n":1', "")[n % 4]) for n in range(9)]
    data = couch_dump(docs, layout=layout)
    path = written(tmp_path, gzip.compress(data, 1) if packed else data)
    assert [tuple(row)[:3] for row in rows(path)] == expected(docs, layout)
    whole = inspect(path)
    assert whole.problems == () and 3_200_000 < whole.largest < 3_300_000


class Repeated(io.RawIOBase):
    """Rows without end, as far as ``size`` bytes, in no memory; ``damage`` in the middle of them."""

    def __init__(self, size: int, between: str, damage: bytes) -> None:
        self.size, self.between, self.damage = size, between, damage
        self.at, self.number, self.left = 0, 0, b'{"total_rows":0,"offset":0,"rows":['

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        if not self.left and self.at < self.size:
            texts = []
            for _ in range(500):
                self.number += 1
                texts.append(row_text(f"d{self.number:09}", "1-ab", '"text":"some text of a document"')[0])
            self.left = (self.between.join(texts) + self.between).encode()
            if self.damage and self.at > self.size // 2:
                self.left, self.damage = self.damage + self.left, b""
        piece, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


@pytest.mark.parametrize("between", [",\r\n", ","])
@pytest.mark.parametrize("damage", [b"", b'{"id":"x,', b'"', b"[" * 50_000])
def test_memory_does_not_grow_with_the_text(between, damage):
    stream = io.BufferedReader(Repeated(12_000_000, between, damage))
    found = Reader.of(stream, "x")
    problems = []
    tracemalloc.start()
    for item in found.batches():
        if isinstance(item, Problem):
            problems.append(item.kind)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.rows > 80_000 and peak < 6_000_000
    assert problems[-1] == "cut_off" and len(problems) <= 3 and (len(problems) > 1) == bool(damage)


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


@pytest.mark.parametrize("layout", ["couchdb", "line", "pretty"])
@pytest.mark.parametrize(
    ("fields", "kind", "before"),  # ``before``: what the fault comes after
    [
        ('"x":tru}', "not_json", rb"tru"),
        ('"x":01', "not_json", rb'"x":0'),
        ('"x":"\\q"', "not_json", rb'"x":"\\'),
        ('"x":[1,2', "not_json", rb"\[1,2\s*"),
        ('"x":"no end', "not_json", rb'"x":"no end(\}\},(\{"|(?=\r))|(?=\n))'),
        ('"x":"\t"', "not_json", rb'"x":"'),
        ('"x":"é\xff"', "not_utf8", rb'"x":"..'),
        ('"x":' + "[" * 50_000 + "]" * 50_000, "too_deep", rb',\s*(?=\{\s*"id": ?"b")'),
    ],
)
def test_a_fault_is_placed_to_the_byte_and_the_rest_still_read(tmp_path, layout, fields, kind, before):
    docs = [
        *((f"a{n}", "1-a", "") for n in range(3)),
        ("b", "1-b", fields),
        ("c", "1-c", ""),
        ("d", "1-d", ""),
    ]
    raw = couch_dump(docs, layout=layout).replace("\xff".encode(), b"\xff")
    found = inspect(written(tmp_path, raw))
    assert found.rows == 5 and found.fatal and found.fatal.kind == kind
    place = re.search(before, raw)
    assert place and found.fatal.offset == place.end()
    assert f"row 4 (byte {place.end()})" in found.fatal.text


@pytest.mark.parametrize("layout", ["couchdb", "line", "pretty"])
def test_what_stands_between_rows_is_looked_at_too(tmp_path, layout):
    docs = [(f"d{n}", "1-a", "") for n in range(4)]
    raw = couch_dump(docs, layout=layout)
    row = row_text("d1", "1-a", "", layout)[0].encode()
    end = raw.index(row) + len(row)
    for place, changed in (
        (end, raw[:end] + b" " + raw[end + 1 :]),  # no comma
        (end, raw[:end] + b";" + raw[end + 1 :]),
        (end + 1, raw[:end] + b",," + raw[end + 1 :]),
    ):
        found = inspect(written(tmp_path, changed))
        assert found.fatal and found.fatal.kind == "not_json" and found.rows >= 3
        assert found.fatal.offset >= place and found.fatal.offset - place < 10
    last = raw.rindex(b"}", 0, raw.rindex(b"]")) + 1
    found = inspect(written(tmp_path, raw[:last] + b"," + raw[last:]))
    assert found.fatal and "another row should follow" in found.fatal.text and found.rows == 4


def test_an_error_of_the_server_in_the_middle(tmp_path):
    raw = couch_dump([("a", "1-a", ""), ("b", "1-b", "")])
    broken = raw[: raw.index(b'{"id":"b"')] + b'{"error":"timeout","reason":"The request could not be"}\n'
    fatal = inspect(written(tmp_path, broken)).fatal
    assert fatal and fatal.kind == "cut_off"
    assert 'after row 1; nothing restored. The server had said: {"error":"timeout"' in fatal.text


def test_rows_asked_for_by_key(tmp_path):
    """One thing for each, also for what is deleted or was never there."""
    rest = [
        '{"id":"b","key":"b","value":{"rev":"2-b","deleted":true},"doc":null}',
        '{"key":"x","error":"not_found"}',
    ]
    texts = [row_text("c", "1-c", "")[0], *rest, row_text("a", "1-a", "")[0]]
    body = '{"total_rows":3,"rows":[\r\n' + ",\r\n".join(texts) + "\r\n]}\n"
    found = Reader.of(io.BufferedReader(io.BytesIO(body.encode())), "x")
    kinds = [item.id if isinstance(item, Row) else (item.kind, item.ids) for item in found]
    assert kinds == ["c", ("no_doc", ("b",)), ("not_json", ()), "a"] and found.whole


@pytest.mark.parametrize(
    ("attachments", "lacking"),
    [
        ('{"f":{"stub":true,"length":5}}', True),
        ('{"f":{"follows":true,"length":5}}', True),
        ('{"f":{"content_type":"text/plain"}}', True),  # a malformed one
        ('{"f":{"content_type":"text/plain","data":"YQ=="}}', False),
        ('{"f":{"data":"YQ=="},"g":{"stub":true}}', True),
        ("{}", False),
    ],
)
def test_attachments_without_their_contents(tmp_path, attachments, lacking):
    docs = [
        ("a", "1-a", ""),
        ("b", "1-b", f'"_attachments":{attachments}'),
        ("c", "1-c", ""),
        ("d", "1-d", ""),
    ]
    path = written(tmp_path, couch_dump(docs))
    assert [row.id for row in rows(path) if row.stubs] == ["b"] * lacking
    stub = inspect(path).problem("stub")
    assert (stub is not None and stub.ids == ("b",)) if lacking else stub is None


@pytest.mark.parametrize(
    ("ids", "suggests"),
    [
        (["_design/x", "a:1", "a:2", "b:x:y"], True),
        (["a:1", "a2"], False),
        (["a:", "b:1"], False),
        ([":a", "b:1"], False),
        (["_design/x"], False),
        ([], False),
    ],
)
def test_ids_that_suggest_a_partitioned_database(tmp_path, ids, suggests):
    data = couch_dump([(id, "1-a", "") for id in sorted(ids)])
    found = inspect(written(tmp_path, data))
    assert found.problems == () and [one.kind for one in found.remarks] == ["partitioned"] * suggests
    assert inspect(written(tmp_path, data, "_users.json")).remarks == ()


def test_replications_that_would_start(tmp_path):
    docs = [
        ("_design/x", "1-a", ""),
        ("a", "1-a", '"source":"x","target":"y"'),
        ("b", "1-a", '"_replication_state":"completed"'),
        ("c", "1-a", '"_replication_state":"failed"'),
        ("d", "1-a", '"_replication_state":"triggered","continuous":true'),
        ("e", "1-a", '"_replication_state":[]'),
    ]
    (remark,) = inspect(written(tmp_path, couch_dump(docs), "_replicator.json")).remarks
    assert remark.ids == ("a", "d", "e") and "start replications" in remark.text and not remark.fatal


def test_a_faulty_row_does_not_make_the_others_slow(tmp_path):
    """Rows beside it are looked at once more, not again for each."""
    docs = [(f"d{n:05}", "1-a" if n % 500 else "1-x", '"n":1') for n in range(20_000)]
    path = written(tmp_path, couch_dump(docs))
    with mock.patch.object(rowtext, "many", wraps=rowtext.many) as many:
        assert inspect(path).problems == ()
    assert many.call_count < 50


def test_many_problems_of_a_kind_are_one(tmp_path):
    stub = '"_attachments":{"f":{"stub":true}}'
    docs = [(f"{n:03}", "1-a", stub) for n in range(50)]
    (problem,) = inspect(written(tmp_path, couch_dump(docs))).problems
    assert problem.count == 50 and len(problem.ids) == 20
    assert problem.text.startswith("50 documents have attachments whose contents are not in the backup: 000")


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("", 2),
        ('"x":' + " " * 2000 + "1", 7),
        ('"x":"é","n":-1.5', 19),
        ('"x":"\\u00e9"', 10),
        ('"x":[1, 2,{"a" : null}]', 22),
        ('"n":' + "9" * 300, 306),
        ('"_attachments":{"f":{"data":"' + "QUJD" * 900 + '"}}', 2),
    ],
)
def test_a_document_is_as_large_as_the_server_would_write_it(tmp_path, fields, size):
    row = row_text("a", "1-a", fields)[1].encode()
    assert documentsize.measured(row) == size
    for limit in (size, size - 1):
        large = inspect(written(tmp_path, couch_dump([("a", "1-a", fields)])), limit).problem("too_large")
        assert (large is None) == (limit == size)


def test_one_document_over_the_limit_among_small_ones(tmp_path):
    docs = [(f"d{n:05}", "1-a", '"n":1') for n in range(5000)]
    docs[1000] = ("d01000", "1-a", f'"data":"{"A" * 900_000}"')
    problems = inspect(written(tmp_path, couch_dump(docs)), limit=800_000).problems
    assert [(one.kind, one.ids) for one in problems] == [("too_large", ("d01000",))]
    assert (
        problems[0].text
        == "d01000 is 900.0 kB, the servers allow 800.0 kB; raise max_document_size on all nodes."
    )


def test_names_with_a_slash(tmp_path):
    path = written(tmp_path, couch_dump([]), "a%2Fb.json")
    assert inspect(path).database == "a/b"


def test_revisions_in_the_order_in_which_they_win():
    revs = ["10-a", "9-f", "10-b", "2-zz"]
    assert sorted(revs, key=revision) == ["2-zz", "9-f", "10-a", "10-b"]
