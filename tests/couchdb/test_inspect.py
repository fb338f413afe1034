"""What servers list, inspected: sound, to the byte, whatever is in it; what breaks off is not."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbook.couch.client import Client
from runbook.couch.reading.inspection import inspect, rows
from runbook.couch.reading.reader import Problem, Reader, Row
from tests.couchdb.docs import doc, many, put
from tests.couchdb.servers import Server


def listed(client: Client, database: str, path: Path) -> Path:
    """The server's own list, byte for byte as it came."""
    with client.stream(database, "_all_docs", include_docs="true") as body, path.open("wb") as file:
        while piece := body.read1(1 << 16):
            file.write(piece)
    return path


def test_a_servers_list_is_sound(clients: list[Client], database: str, tmp_path: Path) -> None:
    put(clients[0], database, [*many(3000), doc("_design/x", 1, views={})])
    found = inspect(listed(clients[0], database, tmp_path / "list.json"))
    assert found.problems == () and found.rows == found.total_rows == 3001 and found.designs == 1


def test_a_database_without_documents(clients: list[Client], database: str, tmp_path: Path) -> None:
    found = inspect(listed(clients[0], database, tmp_path / "list.json"))
    assert found.problems == () and found.rows == 0


texts = st.lists(
    st.sampled_from(['},"doc":', ',\r\n{"id":"', "\u2028", '"', "\\", "]}", "é", "漢"])
    | st.characters(exclude_categories=["Cs"]),
    max_size=6,
).map("".join)
fields = st.sampled_from(
    [
        '"n":-0.0',
        '"n":123456789012345678901234567890',
        '"n":1e400',
        '"d":{"doc":{"doc":[{"id":"x","key":"x","value":{"rev":"1-a"},"doc":{}}]}}',
        f'"d":{"[" * 150}{"]" * 150}',
        f'"data":"{"QUJD" * 4000}"',
    ]
)


@pytest.mark.needs("bytes", "order")  # documents as they were sent, in the order of their ids
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(texts.filter(lambda id: id[:1] not in ("", "_")), st.tuples(texts, fields), max_size=6)
)
def test_documents_of_every_kind(
    server: Server, clients: list[Client], tmp_path: Path, found: dict[str, tuple[str, str]]
) -> None:
    """Each document as the server itself shows it."""
    database = server.database()
    docs = [
        f"{json.dumps(doc(id, text=text), ensure_ascii=False)[:-1]},{field}}}".encode()
        for id, (text, field) in found.items()
        if "\0" not in id
    ]
    put(clients[0], database, docs)
    path = listed(clients[0], database, tmp_path / f"{database}.json")
    assert inspect(path).problems == ()
    read = {row.id: row for row in rows(path)}
    assert len(read) == len(docs)
    for id, row in read.items():
        with clients[0].stream(database, id) as body:
            assert body.read().strip() == row.doc


def test_attachments_are_seen_to_be_left_out(clients: list[Client], database: str, tmp_path: Path) -> None:
    inline = {"f.txt": {"content_type": "text/plain", "data": "YWJj"}}
    put(clients[0], database, [doc("a"), doc("b", _attachments=inline), doc("c")])
    stub = inspect(listed(clients[0], database, tmp_path / "list.json")).problem("stub")
    assert stub is not None and stub.ids == ("b",)


def test_what_is_deleted_or_unknown_is_told_by_key(clients: list[Client], database: str) -> None:
    put(clients[0], database, [doc("a"), doc("gone"), doc("z")])
    put(clients[0], database, [doc("gone", 2, _deleted=True, _revisions=_after(doc("gone"), doc("gone", 2)))])
    keys = ["z", "gone", "never", "a"]
    with clients[0].stream(database, "_all_docs", body={"keys": keys}, include_docs="true") as body:
        items = list(Reader.of(body, database))
    kinds = [item.id if isinstance(item, Row) else item.kind for item in items]
    assert kinds == ["z", "no_doc", "not_json", "a"]
    assert isinstance(items[1], Problem) and items[1].ids == ("gone",)


def _after(*docs: dict[str, str]) -> dict[str, object]:
    hashes = [one["_rev"].partition("-")[2] for one in reversed(docs)]
    return {"start": len(hashes), "ids": hashes}


def test_a_list_that_the_server_ended_too_early(clients: list[Client], database: str, tmp_path: Path) -> None:
    put(clients[0], database, many(500))
    whole = listed(clients[0], database, tmp_path / "list.json").read_bytes()
    body = io.BufferedReader(io.BytesIO(whole[: len(whole) // 2]))
    found = Reader.of(body, database)
    *sound, last = found
    assert all(isinstance(row, Row) for row in sound) and len(sound) == found.rows > 200
    assert isinstance(last, Problem) and last.kind == "cut_off" and not found.whole
