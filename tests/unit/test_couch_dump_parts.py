"""The parts of a dump: the listing that goes on, the ledger, the folder, the feed's pages."""

import base64
import json
import sqlite3
import threading

import pytest

from runbook.backup.manifest import NAME
from runbook.couch import changes
from runbook.couch.asking import Asking, Stopped
from runbook.couch.dumping import dumpfolder, inlined, listing
from runbook.couch.dumping.dumpfile import merged, write
from runbook.couch.dumping.dumpfolder import DumpFolder, State
from runbook.couch.dumping.ledger import Held, Late, Ledger
from runbook.couch.progress import Progress
from runbook.couch.reading.inspection import rows
from runbook.couch.reading.reader import Reader, Row
from runbook.errors import ActionFailed, RunbookError
from tests.unit.couch import doc, dump, formed

REV = "1-" + "a" * 32
IDS = ["B", "_design/x", *(f"d{n:03}" for n in range(30)), 'quote"\\', "é", "漢\u2028", "😀"]


@pytest.fixture(scope="module")
def cluster():
    with formed() as (nodes, clients):
        assert clients[0].put("db", q=2, n=3).ok
        found = clients[0].bulk("db", [json.dumps(doc(id, REV, text="x},\n{é" * 3)).encode() for id in IDS])
        assert found == []
        yield nodes, clients


def asking(clients, **more):
    return Asking(clients, threading.Event(), pause=0.01, **more)


# ── the listing ────────────────────────────────────────────────────────────────────────────
def test_a_listing_goes_on_wherever_it_was_cut(cluster, tmp_path):
    _, clients = cluster
    whole = clients[0].get("db", "_all_docs", raw=True, include_docs="true").body
    path, half = tmp_path / "db.json", 0
    for cut in [*range(0, len(whole), 37), len(whole) - 3, len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:cut])
        listing.fetch(path, "db", asking(clients), Progress())
        assert path.read_bytes() == whole, f"cut at byte {cut}"
        half += 0 < cut < len(whole)
    assert half > 50


def test_a_listing_whose_last_rows_are_gone_has_no_comma_too_many(cluster, tmp_path):
    _, clients = cluster
    assert clients[0].put("short", q=1, n=3).ok
    assert clients[0].bulk("short", [json.dumps(doc(id, REV)).encode() for id in "abc"]) == []
    whole = clients[0].get("short", "_all_docs", raw=True, include_docs="true").body
    path = tmp_path / "short.json"
    path.write_bytes(whole)
    assert clients[0].delete("short", "c", rev=REV).ok
    listing.fetch(path, "short", asking(clients), Progress())
    assert [row["id"] for row in json.loads(path.read_bytes())["rows"]] == ["a", "b"]
    for id in "ab":
        assert clients[0].delete("short", id, rev=REV).ok
    path.write_bytes(whole)
    listing.fetch(path, "short", asking(clients), Progress())
    reader = Reader(path)
    assert [item.id for item in reader if isinstance(item, Row)] == ["a", "b"] and reader.whole


def test_what_is_no_listing_is_begun_anew(cluster, tmp_path):
    _, clients = cluster
    whole = clients[0].get("db", "_all_docs", raw=True, include_docs="true").body
    path = tmp_path / "db.json"
    for junk in (b'{"error":"x"}\n', b"\x00" * 5000, b"\n\n\n", whole.replace(b"\r\n", b"")[:900]):
        path.write_bytes(junk)
        listing.fetch(path, "db", asking(clients), Progress())
        assert path.read_bytes() == whole


# ── asking ─────────────────────────────────────────────────────────────────────────────────
def test_another_node_is_asked_until_one_answers(cluster):
    nodes, clients = cluster
    nodes[0].fail_next(1, 503)
    nodes[1].drop_connections(2)  # a read is repeated once by the client itself
    assert asking(clients).ask(lambda client: client.need("db"))["doc_count"] == len(IDS)


def test_what_no_attempt_can_change_is_told_at_once(cluster):
    _, clients = cluster
    tried = []
    with pytest.raises(RunbookError, match="404"):
        asking(clients).ask(lambda client: (tried.append(client), client.need("nothing")))
    assert len(tried) == 1
    ended = asking(clients)
    ended.stop.set()
    with pytest.raises(Stopped):
        ended.ask(lambda client: client.need("db"))


def test_attempts_are_counted_anew_when_it_got_further(cluster):
    _, clients = cluster
    far = []

    def work(client):
        far.append(client)
        if len(far) < 8:
            client.need("_up", "nothing", "here")  # 404
        return "done"

    def stumbling(client):
        try:
            return work(client)
        except RunbookError as error:
            error.status = 503
            raise

    assert asking(clients, attempts=2).ask(stumbling, lambda: len(far)) == "done"


# ── the feed ───────────────────────────────────────────────────────────────────────────────
def test_the_feed_is_read_page_by_page(cluster, monkeypatch):
    _, clients = cluster
    monkeypatch.setattr(changes, "PAGE", 7)
    assert clients[0].put("fed", q=2, n=3).ok
    before = changes.now(asking(clients), "fed")
    assert clients[0].bulk("fed", [json.dumps(doc(f"d{n}", REV)).encode() for n in range(21)]) == []
    assert clients[0].delete("fed", "d3", rev=REV).ok
    pages = list(changes.pages(asking(clients[:1]), "fed", before))
    found = {one.id: one for page in pages for one in page.results}
    assert len(pages) == 4 and len(found) == 21 and found["d3"].deleted and found["d4"].rev == REV
    (last,) = changes.pages(asking(clients[:1]), "fed", pages[-1].last_seq)
    assert last.results == [] and last.last_seq == pages[-1].last_seq


# ── the ledger ─────────────────────────────────────────────────────────────────────────────
def test_the_ledger_keeps_what_was_written_together(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    with ledger.together():
        ledger.read([Held("a", "1-a", None), Held("b\0c", "1-b", 0), Held("é", "1-c", 5)])
        ledger["sequence"] = "3-x"
    with pytest.raises(ValueError), ledger.together():
        ledger["sequence"] = "4-x"
        ledger.gone("a")
        raise ValueError
    ledger.close()
    again = Ledger(tmp_path / "ledger")
    assert again["sequence"] == "3-x" and again["nothing"] == "" and list(again.late()) == []
    assert again.revision("b\0c") == "1-b" and again.revision("z") == ""
    assert [one.id for one in again.lacking("", 10)] == ["b\0c", "é"]
    again.fill("é", "1-other", 0, 9)
    again.fill("b\0c", "1-b", 9, 5)
    assert again.attached() == (2, 1) and again.spooled() == 14
    assert list(again.whole()) == [("b\0c", "1-b", 9, 5)]
    again.gone("é")
    again.read_again(Held("a", "2-a", None), b'{"n":1}')
    assert again.documents() == 2
    assert list(again.late()) == [Late("a", "2-a", b'{"n":1}'), Late("é", "", None)]
    again.close()


def test_the_ledger_keeps_the_order_of_a_dump(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ids = ["Z", "_design/x", "a", "é", "漢", "\ue000", "😀"]
    for id in reversed(ids):
        ledger.gone(id)
    assert [one.id for one in ledger.late()] == ids == sorted(ids)
    ledger.close()


def test_a_damaged_ledger_is_told(tmp_path):
    (tmp_path / "ledger").write_bytes(b"no database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Ledger(tmp_path / "ledger")


# ── files ──────────────────────────────────────────────────────────────────────────────────
def test_what_came_late_is_merged(tmp_path):
    path, part = tmp_path / "db.json", tmp_path / "part"
    path.write_bytes(dump([doc(id) for id in "bdf"]))
    fresh = {id: json.dumps(doc(id, "2-n")).encode() for id in "afg"}
    late = [Late(id, "2-n", fresh.get(id)) for id in "adefg"]
    write(path, part, 4, merged(path, iter(late)), lambda: None)
    found = [(row.id, row.rev) for row in rows(path)]
    assert found == [("a", "2-n"), ("b", "1-a"), ("f", "2-n"), ("g", "2-n")]
    assert not part.exists() and path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    with pytest.raises(ActionFailed, match="would hold 4 documents, not 5"):
        write(path, part, 5, merged(path, iter([])), lambda: None)
    assert path.read_bytes() == before


@pytest.mark.parametrize("documents", [[], [doc("a"), doc("ü", text="\u2028", n=-0.0)]])
def test_a_dump_is_written_byte_for_byte_as_couchdb_does(tmp_path, documents):
    path = tmp_path / "db.json"
    path.write_bytes(dump(documents) if documents else b'{"total_rows":0,"offset":0,"rows":[\r\n\r\n]}\n')
    before = path.read_bytes()
    write(path, tmp_path / "part", len(documents), merged(path, iter([])), lambda: None)
    assert path.read_bytes() == before


@pytest.mark.parametrize("length", range(7))
def test_attachments_are_complete_by_their_length(length):
    data = base64.b64encode(b"x" * length).decode()
    whole = json.dumps({"_id": "a", "_rev": "1-a", "_attachments": {"f": {"data": data}}}).encode()
    assert inlined.complete(whole, Held("a", "1-a", length))
    assert not inlined.complete(whole, Held("a", "1-a", length + 1))
    assert not inlined.complete(whole, Held("a", "2-a", length))
    assert not inlined.complete(whole[:-1], Held("a", "1-a", length))
    stub = inlined.stubbed(whole)
    assert inlined.length(stub) == length and inlined.length(whole) == 0
    assert not inlined.complete(stub, Held("a", "1-a", length))


def test_stubs_are_made_as_couchdb_prints_them(cluster):
    _, clients = cluster
    assert clients[0].put("stubs", q=1, n=3).ok
    entries = {
        "a/ü": {"content_type": "text/plain", "data": "aGVsbG8="},
        "\u0001": {"content_type": "x/y", "data": ""},
    }
    body = (
        b'{"_id":"\xc3\xa9\\"/","_rev":"1-a","z":1e400,"n":-0.0,"_attachments":%b}'
        % json.dumps(entries).encode()
    )
    assert clients[0].bulk("stubs", [body]) == []
    whole = clients[0].get("stubs", 'é"/', raw=True, attachments="true").body.strip()
    assert b"aGVsbG8=" in whole
    assert inlined.stubbed(whole) == clients[0].get("stubs", 'é"/', raw=True).body.strip()


# ── the folder ─────────────────────────────────────────────────────────────────────────────
THEN = State({"10.0.1.10/a": ".1", "10.0.1.10/b": ".2"})


def test_a_begun_dump_is_gone_on_with_by_one_process_only(tmp_path):
    one, other = DumpFolder(tmp_path / "x"), DumpFolder(tmp_path / "x")
    assert one.open(THEN) is False
    with pytest.raises(ActionFailed, match="by another process"):
        other.open(THEN)
    assert dumpfolder.unfinished(tmp_path, THEN) is None
    one.close()
    assert dumpfolder.unfinished(tmp_path, THEN) == tmp_path / "x"
    more = State(THEN.databases | {"10.0.1.10/new": ".3"})
    assert dumpfolder.unfinished(tmp_path, more) == tmp_path / "x"
    assert other.open(more) is True
    other.close()


@pytest.mark.parametrize("now", [{"10.0.1.10/a": ".1"}, {"10.0.1.10/a": ".1", "10.0.1.10/b": ".9"}])
def test_a_dump_of_other_databases_is_left_alone(tmp_path, now):
    one = DumpFolder(tmp_path / "x")
    one.open(THEN)
    one.place("10.0.1.10", "b").dump.write_text("precious")
    one.close()
    assert dumpfolder.unfinished(tmp_path, State(now)) is None
    with pytest.raises(ActionFailed, match=r"10\.0\.1\.10/b .* Nothing was changed") as caught:
        DumpFolder(tmp_path / "x").open(State(now))
    assert "another folder" in caught.value.next
    assert (tmp_path / "x.part/node-10.0.1.10/b.json").read_text() == "precious"


def test_a_dump_of_another_version_is_left_alone(tmp_path):
    one = DumpFolder(tmp_path / "x")
    one.open(State(THEN.databases, layout=0))
    one.close()
    assert dumpfolder.unfinished(tmp_path, THEN) is None
    with pytest.raises(ActionFailed, match="another version of this program"):
        DumpFolder(tmp_path / "x").open(THEN)


def test_no_folder_of_others_is_taken(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(ActionFailed, match="already there"):
        DumpFolder(tmp_path / "x").open(THEN)
    (tmp_path / "y.part").mkdir()
    (tmp_path / "y.part/letter").write_text("dear")
    with pytest.raises(ActionFailed, match="no dump that was begun here"):
        DumpFolder(tmp_path / "y").open(THEN)
    assert (tmp_path / "y.part/letter").read_text() == "dear"
    assert not (tmp_path / "x" / NAME).exists()
