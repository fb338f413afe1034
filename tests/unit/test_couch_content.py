"""Contents compared as values; attachments by their contents or their stubs' digests."""

from __future__ import annotations

import base64
import json

import pytest

from runbook.couch.comparing import content, heads
from runbook.couch.comparing.compare import compare
from runbook.couch.comparing.sides import Dumped
from runbook.couch.reading.reader import Row

UPLOAD = base64.b64encode(b"file").decode()


def attached(data: bytes = b"hello", kind: str = "image/png", **more: object) -> bytes:
    inline = {"content_type": kind, "revpos": 2, "data": base64.b64encode(data).decode()}
    return json.dumps({"_id": "a", "_rev": "2-a", "_attachments": {"f": inline | more}}).encode()


def stub(digest: str, length: int = 5, kind: str = "image/png") -> bytes:
    one = {"content_type": kind, "revpos": 1, "digest": digest, "length": length, "stub": True}
    return json.dumps({"_id": "a", "_rev": "2-a", "_attachments": {"f": one}}).encode()


def same(one: bytes, other: bytes) -> bool:
    return content.unsettled(content.of(one), content.of(other)) == ()


def test_values_are_compared_not_their_writing():
    one = b'{"_id":"a","x":[1.50,{"b":"\\u00e9","a":null}]}'
    assert same(one, '{"x":[1.5,{"a":null,"b":"é"}],"_rev":"9"}'.encode())
    for other in (b'{"x":0}', b'{"x":-0.0}', b'{"x":"0"}', b'{"x":1e400}', b'{"x":1e999999999999}', b"{}"):
        assert not same(one, other)
    assert not same(b'{"x":0.0}', b'{"x":-0.0}')
    assert not same(b'{"x":123456789012345678901234567890}', b'{"x":123456789012345678901234567891}')


def test_of_an_upload_the_files_own_bytes_count():
    one = f'{{"content_type":"x","data":"{UPLOAD}"}}'.encode()
    assert same(one, f'{{"data":"{UPLOAD}","content_type":"x"}}'.encode())
    assert not same(one, b'{"content_type":"x","data":"AAAA"}')
    assert not same(b'{"content_type":"x","data":"no file"}', b'{"content_type":"x","data":"no film"}')


def test_a_document_nested_too_deeply_is_compared_as_text():
    deep = b'{"x":%b1%b}' % (b"[" * 100_000, b"]" * 100_000)
    assert same(deep, deep) and not same(deep, deep.replace(b"1", b"2"))


@pytest.mark.parametrize("number", ["5", "1e2", "100", "1.0"])
def test_lengths_are_numbers(number):
    text = stub("md5-x").replace(b'"length": 5', f'"length": {number}'.encode())
    assert content.of(text).attachments["f"].length == int(float(number))


def test_attachments():
    md5 = content.md5(b"hello")
    assert md5 == "md5-XUFAKrxLKna5cZ2REBfFkg=="
    assert same(attached(), attached()) and same(attached(), stub(md5)) and same(stub(md5), stub(md5))
    for other in (attached(b"hellO"), attached(kind="image/gif"), stub(md5, 6), stub(md5, kind="x"), b"{}"):
        assert content.unsettled(content.of(attached()), content.of(other)) is None
    # the digest of a compressed attachment: its contents have to be asked for
    assert content.unsettled(content.of(attached()), content.of(stub("md5-iMaiC8wqiFlD2NjLTemvCQ=="))) == (
        "f",
    )


def side(rows: list[Row]) -> Dumped:
    return Dumped(lambda: heads.of_rows(rows), lambda: iter(rows))


def test_a_sample_is_always_the_same_and_as_large_as_it_can_be():
    rows = [Row(f"d{n:03}", "1-a", b'{"n":%d}' % n, False) for n in range(300)]
    other = [Row(row.id, row.rev, b'{"n":-1}', False) for row in rows]
    left, right = side(rows), side(other)
    found = compare("x", left, right, sample=50)
    assert (found.bodies, found.differing) == (50, 50)
    assert compare("x", left, right, sample=50) == found
    assert compare("x", left, right, sample=1000).differing == 300
    assert compare("x", left, right, sample=0).same
