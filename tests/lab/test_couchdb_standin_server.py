"""The stand-in as a server: logins, faults, connections, restarts."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading

import pytest

from runbook.lab.couchdb import Network, StandIn
from tests.lab.standin_client import ADDRESSES, Client, cluster, env, standins


def test_users_log_in_by_password_and_by_session() -> None:
    with cluster() as nodes:
        user = {"name": "ana", "password": "secret1", "roles": [], "type": "user"}
        client = Client(nodes[0])
        assert client("PUT", "/_users/org.couchdb.user:ana", user)[0] == 201
        kept = client("GET", "/_users/org.couchdb.user:ana")[1]
        assert "password" not in kept and kept["iterations"] == 10 and "pbkdf2_prf" not in kept
        ana = Client(nodes[1], "ana:secret1")
        assert ana("GET", "/_session")[1]["userCtx"] == {"name": "ana", "roles": []}
        assert ana("GET", "/_users/org.couchdb.user:ana")[0] == 200
        assert ana("GET", "/_users/_all_docs")[0] == 403
        assert Client(nodes[1], "ana:wrong")("GET", "/_session")[0] == 401
        status, head, _ = Client(nodes[0], None).raw(
            "POST", "/_session", b'{"name":"admin","password":"password"}'
        )
        cookie = {"Cookie": head["set-cookie"].partition(";")[0]}
        nobody = Client(nodes[2], None)
        assert status == 200 and nobody.raw("GET", "/_all_dbs", headers=cookie)[0] == 200
        assert nobody.raw("GET", "/_all_dbs")[0] == 401
        client.restore("_users", kept | {"_rev": "1-" + "f" * 32})
        assert ana("GET", "/_session")[0] == 401, "a conflict locks the user out"


def test_other_secrets_refuse_each_others_sessions() -> None:
    with standins() as nodes:
        nodes[1].boot(env(ADDRESSES[1], COUCHDB_SECRET="other"), {})
        _, head, _ = Client(nodes[0], None).raw(
            "POST", "/_session", b'{"name":"admin","password":"password"}'
        )
        cookie = {"Cookie": head["set-cookie"].partition(";")[0]}
        assert Client(nodes[0], None).raw("GET", "/_all_dbs", headers=cookie)[0] == 200
        assert Client(nodes[1], None).raw("GET", "/_all_dbs", headers=cookie)[0] == 401


def test_the_ini_brings_hash_uuid_secret_and_limit() -> None:
    network = Network()
    node, other = StandIn(network, ADDRESSES[0]), StandIn(network, ADDRESSES[1])
    node.boot(env(node.address), {})
    stored = Client(node)("GET", "/_node/_local/_config/admins/admin")[1]
    assert stored.startswith("-pbkdf2-")
    ini = {
        "admins": {"admin": stored},
        "couchdb": {"uuid": "ab" * 16, "max_document_size": "50"},
        "chttpd_auth": {"secret": "of the ini"},
    }
    other.boot(env(other.address, COUCHDB_PASSWORD="not this one"), ini)
    client = Client(other)
    try:
        assert client("GET", "/")[1]["uuid"] == "ab" * 16
        assert client("GET", "/_node/_local/_config/admins/admin")[1] == stored
        assert client("GET", "/_node/_local/_config/chttpd_auth/secret")[1] == "of the ini"
        client("PUT", "/t")
        assert client("PUT", "/t/big", {"x": "y" * 60}) == (
            413,
            {"error": "document_too_large", "reason": "big"},
        )
    finally:
        node.kill()
        other.kill()


def test_a_killed_server_drops_its_connections_and_keeps_its_data() -> None:
    with standins() as nodes:
        node = nodes[0]
        Client(node)("PUT", "/t")
        Client(node)("PUT", "/t/d", {"n": 1})
        port = node.port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), timeout=10) as live:
            live.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert live.recv(9) == b"HTTP/1.1 "
            node.kill()
            while live.recv(65536):
                pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
        node.boot(env(node.address), {})
        assert Client(node)("GET", "/t/d")[1]["n"] == 1
        node.wipe()
        node.boot(env(node.address), {})
        assert Client(node)("GET", "/_all_dbs")[1] == []


def test_faults_made_on_purpose() -> None:
    with standins() as nodes:
        client = Client(nodes[0])
        nodes[0].fail_next(2, 503)
        assert [client("GET", "/_up")[0] for _ in range(3)] == [503, 503, 200]
        client("PUT", "/t")
        nodes[0].drop_connections(1)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            client("PUT", "/t/undone", {})
        nodes[0].drop_connections(1, after=True)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            client("PUT", "/t/done", {})
        assert [client("GET", f"/t/{name}")[0] for name in ("undone", "done")] == [404, 200]


def test_one_connection_serves_many_requests_also_chunked() -> None:
    with standins() as nodes:
        assert nodes[0].port is not None
        Client(nodes[0])("PUT", "/t")
        login = {"Authorization": "Basic YWRtaW46cGFzc3dvcmQ="}
        wire = http.client.HTTPConnection("127.0.0.1", nodes[0].port, timeout=30)
        try:
            for n in range(3):
                pieces = iter([b'{"_id":"c%d",' % n, b'"x":1}'])
                wire.request(
                    "POST", "/t", pieces, login | {"Content-Type": "application/json"}, encode_chunked=True
                )
                reply = wire.getresponse()
                assert reply.status == 201 and reply.read()
            wire.request("HEAD", "/t/c1", headers=login)
            reply = wire.getresponse()
            assert reply.status == 200 and reply.read() == b"" and reply.headers["ETag"].startswith('"1-')
        finally:
            wire.close()


def test_large_documents_and_long_listings() -> None:
    with cluster(timing=None) as nodes:
        client = Client(nodes[0])
        client("PUT", "/_node/_local/_config/couchdb/max_document_size", "200000000")
        client("PUT", "/files")
        data = "QUJD" * 2_000_000
        client.restore("files", *({"_id": f"f{n}", "_rev": "1-a", "data": data} for n in range(3)))
        found = client("GET", "/files/_all_docs?include_docs=true")[1]
        assert [len(row["doc"]["data"]) for row in found["rows"]] == [len(data)] * 3


async def test_an_event_loop_beside_it_stays_free() -> None:
    with cluster() as nodes:
        client = Client(nodes[0])
        await asyncio.to_thread(client, "PUT", "/t")
        docs = [{"_id": f"d{n}", "_rev": "1-a", "x": "y" * 1000} for n in range(300)]
        await asyncio.gather(*(asyncio.to_thread(Client(node).restore, "t", *docs) for node in nodes * 2))
        assert (await asyncio.to_thread(client, "GET", "/t"))[1]["doc_count"] == 300


def test_writers_side_by_side_lose_nothing() -> None:
    with cluster(replication_delay=0.2) as nodes:
        Client(nodes[0])("PUT", "/t")

        def work(part: int) -> None:
            client = Client(nodes[part % 3])
            for n in range(5):
                client.restore("t", *({"_id": f"{part}-{n}-{k}", "_rev": "1-a"} for k in range(50)))

        threads = [threading.Thread(target=work, args=(part,)) for part in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(nodes[1].read_documents("t"))) == 6 * 5 * 50
