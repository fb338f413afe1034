"""Restore and comparison against the stand-in: all kinds of refusal, resuming, cancelling."""

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from runbook.couch.client import Client
from runbook.couch.comparing.alldocs import held
from runbook.couch.comparing.compare import compare
from runbook.couch.comparing.sides import Live
from runbook.couch.comparing.sides import chosen as side
from runbook.couch.reading.reader import Row
from runbook.couch.reading.selection import choose, find
from runbook.couch.restoring.checkpoint import Checkpoint
from runbook.couch.restoring.estimate import Rate, seconds, words
from runbook.couch.restoring.restore import Restoring, batches, restore
from runbook.couch.restoring.targets import beside, look, ready
from runbook.errors import ActionFailed, HostError, StateError
from tests.unit.couch import ADDRESSES, backup, doc, dump, formed

LIMIT = {"couchdb": {"max_document_size": "20000"}}


@pytest.fixture(scope="module")
def couch():
    with formed(LIMIT) as found:
        yield found


@pytest.fixture
def database(couch, request):
    name = f"db_{abs(hash(request.node.name)) % 10**9}"
    assert couch[1][0].put(name, q=2, n=3).ok
    return name


def chosen(tmp_path, database, docs):
    folder = backup(tmp_path / "backup", {ADDRESSES[0]: {database: dump(docs)}})
    return choose(database, find(folder)[database])


def compared(one, client, database, sample=None):
    return compare(database, side(one), Live([client], database), sample=sample)


def many(count):
    return [doc(f"d{n:04}", f"{n % 7 + 1}-{n:04x}", n=n, text="é漢😀" * 5) for n in range(count)]


async def test_everything_arrives_with_its_revision(couch, database, tmp_path):
    nodes, clients = couch
    validator = doc(
        "_design/v",
        "1-d",
        validate_doc_update="function(n,o,u){ if(n.type==='bad') throw({forbidden:'no'}); }",
    )
    one = chosen(tmp_path, database, [*many(1200), validator])
    seen, before = [], [node.requests for node in nodes]
    result = await restore(one, clients, progress=lambda work: seen.append(work.docs))
    assert result.refused == () and result.stored == 1201 and seen[-1] == 1201
    found = await asyncio.to_thread(compared, one, clients[2], database)
    assert found.same and found.actual == found.bodies == 1201
    assert all(node.requests > old for node, old in zip(nodes, before, strict=True))  # spread over all


async def test_refused_documents_are_named_and_the_others_stored(couch, database, tmp_path):
    clients = couch[1]
    docs = many(40)
    docs[7]["data"] = "x" * 30_000
    docs[9]["_attachments"] = {"f": {"stub": True, "length": 5, "digest": "md5-x", "revpos": 1}}
    docs[11]["_bogus"] = 1
    result = await restore(chosen(tmp_path, database, docs), clients)
    refused = {one.id: one.error for one in result.refused}
    assert refused == {
        "d0007": "413 document_too_large",
        "d0009": "missing_stub",
        "d0011": "400 doc_validation",
    }
    assert result.stored == 37
    assert len(list(held(clients[1], database))) == 37


async def test_it_goes_on_through_dropped_connections_and_busy_servers(couch, database, tmp_path):
    nodes, clients = couch
    one = chosen(tmp_path, database, many(600))
    nodes[0].drop_connections(2, after=True)
    nodes[1].fail_next(2, 503)
    work = Restoring(one, clients, pause=0.01)
    result = await asyncio.to_thread(work.run)
    assert result.refused == () and compared(one, clients[0], database).same


async def test_it_gives_up_when_no_node_answers(couch, database, tmp_path):
    nodes, clients = couch
    work = Restoring(chosen(tmp_path, database, many(10)), clients, patience=0.2, pause=0.01)
    rows = list(work._missing())
    for node in nodes:
        node.drop_connections(500)
    with pytest.raises(HostError):
        work._sending.send(rows)
    for node in nodes:
        node.drop_connections(0)


async def test_a_second_run_sends_what_is_missing_only(couch, database, tmp_path):
    clients = couch[1]
    docs = many(300)
    await restore(chosen(tmp_path, database, docs[:120]), clients)
    one = chosen(tmp_path, database, docs)
    result = await restore(one, clients)
    assert (result.present, result.stored) == (120, 180)
    assert compared(one, clients[0], database).same


async def test_a_foreign_revision_is_not_made_a_conflict(couch, database, tmp_path):
    clients = couch[1]
    clients[0].bulk(database, [b'{"_id":"d0001","_rev":"9-feed"}'])
    result = await restore(chosen(tmp_path, database, many(3)), clients)
    assert [(one.id, one.error) for one in result.refused] == [("d0001", "conflict")]
    assert "_conflicts" not in clients[0].get(database, "d0001", conflicts=True).body


class Slow(Client):
    """Lets a test hold back every batch after the first."""

    gate: threading.Event
    begun: threading.Event
    sent: int = 0

    def bulk(self, database, documents, **more):
        if type(self).sent:
            type(self).gate.wait(20)
        type(self).sent += 1
        try:
            return super().bulk(database, documents, **more)
        finally:
            type(self).begun.set()


async def test_cancelled_nothing_goes_on_and_a_new_run_completes_it(couch, database, tmp_path):
    Slow.gate, Slow.begun, Slow.sent = threading.Event(), threading.Event(), 0
    plain = couch[1]
    slow = [Slow(one.base, one.user, one._password, one.node) for one in plain]
    one = chosen(tmp_path, database, many(3000))
    running = asyncio.create_task(restore(one, slow))
    await asyncio.to_thread(Slow.begun.wait, 20)
    running.cancel()
    await asyncio.sleep(0)
    Slow.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("restore")]
    part = len(list(held(plain[0], database)))
    assert part < 3000
    result = await restore(one, plain)
    assert result.present == part and compared(one, plain[0], database, sample=0).same


def test_only_an_empty_database_or_one_this_run_began(couch, database, tmp_path):
    client = couch[1][0]
    checkpoint = Checkpoint(tmp_path)
    identity = ready(client, database, checkpoint)
    checkpoint.begin(database, identity, ("10.0.1.10",))
    client.bulk(database, [b'{"_id":"a","_rev":"1-a"}'])
    assert ready(client, database, Checkpoint(tmp_path)) == identity
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ActionFailed, match="holds documents or deletions"):
        ready(client, database, Checkpoint(other))
    with pytest.raises(ActionFailed, match="does not exist"):
        ready(client, "never_made", checkpoint)


def test_deletions_are_not_empty(couch, database, tmp_path):
    client = couch[1][0]
    client.bulk(database, [b'{"_id":"gone","_rev":"2-b","_deleted":true}'])
    with pytest.raises(ActionFailed, match="deletions"):
        ready(client, database, Checkpoint(tmp_path))


def test_a_database_made_anew_is_not_the_one_that_was_begun(couch, tmp_path):
    client = couch[1][0]
    checkpoint = Checkpoint(tmp_path)
    checkpoint.begin("openedx_1", ".1111", ())
    assert checkpoint.has("openedx_1", ".1111") and not checkpoint.has("openedx_1", ".2222")
    assert checkpoint.sources() == {"openedx_1": ()}
    assert client  # the file is the only memory
    checkpoint.path.write_text("{")
    with pytest.raises(StateError, match="Nothing was restored"):
        Checkpoint(tmp_path)


def test_the_servers_own_design_document_in_users_is_empty(couch, tmp_path):
    client = couch[1][0]
    assert ready(client, "_users", Checkpoint(tmp_path))


def test_what_is_where_the_documents_would_go(couch, database, tmp_path):
    client, checkpoint = couch[1][0], Checkpoint(tmp_path)
    assert look(client, "nowhere", checkpoint).state == "absent"
    empty = look(client, database, checkpoint)
    assert (empty.state, empty.documents) == ("empty", 0)
    client.bulk(database, [b'{"_id":"a","_rev":"1-a"}', b'{"_id":"b","_rev":"2-b","_deleted":true}'])
    found = look(client, database, checkpoint)
    assert (found.state, found.documents, found.deleted) == ("foreign", 1, 1)
    checkpoint.begin("openedx_1", found.identity, (), into=database)
    begun = look(client, "openedx_1", Checkpoint(tmp_path))
    assert (begun.name, begun.state) == (database, "begun")


@pytest.mark.parametrize(
    ("database", "name"),
    [
        ("openedx_1", "openedx_1-restored-20261126"),
        ("_users", "users-restored-20261126"),
        ("a/b+c", "a/b+c-restored-20261126"),
        ("1st", "db-1st-restored-20261126"),
    ],
)
def test_names_beside_are_ones_the_server_takes(couch, database, name):
    client, day = couch[1][0], datetime(2026, 11, 26, tzinfo=UTC)
    assert beside(database, day, set().__contains__) == name
    assert client.put(name).ok
    try:
        assert beside(database, day, set(client.need("_all_dbs")).__contains__) == f"{name}-2"
    finally:
        client.delete(name)


def test_the_checkpoint_remembers_what_the_servers_took(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.measured is None and "recorded" in words(10_000, 10_000_000)
    checkpoint.measure(Rate(1000.0, 1e6))
    checkpoint.begin("openedx_1", ".1", ("10.0.1.10",), only=("openedx_1",))
    again = Checkpoint(tmp_path)
    assert again.measured == Rate(1000.0, 1e6) and again.only == ("openedx_1",)
    assert seconds(10_000, 10_000_000, again.measured) == (8.0, 12.5)
    assert words(10_000, 10_000_000, again.measured).startswith("about 8s to 12s, at 1,000 documents")
    least, most = seconds(100_000, 100_000_000)
    assert 20 < least < 22 and 35 < most < 37


def test_batches_by_bytes_and_documents():
    rows = [Row(str(n), "1-a", b"x" * size, False) for n, size in enumerate([10, 10, 500, 10, 10, 10])]
    sizes = [[len(row.doc) for row in batch] for batch in batches(iter(rows), max_bytes=100, max_docs=2)]
    assert sizes == [[10, 10], [500], [10, 10], [10]]
