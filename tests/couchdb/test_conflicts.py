"""Documents in conflict are found and named; those that only have a past are not."""

from __future__ import annotations

import pytest

from runbook.couch import conflicts
from runbook.couch.client import Client, RequestRefused
from runbook.couch.comparing import alldocs
from runbook.couch.reading import jsonlist
from tests.couchdb.docs import doc, many, put
from tests.couchdb.proxy import Proxy
from tests.couchdb.servers import Server


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alldocs, "PAUSE", 0.01)
    monkeypatch.setattr(jsonlist, "PIECE", 20_000)


def quarrel(clients: list[Client], database: str) -> None:
    """Two in conflict; one whose conflict was resolved; one deleted; one updated."""
    put(clients[0], database, many(500))
    put(clients[0], database, [doc("d000007", 9), doc("d000007", 8, x=1), doc("ü/b", 1), doc("ü/b", 2)])
    put(clients[0], database, [doc("settled", 1), doc("settled", 2)])
    assert clients[0].delete(database, "settled", rev=doc("settled", 1)["_rev"]).ok
    assert clients[0].delete(database, "d000008", rev=doc("d000008", 3)["_rev"]).ok
    assert clients[0].put(database, "d000009", body={"_rev": doc("d000009", 1)["_rev"]}).ok


def test_they_are_counted_and_named(clients: list[Client], database: str) -> None:
    assert conflicts.look(clients, database) == conflicts.Conflicts(database)
    quarrel(clients, database)
    found = conflicts.look(clients[-1:], database)
    assert (found.count, found.first) == (2, ("d000007", "ü/b"))
    assert found.words() == f"2 documents are in conflict in {database}: d000007, ü/b"


def test_a_feed_that_breaks_off_goes_on(server: Server, clients: list[Client], database: str) -> None:
    quarrel(clients, database)
    with Proxy(server.urls[0], lambda exchange: "cut" if exchange.number <= 3 else None) as line:
        client = server.client()
        client.base = line.url
        assert conflicts.look([client], database).first == ("d000007", "ü/b")
        assert line.faults["cut"] == 3
        client.close()


def test_users_are_looked_at(server: Server, clients: list[Client]) -> None:
    if not server.can("own"):
        assert conflicts.look(clients, "_users").count >= 0
        return
    user = {"name": "ana", "type": "user", "roles": [], "salt": "x", "derived_key": "y", "iterations": 1}
    user |= {"password_scheme": "pbkdf2"}
    put(clients[0], "_users", [doc("org.couchdb.user:ana", n, **user) for n in (1, 2)])
    assert (
        conflicts.look(clients, "_users").words()
        == "1 document is in conflict in _users: org.couchdb.user:ana"
    )


def test_no_such_database(server: Server, clients: list[Client]) -> None:
    with pytest.raises(RequestRefused):
        conflicts.look(clients, server.name("none"))
