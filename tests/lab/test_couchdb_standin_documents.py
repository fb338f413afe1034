"""Documents in the stand-in: revisions, conflicts, raw text, attachments, listings."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.lab.couchdb import StandIn, jsontext, revisions
from tests.lab.standin_client import Client, cluster

A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[StandIn]]:
    with cluster() as nodes:
        yield nodes


@pytest.fixture
def db(nodes: list[StandIn], request: pytest.FixtureRequest) -> str:
    name = "d" + hashlib.md5(request.node.name.encode()).hexdigest()[:12]
    assert Client(nodes[0])("PUT", f"/{name}")[0] == 201
    return name


@pytest.fixture
def client(nodes: list[StandIn]) -> Client:
    return Client(nodes[0])


def test_hashes_are_those_of_couchdb() -> None:
    assert revisions.next_hash(False, 0, None, b"") == "967a00dff5e02add41819138abb3284d"
    assert revisions.next_hash(True, 1, B, b"") == "d57ce398f63417fd01c5c372e5e048e6"


def test_numbers_key_order_and_text_survive(db: str, client: Client) -> None:
    text = (
        '{"_id":"n","_rev":"1-a","z":1e400,"a":123456789012345678901234567890,"m":-0.0,"f":1.50,'
        '"t":"a, b\u2028 \\"q\\" \\n é 漢 😀","deep":{"y":[1,{"x":null}],"b":true}}'
    ).encode()
    body = b'{"new_edits": false, "docs": [' + text + b"]}"
    assert client("POST", f"/{db}/_bulk_docs", body) == (201, [])
    assert client.raw("GET", f"/{db}/n")[2] == text + b"\n"


def test_a_dump_restored_and_dumped_again_is_the_same(db: str, client: Client) -> None:
    ids = ["Z", "a", "é", "漢", "😀", "_design/x", "a:b", "a b", "a/b"]
    client.restore(db, *({"_id": doc_id, "_rev": f"2-{A}", "v": {"k": [1, doc_id]}} for doc_id in ids))
    _, _, first = client.raw("GET", f"/{db}/_all_docs?include_docs=true")
    rows = json.loads(first)["rows"]
    assert [row["id"] for row in rows] == sorted(ids, key=str.encode)
    client("PUT", f"/{db}x")
    docs = b",".join(line.rstrip(b",").split(b'"doc":', 1)[1][:-1] for line in first.split(b"\r\n")[1:-1])
    assert client("POST", f"/{db}x/_bulk_docs", b'{"new_edits":false,"docs":[' + docs + b"]}") == (201, [])
    assert client.raw("GET", f"/{db}x/_all_docs?include_docs=true")[2] == first


def test_white_space_and_needless_escapes_go(db: str, client: Client) -> None:
    client("PUT", f"/{db}/w", b'{ "a" : [ 1 ,\n 2 ], "b" : "\\u00e9 \\/ x" }')
    assert b'"a":[1,2],"b":"\xc3\xa9 / x"}' in client.raw("GET", f"/{db}/w")[2]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(json_values, st.booleans(), st.sampled_from([None, 2]))
def test_compact_changes_no_value(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    compact = jsontext.compact(text)
    assert json.loads(compact) == value
    assert jsontext.compact(compact) == compact


def test_edits_conflicts_and_deletions(db: str, client: Client) -> None:
    status, first = client("PUT", f"/{db}/d", {"n": 1})
    assert status == 201 and first["rev"].startswith("1-")
    assert client("PUT", f"/{db}/d", {"n": 2})[0] == 409
    assert client("PUT", f"/{db}/d", {"_rev": f"1-{A}", "n": 2})[0] == 409
    second = client("PUT", f"/{db}/d", {"_rev": first["rev"], "n": 2})[1]
    assert client("GET", f"/{db}/d?rev={first['rev']}") == (404, {"error": "not_found", "reason": "missing"})
    assert client("DELETE", f"/{db}/d?rev={second['rev']}")[0] == 200
    assert client("GET", f"/{db}/d")[1]["reason"] == "deleted"
    third = client("PUT", f"/{db}/d", {"n": 3})[1]
    assert third["rev"].startswith("4-")
    found = client("GET", f"/{db}/d?revs=true&revs_info=true")[1]
    assert found["_revisions"]["start"] == 4 and len(found["_revisions"]["ids"]) == 4
    info = client("GET", f"/{db}")[1]
    assert (info["doc_count"], info["doc_del_count"]) == (1, 0)


def test_restored_histories_join_the_tree(db: str, client: Client) -> None:
    client.restore(db, {"_id": "d", "_rev": f"1-{A}", "n": 1})
    client.restore(db, {"_id": "d", "_revisions": {"start": 2, "ids": [B, A]}, "n": 2})
    assert "_conflicts" not in client("GET", f"/{db}/d?conflicts=true")[1]
    client.restore(db, {"_id": "d", "_revisions": {"start": 3, "ids": [C, A, A]}, "_deleted": True})
    found = client("GET", f"/{db}/d?conflicts=true&deleted_conflicts=true")[1]
    assert found["_rev"] == f"2-{B}" and found["_deleted_conflicts"] == [f"3-{C}"]
    status, both = client("GET", f"/{db}/d?open_revs=all")
    assert status == 200 and {each["ok"]["_rev"] for each in both} == {f"2-{B}", f"3-{C}"}


def test_bulk_edits_tell_each_outcome(db: str, client: Client) -> None:
    rows = client("POST", f"/{db}/_bulk_docs", {"docs": [{"_id": "a"}, {"_id": "a"}, {"x": 1}]})[1]
    assert rows[0]["ok"] and rows[2]["ok"]
    assert rows[1] == {"id": "a", "error": "conflict", "reason": "Document update conflict."}
    rows = client("POST", f"/{db}/_bulk_docs", {"docs": [{"_id": "z", "_rev": f"1-{A}"}]})[1]
    assert rows[0]["error"] == "conflict"


def test_attachments_inline_and_stubs(db: str, client: Client) -> None:
    data = base64.b64encode(b"\x89PNG").decode()
    rev = client("PUT", f"/{db}/p", {"_attachments": {"p.png": {"content_type": "image/png", "data": data}}})[
        1
    ]["rev"]
    stub = client("GET", f"/{db}/p")[1]["_attachments"]["p.png"]
    digest = "md5-" + base64.b64encode(hashlib.md5(b"\x89PNG").digest()).decode()
    assert stub == {"content_type": "image/png", "revpos": 1, "digest": digest, "length": 4, "stub": True}
    assert client.raw("GET", f"/{db}/p/p.png")[2] == b"\x89PNG"
    assert client("PUT", f"/{db}/p", {"_rev": rev, "n": 1, "_attachments": {"p.png": stub}})[0] == 201
    found = client("GET", f"/{db}/p?attachments=true")[1]["_attachments"]["p.png"]
    assert found["data"] == data and found["revpos"] == 1
    lost = client("PUT", f"/{db}/q", {"_attachments": {"p.png": stub}})
    assert lost == (412, {"error": "missing_stub", "reason": "Invalid attachment stub in q for p.png"})


def test_listing_options(db: str, client: Client) -> None:
    client.restore(db, *({"_id": f"k{n}", "_rev": "1-a", "n": n} for n in range(10)))
    page = client("GET", f'/{db}/_all_docs?startkey="k3"&limit=2&skip=1')[1]
    assert (page["total_rows"], page["offset"]) == (10, 4)
    assert [row["id"] for row in page["rows"]] == ["k4", "k5"]
    down = client("GET", f'/{db}/_all_docs?descending=true&start_key="k3"&endkey="k1"&inclusive_end=false')[1]
    assert [row["id"] for row in down["rows"]] == ["k3", "k2"]
    client("DELETE", f"/{db}/k0?rev=1-a")
    keyed = client("POST", f"/{db}/_all_docs?include_docs=true", {"keys": ["k0", "nope", "k1"]})[1]
    assert keyed["offset"] is None and keyed["total_rows"] == 9
    assert keyed["rows"][0]["value"]["deleted"] and keyed["rows"][0]["doc"] is None
    assert keyed["rows"][1] == {"key": "nope", "error": "not_found"}
    assert keyed["rows"][2]["doc"]["n"] == 1


def test_changes_go_on_where_they_ended(db: str, client: Client) -> None:
    client.restore(db, *({"_id": f"k{n}", "_rev": "1-a"} for n in range(5)))
    first = client("GET", f"/{db}/_changes?limit=3")[1]
    assert len(first["results"]) == 3 and first["pending"] == 2
    rest = client("GET", f"/{db}/_changes?include_docs=true&since={first['last_seq']}")[1]
    assert len(rest["results"]) == 2 and rest["pending"] == 0 and rest["results"][0]["doc"]["_rev"] == "1-a"
    assert client("GET", f"/{db}/_changes?since={rest['last_seq']}")[1]["results"] == []
    assert client("GET", f"/{db}/_changes?since=now")[1]["last_seq"].startswith("5-")


def test_bulk_get_and_revs_diff(db: str, client: Client) -> None:
    client.restore(db, {"_id": "d", "_rev": f"1-{A}", "n": 1})
    found = client("POST", f"/{db}/_bulk_get?revs=true", {"docs": [{"id": "d"}, {"id": "nope"}]})[1][
        "results"
    ]
    assert found[0]["docs"][0]["ok"]["_revisions"] == {"start": 1, "ids": [A]}
    assert found[1]["docs"][0]["error"]["reason"] == "missing"
    asked = {"d": [f"1-{A}", f"2-{B}"], "e": [f"1-{A}"]}
    missing = client("POST", f"/{db}/_revs_diff", asked)[1]
    assert missing == {"d": {"missing": [f"2-{B}"]}, "e": {"missing": [f"1-{A}"]}}


def test_settings_of_a_database_and_local_documents(db: str, client: Client) -> None:
    assert client("PUT", f"/{db}/_security", {"members": {"names": ["ana"]}}) == (200, {"ok": True})
    assert client("GET", f"/{db}/_security")[1] == {"members": {"names": ["ana"]}}
    assert client("PUT", f"/{db}/_revs_limit", b"5")[0] == 200
    assert client.raw("GET", f"/{db}/_revs_limit")[2] == b"5\n"
    assert client("PUT", f"/{db}/_local/x", {"n": 1})[1]["rev"] == "0-1"
    assert client("PUT", f"/{db}/_local/x", {"n": 2})[0] == 409
    assert client("GET", f"/{db}/_local/x")[1] == {"_id": "_local/x", "_rev": "0-1", "n": 1}


def test_wild_requests_are_refused(db: str, client: Client) -> None:
    assert client("PUT", f"/{db}/_foo", {})[0] in (400, 501)
    assert client("PUT", f"/{db}/x", b"[1]")[0] == 400
    assert client("PUT", f"/{db}/x", b'{"a":')[0] == 400
    assert client("PUT", f"/{db}/x", b"[" * 5000)[0] == 400
    assert client("POST", f"/{db}/_bulk_docs", {"docs": "x"})[0] == 400
    assert client("GET", f"/{db}/_find")[0] == 501
    assert client("GET", f"/{db}/_design/x/_view/y")[0] == 501
    assert client("PATCH", f"/{db}/x", {})[0] == 405


def test_replicator_documents_keep_their_state(client: Client) -> None:
    doc = {"_id": "r", "_rev": "1-a", "source": "s", "_replication_state": "completed"}
    client.restore("_replicator", doc)
    assert client("GET", "/_replicator/r")[1] == doc
