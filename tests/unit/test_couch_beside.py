"""What lies beside a dump of ours: read back, filled in, refused when it is damaged."""

import msgspec
import pytest

from runbook.couch.reading import beside
from runbook.couch.reading.beside import Meta
from runbook.couch.reading.inspection import DumpDamaged, rows
from tests.unit.couch import doc, dump

STUB = {"a.txt": {"content_type": "text/plain", "digest": "md5-x", "length": 2, "stub": True}}
INLINE = {"a.txt": {"content_type": "text/plain", "digest": "md5-x", "data": "aGk="}}


def laid_out(tmp_path, documents, attached):
    path = tmp_path / "node-10.0.1.10" / "a%2Fb.json"
    (path.parent / beside.FOLDER).mkdir(parents=True)
    path.write_bytes(dump(documents))
    if attached:
        beside.attached_path(path).write_bytes(dump(attached))
    return path


def test_a_dump_of_the_platform_has_nothing_beside_it(tmp_path):
    path = tmp_path / "openedx_1.json"
    path.write_bytes(dump([doc("a"), doc("b", _attachments=STUB)]))
    assert beside.load(path) is None
    assert list(beside.whole(path, rows(path))) == list(rows(path))


def test_meta_is_read_as_it_was_written(tmp_path):
    path = laid_out(tmp_path, [doc("a")], [])
    meta = Meta(database="a/b", documents=1, deleted=2, sequence="3-x", security={"admins": {"names": ["é"]}})
    beside.meta_path(path).write_bytes(msgspec.json.encode(meta))
    assert beside.meta_path(path).name == "a%2Fb.meta.json"
    assert beside.load(path) == meta


@pytest.mark.parametrize("text", [b"", b"{", b'{"database":1}', b"[" * 5000])
def test_a_damaged_meta_is_refused(tmp_path, text):
    path = laid_out(tmp_path, [doc("a")], [])
    beside.meta_path(path).write_bytes(text)
    with pytest.raises(DumpDamaged, match=r"a%2Fb\.json cannot be read"):
        beside.load(path)


def test_contents_are_filled_in_where_id_and_revision_are_the_same(tmp_path):
    documents = [
        doc("a", _attachments=STUB),
        doc("b"),
        doc("c", "2-b", _attachments=STUB),  # beside it: another revision
        doc("d", _attachments=STUB),  # nothing beside it
        doc("e", _attachments=STUB),
    ]
    attached = [doc("a", _attachments=INLINE), doc("c", _attachments=INLINE), doc("e", _attachments=INLINE)]
    path = laid_out(tmp_path, documents, attached)
    found = {row.id: row for row in beside.whole(path, rows(path))}
    assert list(found) == ["a", "b", "c", "d", "e"]
    assert {id for id, row in found.items() if row.stubs} == {"c", "d"}
    assert msgspec.json.decode(found["e"].doc)["_attachments"] == INLINE


def test_some_of_the_rows_are_enough(tmp_path):
    path = laid_out(tmp_path, [doc(id, _attachments=STUB) for id in "abc"],
                    [doc(id, _attachments=INLINE) for id in "abc"])  # fmt: skip
    last = [row for row in rows(path) if row.id == "c"]
    assert [(row.id, row.stubs) for row in beside.whole(path, iter(last))] == [("c", False)]
