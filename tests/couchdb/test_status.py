"""The state of a cluster: whole, with nodes down, in maintenance, lagging, in conflict."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from runbook.couch import status
from runbook.couch.client import Client
from runbook.couch.status import Status
from runbook.errors import CouldNotLook
from runbook.secrets import Secret
from tests.couchdb.commands import Command
from tests.couchdb.docs import doc, many, put
from tests.couchdb.servers import Server, StandInServer, free_port

only_ours = pytest.mark.parametrize("server", ["standin"], indirect=True)


def look(clients: list[Client], silent: dict[str, str] | None = None) -> Status:
    return asyncio.run(status.look({client.node: client for client in clients}, silent))


@pytest.fixture
def mended(server: StandInServer) -> Iterator[StandInServer]:
    """The cluster is whole again afterwards."""
    yield server
    for node in range(3):
        server.tell(node, "kill")
        server.boot(node)
    with server.opened() as clients:
        assert len(clients[0].need("_membership")["all_nodes"]) == 3


def test_a_whole_cluster(server: Server, clients: list[Client], database: str) -> None:
    put(clients[0], database, many(30))
    if not server.can("cluster"):
        with pytest.raises(CouldNotLook):
            look(clients)
        return
    found = look(clients)
    assert [node.machine for node in found.nodes] == [client.node for client in clients]
    for node in found.nodes:
        assert not node.problem and node.version[:2] == "3." and node.state == "in service"
        assert node.connected == node.listed and node.name in node.listed and node.backlog is not None
    one = next(one for one in found.databases if one.name == database)
    assert (one.documents, one.deleted, one.q) == (30, 0, 2) and one.size > 0
    assert one.copies == one.n == min(3, len(clients))
    if server.can("own"):
        assert found.problems == () and not one.lag and found.conflicts and found.conflicts.count == 0


def test_as_a_command(server: Server, command: Command, database: str) -> None:
    done = command("status", "--url", command.urls)
    if not server.can("cluster"):
        assert done.code == 4 and "404" in done.err
        return
    assert "in service" in done.out and f"\n{database} " in done.out and not done.err
    as_json = command("status", "--json", "--url", command.urls)
    assert as_json.code == done.code == (1 if as_json.json["problems"] else 0)
    assert ("All well." in done.out) is (done.code == 0)
    assert database in [one["name"] for one in as_json.json["databases"]]
    assert server.password not in done.out + as_json.out


@only_ours
def test_a_node_that_is_down(
    mended: StandInServer, clients: list[Client], command: Command, database: str
) -> None:
    put(clients[0], database, many(10))
    mended.kill(1)
    found = look(clients)
    down = found.nodes[1]
    assert down.state == "NOT REACHED" and "does not answer" in down.problem
    assert any(text.startswith("vm2: ") for text in found.problems)
    name = "couchdb@10.0.1.11"
    assert any(f"lists {name}, but it is not connected" in text for text in found.problems)
    assert any(f"{name} is down" in text for text in found.problems)
    one = next(one for one in found.databases if one.name == database)
    assert (one.documents, one.copies, one.n) == (10, 2, 3)
    done = command("status", "--url", command.urls)
    assert done.code == 1 and "NOT REACHED" in done.out and "2 of 3" in done.out
    mended.kill(0)
    assert look(clients).nodes[2].state == "in service"
    mended.kill(2)
    with pytest.raises(CouldNotLook, match="does not answer"):
        look(clients)
    assert command("status", "--url", command.urls).code == 4


@only_ours
def test_machines_that_cannot_be_reached_are_told(server: Server, clients: list[Client]) -> None:
    found = look(clients[:2], {"vm3": "vm3 could not be reached: no route to host"})
    assert found.nodes[2].machine == "vm3" and found.nodes[2].state == "NOT REACHED"
    assert "vm3: vm3 could not be reached: no route to host" in found.problems


@only_ours
def test_a_node_in_maintenance(server: Server, clients: list[Client]) -> None:
    path = ("_node", "_local", "_config", "couchdb", "maintenance_mode")
    assert clients[2].put(*path, body="true").ok
    found = look(clients)
    assert found.nodes[2].state == "maintenance_mode = true"
    assert "vm3 is not in service: maintenance_mode = true." in found.problems
    assert clients[2].put(*path, body="false").ok


@only_ours
def test_copies_that_hold_less(server: StandInServer, clients: list[Client], database: str) -> None:
    put(clients[0], database, many(40))
    assert server.tell(1, "lose_documents", database, [one["_id"] for one in many(5)]) == 5
    found = look(clients)
    one = next(one for one in found.databases if one.name == database)
    assert one.copies == 3 and one.lag and all("on couchdb@10.0.1.11 has" in text for text in one.lag)
    assert any(text.startswith(f"{database}: Replica ") for text in found.problems)


@only_ours
def test_conflicts_of_users(server: Server, clients: list[Client]) -> None:
    user = {"name": "bo", "type": "user", "roles": [], "password_scheme": "pbkdf2", "salt": "x"}
    user |= {"derived_key": "y", "iterations": 1}
    put(clients[0], "_users", [doc("org.couchdb.user:bo", n, **user) for n in (1, 2)])
    found = look(clients)
    assert found.conflicts and found.conflicts.first == ("org.couchdb.user:bo",)
    assert "1 document is in conflict in _users: org.couchdb.user:bo" in found.problems
    assert clients[0].delete("_users", "org.couchdb.user:bo", rev=doc("org.couchdb.user:bo", 2)["_rev"]).ok
    assert look(clients).conflicts == status.Conflicts("_users")


@only_ours
def test_nodes_that_are_no_cluster(server: Server) -> None:
    apart = StandInServer(nodes=2, join=False)
    apart.start()
    try:
        with apart.opened() as clients:
            found = look(clients)
    finally:
        apart.stop()
    assert any("vm1 does not list couchdb@10.0.1.11" in text for text in found.problems)


def test_a_wrong_login_is_told(server: Server) -> None:
    wrong = Client(server.urls[0], server.user, Secret("wrong", "password"), "vm1")
    with pytest.raises(CouldNotLook, match="refused the login"):
        look([wrong])
    wrong.close()


@only_ours
def test_a_node_that_hangs_does_not_hold_up_the_others(
    server: Server, clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection, and says nothing."""
    monkeypatch.setattr(status, "GREET", 0.2)
    with socket.create_server(("127.0.0.1", free_port())) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        hanging = Client(url, server.user, Secret(server.password, "password"), "vm9")
        found = look([*clients, hanging])
        hanging.close()
    assert found.nodes[3].state == "NOT REACHED" and "gave no answer" in found.nodes[3].problem
    assert [node.state for node in found.nodes[:3]] == ["in service"] * 3


@pytest.mark.needs("cluster")
def test_two_hundred_databases(server: Server, clients: list[Client], command: Command) -> None:
    names = [server.database(f"many{n}", q=1) for n in range(200)]
    put(clients[0], names[7], many(3))
    before = [client.need("_node", "_local", "_stats") for client in clients] if server.can("own") else []
    found = look(clients)
    known = {one.name: one for one in found.databases}
    assert all(known[name].copies == min(3, len(clients)) for name in names)
    assert known[names[7]].documents == 3
    if before:  # a few requests for all, one for each copy and each map
        after = [client.need("_node", "_local", "_stats") for client in clients]
        asked = sum(one["couchdb"]["httpd"]["requests"]["value"] for one in after)
        asked -= sum(one["couchdb"]["httpd"]["requests"]["value"] for one in before)
        assert asked < 200 + 200 * 3 + 150
    server.clean()
