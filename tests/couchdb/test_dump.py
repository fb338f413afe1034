"""A dump taken now: what it holds, in which layout, on every server of this suite."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from runbook.backup import layout, manifest
from runbook.backup.verify import verify
from runbook.couch.client import Client
from runbook.couch.reading import beside, inspection
from runbook.couch.reading.selection import find
from tests.couchdb.docs import doc, many, put
from tests.couchdb.dumps import dumping, file, node_folder, plan, proven, taken
from tests.couchdb.servers import Server

CONTENTS = {
    "plain.txt": b"hello",
    "empty": b"",
    "large.bin": os.urandom(5_000_000),
    "ein Bild (1).png": os.urandom(3000),
    "日本/é.txt": "été".encode(),
    "a/b/c": b"\x00\xff" * 10,
    "quote\"'&?#%2F+": b"x",
}


def attached(id: str, contents: dict[str, bytes]) -> dict[str, Any]:
    entries = {
        name: {"content_type": "application/octet-stream", "data": base64.b64encode(data).decode()}
        for name, data in contents.items()
    }
    return doc(id, _attachments=entries)


def test_the_layout_is_the_platforms(server: Server, clients: list[Client], tmp_path: Path) -> None:
    named = server.database("a/b+c") if server.can("names") else server.database("plain")
    empty = server.database("empty")
    put(clients[0], named, many(1200))
    done = taken(clients, tmp_path / "20261101", [named, empty])
    folder = Path(done.path)
    assert sorted(find(folder)) == sorted([named, empty])
    for database in (named, empty):
        raw = clients[0].get(database, "_all_docs", raw=True, include_docs="true").body
        assert file(done, database).read_bytes() == raw
        assert [row["id"] for row in json.loads(raw)["rows"]] == [
            row.id for row in inspection.rows(file(done, database))
        ]
    # the platform's fields, and its own way to make the checksum
    found = json.loads((folder / manifest.NAME).read_bytes())
    assert found["nodes"] == ["vm1"] and found["backup_type"] == "manual"
    (folder / manifest.NAME).rename(tmp_path / "kept")
    (folder / manifest.SUMS).rename(tmp_path / "sums")
    (folder / manifest.NAME).touch()
    command = 'find "$1" -type f -exec md5sum {} \\; | LC_ALL=C sort | md5sum'
    again = subprocess.run(["sh", "-c", command, "sh", str(folder)], capture_output=True, text=True)
    assert again.stdout.split()[0] == found["checksum"]
    (tmp_path / "kept").rename(folder / manifest.NAME)
    (tmp_path / "sums").rename(folder / manifest.SUMS)
    assert subprocess.run(["sha256sum", "--quiet", "-c", manifest.SUMS], cwd=folder).returncode == 0
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]}
    assert modes == {True: 0o700, False: 0o600}
    assert [path.name for path in tmp_path.iterdir()] == ["20261101"]


def test_our_verification_calls_it_whole_also_elsewhere(
    server: Server, clients: list[Client], tmp_path: Path
) -> None:
    database = server.database()
    put(clients[0], database, [*many(50), attached("pictures", {"a": b"x" * 100})])
    done = taken(clients, tmp_path / "there" / "20261101", [database])
    found = verify(Path(done.path))
    assert (found.problems, found.remarks) == ((), ()) and found.backup.complete
    assert "manifest hashed while empty" in (found.way or "")
    assert any("attachments of 1 documents" in fact for fact in found.facts)
    moved = tmp_path / "elsewhere"
    Path(done.path).rename(moved)
    assert verify(moved).problems == () and layout.describe_local(moved).manifest
    for damaged in (f"{database}.json", f"beside/{database}.attached.json"):
        path = moved / "node-vm1" / damaged
        kept = path.read_bytes()
        path.write_bytes(
            kept.replace(b'"n":1', b'"n":2') if b'"n":1' in kept else kept.replace(b"eHh4", b"eXh4")
        )
        assert any("differs from its SHA-256" in text for text in verify(moved).problems)
        path.write_bytes(kept)
    assert verify(moved).problems == ()


def test_a_restore_brings_attachments_back_byte_for_byte(
    server: Server, clients: list[Client], tmp_path: Path
) -> None:
    database, other = server.database(), server.database("other")
    put(clients[0], database, [attached("several", CONTENTS), attached("x/y é", {"one": b"1"}), *many(20)])
    done = taken(clients, tmp_path / "b", [database])
    path = file(done, database)
    meta = beside.load(path)
    assert meta and (meta.attached, meta.lacking, meta.documents) == (2, 0, 22)
    rows = list(beside.whole(path, inspection.rows(path)))
    assert not any(row.stubs for row in rows)
    assert clients[0].bulk(other, [row.doc for row in rows]) == []
    for id, contents in {"several": CONTENTS, "x/y é": {"one": b"1"}}.items():
        assert clients[0].need(other, id)["_rev"] == clients[0].need(database, id)["_rev"]
        for name, data in contents.items():
            assert clients[0].get(other, id, name, raw=True).body == data, name
    # and dumped again it is the same
    again = taken(clients, tmp_path / "again", [other])
    shown = (lambda doc: doc) if server.can("bytes") else json.loads
    for first, second in (
        (path, file(again, other)),
        (beside.attached_path(path), beside.attached_path(file(again, other))),
    ):
        assert [shown(row.doc) for row in inspection.rows(first)] == [
            shown(row.doc) for row in inspection.rows(second)
        ]


def test_settings_lie_beside_it(server: Server, clients: list[Client], tmp_path: Path) -> None:
    more = {"partitioned": "true"} if server.can("partitioned") else {}
    database = server.database("p", q=4, **more)
    security = {"admins": {"names": ["ana"], "roles": []}, "members": {"names": [], "roles": ["é"]}}
    assert clients[0].put(database, "_security", body=security).ok
    docs = [doc(f"part:{n}", n=n) for n in range(10)]
    put(clients[0], database, docs)
    assert clients[0].delete(database, "part:3", rev=docs[3]["_rev"]).ok
    if server.can("revs_limit"):
        assert clients[0].put(database, "_revs_limit", body=77).ok
    done = taken(clients, tmp_path / "b", [database])
    meta = beside.load(file(done, database))
    assert meta == done.metas[f"vm1/{database}"] and meta
    assert meta.security == security and meta.documents == 9 and meta.sequence
    assert meta.revs_limit == (77 if server.can("revs_limit") else 0)
    assert meta.deleted == (1 if server.can("deleted") else 0)
    if server.can("shards"):
        assert (meta.q, meta.n) == (4, min(3, len(clients))) and meta.partitioned


def test_two_hundred_databases(server: Server, clients: list[Client], tmp_path: Path) -> None:
    count = 200 if server.can("cluster") else 50  # in one slow process
    names = [server.database(f"many{n}") for n in range(count)]
    for n, name in enumerate(names[:20]):
        put(clients[0], name, many(n))
    done = taken(clients, tmp_path / "b", names)
    assert [done.metas[f"vm1/{name}"].documents for name in names] == [*range(20), *[0] * (count - 20)]
    assert len(layout.describe_local(Path(done.path)).nodes["vm1"]) == count
    assert not any(proven(Path(done.path), {"vm1": clients[0]}).values())


# ── written to meanwhile ───────────────────────────────────────────────────────────────────
class Writer(threading.Thread):
    """Writes, changes and deletes at full speed; ``states`` are what was there after each write."""

    def __init__(self, client: Client, database: str, revs: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.client, self.database, self.revs = client, database, dict(revs)
        self.log: list[tuple[str, str | None]] = []
        self.enough = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            for turn in range(1_000_000):
                if self.enough.is_set():
                    return
                self._write(turn)
        except BaseException as error:
            self.failed = error

    def _write(self, turn: int) -> None:
        id = f"d{turn * 7 % 3000:06}"
        rev = self.revs.get(id)
        if rev and turn % 3 == 0:
            assert self.client.delete(self.database, id, rev=rev).ok
            del self.revs[id]
            self.log.append((id, None))
            return
        entry = {"f.txt": {"content_type": "text/plain", "data": base64.b64encode(b"%d" % turn).decode()}}
        body = (
            {"turn": turn}
            | ({"_rev": rev} if rev else {})
            | ({"_attachments": entry} if turn % 5 == 0 else {})
        )
        reply = self.client.put(self.database, id, body=body)
        assert reply.ok, reply
        self.revs[id] = reply.body["rev"]
        self.log.append((id, self.revs[id]))


@pytest.mark.parametrize("time", range(3))
def test_a_dump_is_consistent_though_it_is_written_to(
    server: Server, clients: list[Client], tmp_path: Path, time: int
) -> None:
    database = server.database()
    docs = many(2500)
    put(clients[0], database, docs)
    revs = {one["_id"]: one["_rev"] for one in docs}
    with server.opened() as others:
        writer = Writer(others[-1], database, revs)
        writer.start()
        done = taken(clients, tmp_path / "b", [database])
        writer.enough.set()
        writer.join()
    assert writer.failed is None and len(writer.log) > 5
    path = file(done, database)
    meta, found = done.metas[f"vm1/{database}"], inspection.inspect(path)
    assert found.fatal is None and found.total_rows == found.rows == meta.documents
    held = {row.id: row.rev for row in inspection.rows(path)}
    contents = {row.id: row.rev for row in inspection.rows(beside.attached_path(path))}
    stubs = {row.id: row.rev for row in inspection.rows(path) if row.stubs}
    assert proven(Path(done.path), {"vm1": clients[0]}) == {f"vm1/{database}": []}
    if meta.late == 0:
        assert contents == stubs and meta.lacking == 0
        assert was(held, revs, writer.log)
    assert meta.late == 0 or len(clients) == 1


def was(held: dict[str, str], before: dict[str, str], log: list[tuple[str, str | None]]) -> bool:
    """Is ``held`` exactly what was there before, or after one of the writes?"""
    now = dict(before)
    for id, rev in [("", None), *log]:
        if rev is None:
            now.pop(id, None)
        else:
            now[id] = rev
        if held == now:
            return True
    return False


def test_what_differs_from_the_servers_is_found(
    server: Server, clients: list[Client], tmp_path: Path
) -> None:
    database = server.database()
    docs = many(30)
    put(clients[0], database, docs)
    done = taken(clients, tmp_path / "b", [database])
    nodes = {"vm1": clients[0]}
    assert proven(Path(done.path), nodes) == {f"vm1/{database}": []}
    # changed since: explained by the feed
    assert clients[0].put(database, "d000003", body={"_rev": docs[3]["_rev"], "n": "new"}).ok
    assert clients[0].put(database, "new", body={}).ok
    assert proven(Path(done.path), nodes) == {f"vm1/{database}": []}
    # a dump that never was so
    path = file(done, database)
    path.write_bytes(path.read_bytes().replace(docs[5]["_rev"].encode(), b"9-" + b"0" * 32))
    (wrong,) = proven(Path(done.path), nodes)[f"vm1/{database}"]
    assert "1 documents" in wrong and "d000005" in wrong
    lines = path.read_bytes().splitlines(keepends=True)
    if len(lines) > 10:  # a row a line
        path.write_bytes(b"".join(lines[:7] + lines[8:]))
        wrong = " ".join(proven(Path(done.path), nodes)[f"vm1/{database}"])
        assert "announces 30 rows but holds 29" in wrong


@pytest.mark.needs("cluster")
def test_nodes_that_are_down_are_done_without(server: Server, clients: list[Client], tmp_path: Path) -> None:
    database = server.database()
    put(clients[0], database, many(10))
    gone = Client("http://127.0.0.1:9", "admin", clients[0]._password, "gone")
    found = plan([gone, *clients], [database])
    assert "gone" not in found.sources and any("gone" in text for text in found.remarks)
    work = dumping([gone, *clients], tmp_path / "b", [database])
    done = work.run()
    assert done.metas[f"vm1/{database}"].documents == 10
    assert work.progress.documents == 10 and work.progress.bytes > 100
    assert node_folder(done).name == "node-vm1"
