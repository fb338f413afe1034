"""A restore that is killed, or whose servers and connections fail, ends as one that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from runbook.couch.client import Client
from runbook.couch.restoring import sending
from runbook.couch.restoring.restore import Restoring
from runbook.errors import HostError
from tests.couchdb.proxy import Chance, Exchange, Fault, Proxy
from tests.couchdb.restores import documents, ended, same, saved, selected, worker
from tests.couchdb.servers import Server, StandInServer

#: kills; of them on a server that is not the tests' own stand-in
KILLS, KILLS_ELSEWHERE = 50, 10
DOCUMENTS = 2500


@pytest.fixture(scope="module")
def docs() -> list[dict[str, Any]]:
    return documents(DOCUMENTS)


@pytest.fixture(scope="module")
def folder(docs: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("backup") / "b", docs)


@contextmanager
def proxies(clients: list[Client], *choices: Any) -> Iterator[tuple[list[Proxy], list[Client]]]:
    """A proxy before each node, and clients that go through them."""
    with ExitStack() as stack:
        choices = choices or (lambda exchange: None,)
        made = [
            stack.enter_context(Proxy(client.base, choices[place % len(choices)]))
            for place, client in enumerate(clients)
        ]
        through = [proxy.client(like) for proxy, like in zip(made, clients, strict=True)]
        for one in through:
            stack.callback(one.close)
        yield made, through


# ── the restore itself is killed ───────────────────────────────────────────────────────────
class Killer:
    """Kills a process at an exchange chosen by chance: before the server hears of it, when it was
    carried out, or a little later."""

    def __init__(self, chance: random.Random, most: int) -> None:
        self.at = chance.randrange(1, most)
        self.when = chance.choice(["before", "carried out", "later"])
        self.pid = self._count = 0
        self._lock = threading.Lock()

    def before(self, exchange: Exchange) -> Fault:
        return self._hit() if self.when == "before" else None

    def after(self, exchange: Exchange) -> None:
        if self.when != "before":
            self._hit()

    def _hit(self) -> None:
        with self._lock:
            self._count += 1
            due = self.pid and self._count == self.at
        if due and self.when == "later":
            threading.Timer(random.uniform(0, 0.02), self._kill).start()
        elif due:
            self._kill()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):  # it was done before
            os.kill(self.pid, signal.SIGKILL)


def test_killed_at_any_moment_and_resumed_it_ends_the_same(
    server: Server, clients: list[Client], folder: Path, docs: list[dict[str, Any]]
) -> None:
    chance, wanted = random.Random(50), KILLS if server.label == "standin" else KILLS_ELSEWHERE
    done, moments = 0, Counter[str]()
    database = server.database()
    with proxies(clients) as (through, _):
        urls = [proxy.url for proxy in through]
        while sum(moments.values()) < wanted or not done:
            killer = Killer(chance, 45)
            for proxy in through:
                proxy.choose, proxy.after = killer.before, killer.after
            with worker(urls, server, folder, database) as process:
                killer.pid = process.pid
                if not ended(process):
                    moments[killer.when] += 1
                    continue
            same(server, clients, database, docs)
            done += 1
            database = server.database()
        for proxy in through:
            proxy.choose, proxy.after = (lambda exchange: None), (lambda exchange: None)
        with worker(urls, server, folder, database) as process:
            assert ended(process)
    same(server, clients, database, docs)
    kills = ", ".join(f"{count} {when}" for when, count in moments.items())
    print(f"\n{server.label}: killed {sum(moments.values())} times ({kills}), {done + 1} restores complete")
    assert sum(moments.values()) >= wanted


# ── the servers are killed ─────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("server", ["standin"], indirect=True)
@pytest.mark.parametrize("seed", range(4))
def test_nodes_killed_and_started_again(
    server: StandInServer,
    clients: list[Client],
    database: str,
    folder: Path,
    docs: list[dict[str, Any]],
    seed: int,
) -> None:
    chance, told = random.Random(seed), list[str]()
    work = Restoring(selected(folder, database), clients, pause=0.02, batch=50, tell=told.append)
    moments = sorted(chance.sample(range(1, DOCUMENTS - 300), 3))
    with running(work) as thread:
        for moment in moments:
            reached(work, thread, moment)
            gone = chance.sample(range(3), chance.choice([1, 2, 3]))
            for node in gone:
                server.kill(node)
            time.sleep(chance.uniform(0, 0.1))  # it meets the dead nodes, or just misses them
            for node in gone:
                server.boot(node)
    assert work.refused == []
    same(server, clients, database, docs)


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_one_node_is_down_all_the_time(
    server: StandInServer, clients: list[Client], database: str, folder: Path, docs: list[dict[str, Any]]
) -> None:
    server.kill(0)  # the one that is asked first
    told: list[str] = []
    try:
        work = Restoring(selected(folder, database), clients, pause=0.02, tell=told.append)
        assert work.run().stored == len(docs)
    finally:
        server.boot(0)
    assert len([text for text in told if text.startswith("vm1 rests")]) == 1
    same(server, clients[1:], database, docs)


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_no_node_answers_any_longer(
    server: StandInServer, clients: list[Client], database: str, folder: Path, docs: list[dict[str, Any]]
) -> None:
    """It says so after a while, and what is there stays."""
    work = Restoring(selected(folder, database), clients, pause=0.01, patience=0.5, batch=20)
    with running(work, HostError) as thread:
        reached(work, thread, 100)
        for node in range(3):
            server.kill(node)
    for node in range(3):
        server.boot(node)
    again = Restoring(selected(folder, database), clients)
    again.run()
    assert 0 < again.present < len(docs)
    same(server, clients, database, docs)


@contextmanager
def running(work: Restoring, expected: type[Exception] | None = None) -> Iterator[threading.Thread]:
    """The restore in a thread; at the end of the block it has come to its end, or to that error."""
    met: list[BaseException] = []

    def run() -> None:
        try:
            work.run()
        except BaseException as error:
            met.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
        thread.join(120)
        assert not thread.is_alive()
    finally:
        if thread.is_alive():
            work.stop()
            thread.join(20)
    assert [type(error) for error in met] == [] if expected is None else isinstance(met[0], expected), met


def reached(work: Restoring, thread: threading.Thread, count: int) -> None:
    while work.docs < count and thread.is_alive():
        thread.join(0.0005)


# ── connections and answers are spoiled ────────────────────────────────────────────────────
ALL: tuple[Fault, ...] = ("reset", "half", "deaf", "cut", "slow", 500, 502, 503, 429)


@pytest.mark.parametrize("seed", range(6))
def test_through_a_faulty_proxy(
    server: Server,
    clients: list[Client],
    database: str,
    folder: Path,
    docs: list[dict[str, Any]],
    seed: int,
) -> None:
    """A third of all exchanges are spoiled in every way."""
    choices = [Chance(seed * 10 + place, 0.33, ALL) for place in range(len(clients))]
    with proxies(clients, *choices) as (made, through):
        work = Restoring(selected(folder, database), through, pause=0.005, batch=60)
        work.run()
        spoiled = sum((proxy.faults for proxy in made), Counter[Fault]())
    assert work.refused == [] and sum(spoiled.values()) > 10
    same(server, clients, database, docs)


@pytest.mark.parametrize("fault", ["reset", "deaf", "cut", 500, 503, 429])
def test_of_every_three_requests_two_fail(
    server: Server, clients: list[Client], database: str, tmp_path: Path, fault: Fault
) -> None:
    docs = documents(600)
    folder = saved(tmp_path / "b", docs)

    def choose(exchange: Exchange) -> Fault:
        return fault if exchange.writes and exchange.number % 3 else None

    with proxies(clients, choose) as (_, through):
        work = Restoring(selected(folder, database), through, pause=0.002)
        work.run()
    assert work.refused == []
    same(server, clients, database, docs)


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_a_node_that_hangs_does_not_hold_up_the_others(
    server: StandInServer, clients: list[Client], database: str, folder: Path, docs: list[dict[str, Any]]
) -> None:
    hang = Proxy(clients[1].base, lambda exchange: "hang" if exchange.writes else None)
    with hang, proxies(clients) as (_, through):
        mine = [through[0], hang.client(clients[1]), through[2]]
        work = Restoring(selected(folder, database), mine, batch=50)
        with running(work) as thread:
            # at most two requests wait there, and the design document for all others
            reached(work, thread, len(docs) - 2 * 50 - 1)
            assert thread.is_alive() and hang.faults["hang"] <= 2
            hang.release()
        mine[1].close()
    assert work.refused == []
    same(server, clients, database, docs)


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_a_node_that_never_answers_is_given_up_and_said(
    server: StandInServer,
    clients: list[Client],
    database: str,
    folder: Path,
    docs: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "ANSWER", 0.5)
    monkeypatch.setattr(sending, "SLOWEST", 10_000_000)
    told: list[str] = []
    hang = Proxy(clients[1].base, lambda exchange: "hang" if exchange.writes else None)
    with hang, proxies(clients) as (_, through):
        mine = [through[0], hang.client(clients[1]), through[2]]
        work = Restoring(selected(folder, database), mine, batch=50, tell=told.append)
        work.run()
        mine[1].close()
    assert work.refused == []
    assert any(text.startswith("vm2 rests, the others take over") for text in told)
    assert any("slowed down to 3 requests at once" in text and "gave no answer" in text for text in told)
    same(server, clients, database, docs)


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_a_poisonous_document_is_found_among_the_others(
    server: StandInServer, clients: list[Client], database: str, folder: Path, docs: list[dict[str, Any]]
) -> None:
    """The server fails at every request that holds one of three documents, in three ways."""
    ways: dict[bytes, Fault] = {b'"n":200,': 500, b'"n":900,': "reset", b'"n":1800,': "deaf"}

    def choose(exchange: Exchange) -> Fault:
        return next((fault for mark, fault in ways.items() if mark in exchange.body), None)

    names = {doc["_id"] for doc in docs if doc.get("n") in (200, 900, 1800)}
    with proxies(clients, choose) as (_, through):
        work = Restoring(selected(folder, database), through, pause=0.002, batch=100)
        work.run()
    assert {one.id for one in work.refused} == names
    reasons = {one.error for one in work.refused}
    assert reasons == {"500 made_on_purpose", "no answer"}
    found = {row["id"] for row in clients[0].need(database, "_all_docs")["rows"]}
    # an answer that was lost was a document stored, which only a look at the database can tell
    assert {doc["_id"] for doc in docs} - found < names and len(names - found) == 2


def test_servers_that_fail_at_everything_are_to_blame_themselves(
    server: Server, clients: list[Client], database: str, folder: Path
) -> None:
    with proxies(clients, lambda exchange: 500 if exchange.writes else None) as (made, through):
        work = Restoring(selected(folder, database), through, pause=0.01, patience=0.5)
        with pytest.raises(Exception, match="500 made_on_purpose"):
            work.run()
        assert work.refused == []
        assert sum(proxy.exchanges for proxy in made) < 400
