"""Dumps that are killed, cut off, stopped or run out of room: the next one goes on, and nothing half
ever looks like a backup."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import shutil
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from runbook.backup import layout
from runbook.backup.verify import verify
from runbook.couch.client import Client
from runbook.couch.dumping.dump import Dumping, dump
from runbook.couch.dumping.dumpplan import planned
from runbook.couch.reading import beside, inspection
from runbook.errors import ActionFailed, RunbookError
from tests.couchdb.docs import doc, many, put
from tests.couchdb.dumps import Process, dumping, file, proven, taken
from tests.couchdb.proxy import Chance, Proxy
from tests.couchdb.servers import Server, StandInServer
from tests.couchdb.test_dump import Writer, attached, was

_FILLER = "x" * 2000


def filled(server: Server, clients: list[Client], count: int = 6000) -> list[str]:
    """Three databases: many documents, documents with attachments, none."""
    names = [server.database("large"), server.database("attached"), server.database("empty")]
    put(clients[0], names[0], many(count, filler=_FILLER))
    put(clients[0], names[1], [attached(f"a{n:03}", {"f": b"%d" % n * 2000, "g": b""}) for n in range(120)])
    return names


def contents(folder: Path) -> dict[str, bytes]:
    """The dumps' bytes, all of them; the meta files without what is of that time and that node."""
    found = {}
    for path in sorted(folder.glob("node-*/**/*.json")):
        data = path.read_bytes()
        if path.name.endswith(beside.META):
            data = json.dumps(json.loads(data) | {"made": "", "sequence": ""}).encode()
        found[str(path.relative_to(folder))] = data
    return found


@pytest.fixture(scope="module")
def databases(server: Server) -> list[str]:
    with server.opened() as clients:
        return filled(server, clients)


@pytest.fixture(scope="module")
def whole(server: Server, databases: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed dump holds."""
    with server.opened() as clients:
        return contents(Path(taken(clients, tmp_path_factory.mktemp("whole") / "b", databases).path))


def no_backup(root: Path) -> bool:
    return layout.find_local(root) == []


def test_killed_at_random_moments_and_gone_on_with(
    server: Server, databases: list[str], whole: dict[str, bytes], tmp_path: Path
) -> None:
    chance, kills, resumed = random.Random(7), 0, 0
    for turn in range(4):
        root = tmp_path / str(turn)
        root.mkdir()
        for attempt in range(60):
            process = Process(server, root / "b", databases)
            if attempt < 5:
                time.sleep(chance.uniform(0.0, 0.25))
                process.kill()
            found = process.result()
            if found is not None:
                resumed += found["done"]["resumed"]
                break
            kills += 1
            if (root / "b").exists():  # it was done, and killed before it could say so
                break
            assert no_backup(root)
        assert contents(root / "b") == whole
        assert verify(root / "b").problems == () and [path.name for path in root.iterdir()] == ["b"]
        shutil.rmtree(root)
    assert kills >= 10 and resumed >= 3


def test_what_was_written_between_two_attempts_is_in_it(
    server: Server, clients: list[Client], tmp_path: Path
) -> None:
    names = filled(server, clients, 3000)
    process = Process(server, tmp_path / "b", names)
    part = tmp_path / "b.part"
    until(lambda: any(path.stat().st_size > 100_000 for path in part.glob("node-*/*_large.json")))
    process.kill()
    assert process.result() is None and no_backup(tmp_path)
    first = clients[0].need(names[0], "d000000")["_rev"]
    assert clients[0].delete(names[0], "d000000", rev=first).ok
    assert clients[0].put(names[0], "d000001x", body={"new": True}).ok
    changed = clients[0].need(names[1], "a000")
    assert clients[0].put(names[1], "a000", body=changed | {"changed": True}).ok
    done = taken(clients, tmp_path / "b", names)
    assert done.resumed
    ids = [row.id for row in inspection.rows(file(done, names[0]))]
    assert ids[:3] == ["d000001", "d000001x", "d000002"] and len(ids) == 3000
    path = file(done, names[1])
    row = next(beside.whole(path, inspection.rows(path)))
    assert row.id == "a000" and b'"changed":true' in row.doc and not row.stubs
    assert done.metas[f"vm1/{names[0]}"].late == 0
    assert not any(proven(Path(done.path), {"vm1": clients[0]}).values())


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_killed_again_and_again_while_it_is_written_to(
    server: StandInServer, clients: list[Client], tmp_path: Path
) -> None:
    database, docs = server.database(), many(3000, filler=_FILLER)
    put(clients[0], database, docs)
    revs = {one["_id"]: one["_rev"] for one in docs}
    chance = random.Random(11)
    with server.opened() as others:
        writer = Writer(others[1], database, revs)
        writer.start()
        for _ in range(12):
            process = Process(server, tmp_path / "b", [database])
            time.sleep(chance.uniform(0.0, 0.5))
            process.kill()
            if process.result() is not None:
                break
        if not (tmp_path / "b").exists():
            assert Process(server, tmp_path / "b", [database]).result()["done"]
        writer.enough.set()
        writer.join()
    assert writer.failed is None and verify(tmp_path / "b").problems == ()
    path = tmp_path / "b" / "node-vm1" / f"{database}.json"
    meta = beside.load(path)
    assert meta and meta.late == 0
    assert was({row.id: row.rev for row in inspection.rows(path)}, revs, writer.log)
    assert proven(tmp_path / "b", {"vm1": clients[0]}) == {f"vm1/{database}": []}


def until(true: object, limit: float = 60.0) -> None:
    assert callable(true)
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


# ── connections and nodes ──────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("seed", range(4))
def test_answers_that_break_off_are_gone_on_with(
    server: Server,
    clients: list[Client],
    databases: list[str],
    whole: dict[str, bytes],
    tmp_path: Path,
    seed: int,
) -> None:
    with ExitStack() as stack:
        spoil = Chance(seed, 0.3, ("cut", "reset", "deaf", 503, 429, 500))
        proxies = [stack.enter_context(Proxy(client.base, spoil)) for client in clients]
        spoiled = []
        for proxy, client in zip(proxies, clients, strict=True):
            spoiled.append(proxy.client(client))
            stack.callback(spoiled[-1].close)
        work = dumping(clients, tmp_path / "b", databases)
        work.clients = {one.node: one for one in spoiled}
        done = work.run()
        assert sum(sum(proxy.faults.values()) for proxy in proxies) > 20
        assert sum(proxy.faults["cut"] for proxy in proxies) > 3
    assert contents(Path(done.path)) == whole


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_nodes_that_die_while_they_are_read(
    server: StandInServer,
    clients: list[Client],
    databases: list[str],
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    """The sequences of another node's copies are not the first one's: all is told anew, and known."""
    work = dumping(clients, tmp_path / "b", databases)
    threading.Thread(
        target=lambda: (until(lambda: work.progress.bytes > 1_000_000), server.kill(0)), daemon=True
    ).start()
    try:
        done = work.run()
    finally:
        until(lambda: not reachable(clients[0]))
        server.boot(0)
    assert contents(Path(done.path)) == whole
    assert not any(meta.late for meta in done.metas.values())


def reachable(client: Client) -> bool:
    try:
        return client.get("_up").ok
    except RunbookError:
        return False


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_no_node_left_is_told_and_gone_on_with_later(
    server: StandInServer,
    clients: list[Client],
    databases: list[str],
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    work = dumping(clients, tmp_path / "b", databases, attempts=3)
    for node in range(3):
        server.kill(node)
    with pytest.raises(ActionFailed, match="does not answer") as caught:
        work.run()
    assert "goes on from there" in caught.value.next and no_backup(tmp_path)
    for node in range(3):
        server.boot(node)
    done = taken(clients, tmp_path / "b", databases)
    assert done.resumed and contents(Path(done.path)) == whole


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_a_database_made_anew_is_no_longer_the_one_that_was_begun(
    server: StandInServer, clients: list[Client], tmp_path: Path
) -> None:
    database = server.database()
    put(clients[0], database, many(10))
    named = {one.node: one for one in clients}
    work = dumping(clients, tmp_path / "b", [database])
    work.folder.open(work.plan.state)
    work.folder.close()
    assert clients[0].delete(database).ok
    time.sleep(1.1)  # a database is known by the second in which it was made
    assert clients[0].put(database, q=2, n=3).ok
    with pytest.raises(ActionFailed, match="begun of other databases"):
        taken(clients, tmp_path / "b", [database])
    with pytest.raises(ActionFailed, match="made anew meanwhile"):  # since the plan was confirmed
        Dumping(tmp_path / "c", work.plan, named).run()
    assert no_backup(tmp_path)


# ── room, cancel, memory ───────────────────────────────────────────────────────────────────
def test_a_full_disk_is_told_and_leaves_no_backup(
    server: Server, databases: list[str], whole: dict[str, bytes], tmp_path: Path
) -> None:
    for limit in (300_000, 4_000_000):
        found = Process(server, tmp_path / "b", databases, limit=limit).result()
        assert "could not be written" in found["error"] and "Make room" in found["next"]
        assert "Traceback" not in str(found) and no_backup(tmp_path) and not (tmp_path / "b").exists()
    found = Process(server, tmp_path / "b", databases).result()
    assert found["done"]["resumed"] and contents(tmp_path / "b") == whole


async def test_a_cancelled_dump_leaves_nothing_running(
    server: Server, databases: list[str], whole: dict[str, bytes], tmp_path: Path
) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with server.opened() as clients:
        named = {one.node: one for one in clients}
        found = await planned(named, databases)
        seen = asyncio.Event()
        task = asyncio.create_task(
            dump(
                tmp_path / "b",
                found,
                named,
                progress=lambda progress: seen.set() if progress.bytes else None,
            )
        )
        await asyncio.wait_for(seen.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    left = {thread.name for thread in threading.enumerate()} - before
    assert not [name for name in left if name.startswith("dump")]
    assert no_backup(tmp_path)
    with server.opened() as clients:
        done = await dump(tmp_path / "b", found, {one.node: one for one in clients})
    assert done.resumed and contents(Path(done.path)) == whole


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_memory_is_bounded_by_the_largest_document(
    server: StandInServer, clients: list[Client], tmp_path: Path
) -> None:
    uploads, attachments, small = (server.database(name) for name in ("uploads", "attached", "small"))
    data = base64.b64encode(os.urandom(50_000_000)).decode()
    for n in range(3):
        put(clients[0], uploads, [doc(f"{n}.mp4", content_type="video/mp4", data=data)])
    for n in range(2):
        put(clients[0], attachments, [attached(f"{n}", {"a.mp4": os.urandom(50_000_000)})])
    put(clients[0], small, many(3000))
    found = Process(server, tmp_path / "b", [uploads, attachments, small]).result()
    folder = tmp_path / "b"
    assert sum(layout.sizes(folder).values()) > 5 * len(data)
    assert found["memory"] < 5 * len(data), f"{found['memory']} bytes for documents of {len(data)}"
    shutil.rmtree(folder)
