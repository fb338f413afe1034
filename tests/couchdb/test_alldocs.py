"""A long list read as it comes: whole, in order, also when the line breaks on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runbook.couch.client import Client
from runbook.couch.comparing import alldocs
from runbook.couch.reading import jsonlist
from runbook.errors import CouldNotLook, HostError
from runbook.secrets import Secret
from tests.couchdb.docs import doc, many, put
from tests.couchdb.proxy import Exchange, Fault, Proxy
from tests.couchdb.servers import Server

COUNT = 4_000


@pytest.fixture(scope="module")
def full(server: Server) -> str:
    """A database whose list takes several pieces."""
    name = server.database("full")
    with server.opened() as clients:
        put(clients[0], name, many(COUNT))
    return name


@pytest.fixture
def line(server: Server) -> Iterator[Proxy]:
    with Proxy(server.urls[0]) as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alldocs, "PAUSE", 0.01)
    monkeypatch.setattr(jsonlist, "PIECE", 60_000)


class First:
    """These faults, one after the other, then none."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = list(faults)

    def __call__(self, exchange: Exchange) -> Fault:
        return self.faults.pop(0) if self.faults else None


def through(server: Server, line: Proxy) -> Client:
    made = server.client()
    made.base = line.url
    return made


IDS = [one["_id"] for one in many(COUNT)]


def test_all_are_listed_in_order(clients: list[Client], full: str) -> None:
    assert [row.id for row in alldocs.held(clients[0], full)] == IDS
    for row, there in zip(alldocs.documents(clients[-1], full), many(COUNT), strict=True):
        assert (row.id, row.rev) == (there["_id"], there["_rev"]) and b'"n":%d' % there["n"] in row.doc


@pytest.mark.parametrize("read", [alldocs.held, alldocs.documents])
def test_a_list_that_breaks_off_goes_on(server: Server, line: Proxy, full: str, read: Any) -> None:
    line.choose = wrong = First("cut", "cut", 503, "cut", "reset")
    client = through(server, line)
    assert [row.id for row in read(client, full)] == IDS
    assert wrong.faults == [] and line.faults["cut"] == 3
    client.close()


def test_another_node_is_asked_when_one_is_silent(server: Server, line: Proxy, full: str) -> None:
    line.choose = First("cut", *["reset"] * 50)
    client, other = through(server, line), server.client()
    assert [row.id for row in alldocs.held(client, full, [other])] == IDS
    assert line.exchanges == 1
    client.close()
    other.close()


def test_it_gives_up_without_progress(
    server: Server, line: Proxy, full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alldocs, "ATTEMPTS", 3)
    line.choose = First("cut", *["reset"] * 50)
    client = through(server, line)
    listed = alldocs.held(client, full)
    with pytest.raises(HostError):
        list(listed)
    assert line.exchanges == 3
    client.close()


def test_left_early_the_connection_ends(server: Server, full: str) -> None:
    client = server.client()
    rows = alldocs.held(client, full)
    assert next(rows).id == IDS[0] and len(client._busy) == 1
    rows.close()
    assert not client._busy and client.need(full)["doc_count"] == COUNT
    client.close()


def test_a_server_with_another_order_is_not_compared(
    server: Server, clients: list[Client], database: str
) -> None:
    put(clients[0], database, [doc("\ue000"), doc("😀")])
    if server.can("order"):
        assert [row.id for row in alldocs.held(clients[0], database)] == ["\ue000", "😀"]
    else:
        with pytest.raises(CouldNotLook, match="order of ids"):
            list(alldocs.held(clients[0], database))


def test_a_wrong_login_is_not_tried_again(server: Server, full: str, line: Proxy) -> None:
    client = Client(line.url, server.user, Secret("wrong", "password"), "vm1")
    with pytest.raises(HostError, match="refused the login"):
        list(alldocs.held(client, full))
    assert line.exchanges == 1
    client.close()
