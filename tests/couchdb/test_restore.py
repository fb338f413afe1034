"""Restores against each server: what arrives, what is refused, what belongs to the database."""

from __future__ import annotations

import base64
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runbook.couch.client import Client
from runbook.couch.restoring.restore import Restoring
from runbook.couch.restoring.sending import LARGE
from tests.couchdb.restores import attachment, documents, rev, same, saved, selected
from tests.couchdb.servers import Server


def put(folder: Path, into: str, clients: list[Client], **more: Any) -> Restoring:
    work = Restoring(selected(folder, into), clients, pause=0.02, **more)
    work.run()
    return work


def test_all_documents_arrive_as_they_were_dumped(
    server: Server, clients: list[Client], database: str, tmp_path: Path
) -> None:
    docs = documents(900)
    work = put(saved(tmp_path / "b", docs), database, clients)
    assert work.refused == [] and work.docs == len(docs) and work.present == 0
    same(server, clients, database, docs)
    attached = next(one for one in docs if "_attachments" in one)
    name, held = next(iter(attached["_attachments"].items()))
    with clients[0].stream(database, attached["_id"], name) as body:
        assert body.read() == base64.b64decode(held["data"])


def test_a_second_run_sends_nothing(
    server: Server, clients: list[Client], database: str, tmp_path: Path
) -> None:
    docs = [one for one in documents(300) if one["_id"].isascii()]  # PouchDB lists these only
    folder = saved(tmp_path / "b", docs)
    put(folder, database, clients)
    again = put(folder, database, clients)
    assert again.present == again.docs == len(docs)
    same(server, clients, database, docs)


def test_without_their_contents_documents_with_attachments_are_named(
    server: Server, clients: list[Client], database: str, tmp_path: Path
) -> None:
    docs = documents(350)
    work = put(saved(tmp_path / "b", docs, whole=False), database, clients)
    attached = {one["_id"] for one in docs if "_attachments" in one}
    assert len(attached) == 4
    assert {one.id for one in work.refused if one.error == "missing_stub"} == attached
    same(server, clients, database, [one for one in docs if one["_id"] not in attached])


@pytest.mark.parametrize("name", ["a/b", "a+b", "a/b+c(d)$e-f_g"])
def test_a_name_with_signs(server: Server, clients: list[Client], tmp_path: Path, name: str) -> None:
    docs, database = documents(30), server.database(name)
    assert put(saved(tmp_path / "b", docs), database, clients).refused == []
    same(server, clients, database, docs)


def test_nothing_to_restore(server: Server, clients: list[Client], database: str, tmp_path: Path) -> None:
    assert put(saved(tmp_path / "b", []), database, clients).docs == 0
    same(server, clients, database, [])


@pytest.mark.needs("own")  # the limits of another's server are its own
def test_an_upload_of_50_mb(server: Server, clients: list[Client], database: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096 * 50
    upload = {"_id": "video.mp4", "_rev": rev("video.mp4"), "content_type": "video/mp4"}
    upload["data"] = base64.b64encode(data).decode()
    assert len(upload["data"]) > 60_000_000 > LARGE
    put(saved(tmp_path / "b", [upload]), database, clients)
    found = clients[-1].need(database, "video.mp4")
    assert found["_rev"] == upload["_rev"] and base64.b64decode(found["data"]) == data


def test_large_documents_of_any_id(
    server: Server, clients: list[Client], database: str, tmp_path: Path
) -> None:
    docs = [
        {"_id": id, "_rev": rev(id, 4), "text": "x" * (LARGE + 1)}
        for id in ("_design/large", "a/b c", "x+y?z#&=%25", "漢/字", "\"'\\")
    ]
    docs[-1]["_attachments"] = {
        "a/b c.bin": attachment(bytes(range(256)) * 5000, "image/png", docs[-1]["_rev"])
    }
    assert put(saved(tmp_path / "b", docs), database, clients).refused == []
    same(server, clients, database, docs)


def test_every_document_that_is_not_taken_is_named_with_its_reason(
    server: Server, clients: list[Client], database: str, tmp_path: Path
) -> None:
    docs = documents(60)
    bad = [
        {"_id": "_local/checkpoint", "_rev": "1-a"},
        {"_id": "_bogus", "_rev": "1-a"},
        {"_id": "special", "_rev": "1-a", "_unheard_of": True},
    ]
    work = put(saved(tmp_path / "b", [*docs, *bad]), database, clients)
    refused = {one.id: one for one in work.refused}
    assert refused.keys() == {one["_id"] for one in bad}
    assert "no listing" in refused["_local/checkpoint"].reason
    assert "underscore" in refused["_bogus"].reason
    assert refused["special"].error.startswith(("400", "500", "doc_validation", "bad_request"))
    same(server, clients, database, docs)
    assert clients[0].get(database, "_local", "checkpoint").status == 404


def test_what_belongs_to_the_database_is_set_last(
    server: Server, clients: list[Client], database: str, tmp_path: Path
) -> None:
    security = {"admins": {"names": ["ana"], "roles": []}, "members": {"names": [], "roles": ["staff"]}}
    meta: dict[str, Any] = {"security": security}
    meta |= {"revs_limit": 77} if server.can("revs_limit") else {}
    folder = saved(tmp_path / "b", documents(20), **meta)
    work = Restoring(selected(folder, database), clients)
    assert work.run().problems == ()
    for client in clients:
        assert client.need(database, "_security") == security
        if server.can("revs_limit"):
            assert client.need(database, "_revs_limit") == 77
    assert Restoring(selected(folder, database), clients).run().problems == ()


def test_stopped_from_another_thread_nothing_goes_on(
    server: Server, clients: list[Client], database: str, tmp_path: Path
) -> None:
    docs = documents(1500)
    folder = saved(tmp_path / "b", docs)
    with server.opened() as mine:
        work = Restoring(selected(folder, database), mine)

        def run() -> None:
            with suppress(Exception):  # that it was stopped
                work.run()

        running = threading.Thread(target=run)
        running.start()
        while not work.docs and running.is_alive():
            running.join(0.001)
        work.stop()
        running.join(30)
        assert not running.is_alive()
    assert not [one for one in threading.enumerate() if one.name.startswith("restore")]
    put(folder, database, clients)
    same(server, clients, database, docs)
