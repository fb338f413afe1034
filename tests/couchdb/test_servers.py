"""The harness itself: what is declared of each server is so, and nothing but our own is touched."""

from __future__ import annotations

import json

import pytest

from runbook.couch.client import Client
from runbook.errors import RunbookError
from tests.couchdb.servers import FEATURES, LACKS, Server, StandInServer

IDS = ["Z", "_design/x", "a", "é", "漢", "\ue000", "😀"]
REV = "1-" + "a" * 32


def look(client: Client, feature: str, database: str) -> bool:
    """Does the server show this feature?"""
    if feature == "up":
        return client.get("_up").ok
    if feature == "cluster":
        return client.get("_membership").body["all_nodes"] != ["node1@127.0.0.1"]
    if feature == "config":
        return client.get("_node", "_local", "_system").ok
    if feature in ("shards", "revs_limit"):
        return client.get(database, f"_{feature}").ok
    if feature == "deleted":
        return "doc_del_count" in client.need(database)
    if feature == "sizes":
        return "sizes" in client.need(database)
    if feature == "partitioned":
        return bool(client.need(database).get("props", {}).get("partitioned"))
    if feature == "names":
        return client.need(database)["db_name"] == database
    if feature == "order":
        client.bulk(database, [json.dumps({"_id": id, "_rev": REV}).encode() for id in IDS])
        found = [row["id"] for row in client.need(database, "_all_docs")["rows"]]
        assert sorted(found) == IDS
        return found == IDS
    sent = b'{"_id":"n","_rev":"%b","x":123456789012345678901234567890,"y":-0.0}' % REV.encode()
    client.bulk(database, [sent])
    body = client.get(database, "n", raw=True).body.strip()
    return (
        body == sent if feature == "bytes" else b"123456789012345678901234567890" in body and b"-0.0" in body
    )


@pytest.mark.parametrize("feature", [name for name in FEATURES if name not in ("own", "faults", "restart")])
def test_what_is_declared_is_so(server: Server, clients: list[Client], feature: str) -> None:
    more = {"partitioned": "true"} if feature == "partitioned" else {}
    database = server.database("a/b+c" if feature == "names" else "db", **more)
    assert look(clients[-1], feature, database) is server.can(feature)


def test_what_was_made_is_deleted(server: Server, clients: list[Client]) -> None:
    kept = set(clients[0].need("_all_dbs"))
    server.database("x")
    server.database("a/b")
    assert len(set(clients[0].need("_all_dbs")) - kept) == 2
    server.clean()
    assert not [name for name in clients[0].need("_all_dbs") if name.startswith(server.prefix)]


def test_a_server_of_others_is_not_written_to(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LACKS, server.label, LACKS[server.label] | {"own"})
    with server.opened() as clients:
        for path in (("_users", "x"), ("openedx",), ("_node", "_local", "_config", "couchdb", "x")):
            with pytest.raises(AssertionError, match="not made by these tests"):
                clients[0].put(*path, body={})
        with pytest.raises(AssertionError, match="not made by these tests"):
            clients[0].bulk("openedx", [])
        assert clients[0].put(server.name()).ok


@pytest.mark.parametrize("server", ["standin"], indirect=True)
def test_a_node_killed_and_started_again_is_where_it_was(
    server: StandInServer, clients: list[Client], database: str
) -> None:
    assert clients[1].put(database, "a", body={"n": 1}).ok
    server.kill(1)
    with pytest.raises(RunbookError):
        clients[1].get(database)
    assert clients[0].need(database, "a")["n"] == 1
    server.boot(1)
    assert clients[1].need(database, "a")["n"] == 1
    server.tell(1, "fail_next", 1, 503)
    assert clients[1].get(database).status == 503
