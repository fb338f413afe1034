"""Copies proven equal, on every server; a replaced node, on a cluster of stand-ins in real time."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook.actions.couchdb.join import Join, JoinParams
from runbook.couch import cluster, copies
from runbook.couch.client import Client
from runbook.couch.joining import insync
from runbook.couch.joining.insync import Level
from runbook.platform import adapt
from tests.couchdb.joining import context, join, name
from tests.couchdb.servers import Server, StandInServer
from tests.unit.couch import PASSWORD

#: as recorded, in a twentieth of the time
SLOW = {"reconnect": 1.0, "discover": 0.3, "backlog": 1.0, "late_write": 0.0, "rate": 400.0}
INI = {
    "couchdb": {"uuid": "a" * 32, "max_document_size": "200000000"},
    "admins": {"admin": adapt.admin_hash(PASSWORD, "salt")},
}
COUNT = 900


def fill(client: Client, database: str, first: int = 0, count: int = COUNT) -> None:
    for start in range(first, first + count, 100):
        documents = [b'{"_id":"d%05d","_rev":"1-a"}' % number for number in range(start, start + 100)]
        assert client.bulk(database, documents) == []


# ── on every server ────────────────────────────────────────────────────────────────────────
@pytest.mark.needs("shards", "cluster")
async def test_copies_of_new_databases_are_proven_equal(server: Server, clients: list[Client]) -> None:
    everyone = {client.node: client for client in clients}
    names = [server.database("a/b+c", q=4), server.database(), server.database("empty")]
    for database in names[:2]:
        await asyncio.to_thread(fill, clients[0], database, count=200)
    async with asyncio.timeout(120):
        while problems := await copies.settled(everyone, names, pause=0.2):
            await asyncio.sleep(0.2)
            assert all("replication jobs" in text or "Replica" in text for text in problems)
    found = await copies.look(everyone, names)
    counted = [copies.count(database, found[database]) for database in names]
    n = min(3, len(clients))
    assert [(one.ranges, one.copies, one.documents) for one in counted] == [
        (4, n, 200),
        (2, n, 200),
        (2, n, 0),
    ]
    members = await cluster.members(everyone)
    assert cluster.unjoined(members, {machine: one.name for machine, one in members.items()}) == []
    assert all(one.serves for one in members.values())


# ── a node is replaced ─────────────────────────────────────────────────────────────────────
@pytest.fixture
def slow() -> Iterator[StandInServer]:
    made = StandInServer(ini=INI, timing=SLOW)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def replace(server: StandInServer, lost: int) -> None:
    server.tell(lost, "wipe")
    server.boot(lost)


def everyone(server: StandInServer, clients: list[Client]) -> dict[str, Client]:
    return {name(url): client for url, client in zip(server.urls, clients, strict=True)}


async def watch(clients: list[Client], lost: int, database: str, seen: list[tuple[bool, bool, int]]) -> None:
    """Is it held, does the backlog say 0, how many documents are on it: over and over."""
    node = f"couchdb@10.0.1.{10 + lost}"
    survivors = {str(place): client for place, client in enumerate(clients) if place != lost}
    while True:
        up = await clients[lost].aget("_up")
        jobs = await copies.backlog(survivors)
        rows = (await copies.look(survivors, [database]))[database]
        there = sum(copy.documents or 0 for copy in rows if copy.node == node)
        seen.append((up.status == 404, not any(jobs.values()), there))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_a_replaced_node_is_held_until_it_is_complete(
    slow: StandInServer, tmp_path: Path, lost: int
) -> None:
    database = slow.database("docs")
    with slow.opened() as clients:
        fill(clients[0], database)
        replace(slow, lost)
        seen: list[tuple[bool, bool, int]] = []
        watching = asyncio.create_task(watch(clients, lost, database, seen))
        here = context(slow.urls, tmp_path)
        summary = await join(here, name(slow.urls[lost]))
        watching.cancel()
        assert f"{COUNT + 1} documents" in summary, "and the design document of _users"
        assert any(held and idle and 0 < there < COUNT / 2 for held, idle, there in seen), "the false 0"
        served = [
            there for held, _, there in seen[seen.index(next(one for one in seen if one[0])) :] if not held
        ]
        assert not served or min(served) == COUNT, "in service only when it was complete"
        assert clients[lost].get("_up").ok
        assert clients[lost].need(database)["doc_count"] == COUNT
        machine = name(slow.urls[lost])
        now = await insync.settled(everyone(slow, clients), machine, pause=0.1)
        assert now.equal and now.done == now.total == COUNT + 1
        assert (await Join().probe(here, JoinParams(node=machine))).satisfied


async def test_killed_again_and_again_and_run_again(slow: StandInServer, tmp_path: Path) -> None:
    database, luck, was_held = slow.database("docs"), random.Random(3), False
    words = [sys.executable, "-m", "tests.couchdb.joining", ",".join(slow.urls), "2", str(tmp_path)]
    with slow.opened() as clients:
        fill(clients[0], database)
        replace(slow, 2)
        for _ in range(4):
            await _killed(words, luck.uniform(0.7, 2.5))
            held = clients[2].get("_up").status == 404
            assert held or not was_held or not copies.unequal(await copies.copies(clients[0], database))
            was_held = was_held or held
        assert was_held
        status, printed = await _killed(words, 120)
        assert status == 0 and f"{COUNT + 1} documents" in printed
        assert clients[2].get("_up").ok and not copies.unequal(await copies.copies(clients[0], database))


async def _killed(words: list[str], after: float) -> tuple[int | None, str]:
    """Run until it ends or is killed: its exit status and what it printed."""
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    running = asyncio.ensure_future(process.communicate())
    await asyncio.wait([running], timeout=after)
    if not running.done():
        process.kill()
    printed, _ = await running
    return process.returncode, printed.decode()


async def test_while_the_platform_writes(slow: StandInServer, tmp_path: Path) -> None:
    """LMS goes on on the other two; its writes arrive as well."""
    database = slow.database("docs")
    with slow.opened() as clients:
        fill(clients[0], database)
        replace(slow, 1)
        writing = asyncio.create_task(asyncio.to_thread(_write, clients[2], database))
        await join(context(slow.urls, tmp_path), name(slow.urls[1]))
        await writing
        async with asyncio.timeout(30):
            while (await level(slow, clients, 1)).behind:
                await asyncio.sleep(0.1)
        assert clients[1].need(database)["doc_count"] == COUNT + 300


def _write(client: Client, database: str) -> None:
    for number in range(COUNT, COUNT + 300, 5):
        batch = [b'{"_id":"d%05d","_rev":"1-a"}' % each for each in range(number, number + 5)]
        assert client.bulk(database, batch) == []


async def level(server: StandInServer, clients: list[Client], place: int) -> Level:
    return await insync.level(everyone(server, clients), name(server.urls[place]))
