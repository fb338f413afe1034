"""A plain HTTP client for the tests of the CouchDB stand-in, and clusters to talk to."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runbook.lab.couchdb import Network, StandIn

ADDRESSES = ("10.0.1.10", "10.0.1.11", "10.0.1.12")
ENV = {
    "COUCHDB_USER": "admin",
    "COUCHDB_PASSWORD": "password",
    "COUCHDB_SECRET": "secret",
    "COUCHDB_ERLANG_COOKIE": "baker",
}


class Client:
    def __init__(
        self, node: StandIn, login: str | None = "admin:password", *, port: int | None = None
    ) -> None:
        self.node, self.login, self._port = node, login, port

    def raw(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        port = self._port or self.node.port
        assert port is not None
        wire = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if self.login:
            sent["Authorization"] = "Basic " + base64.b64encode(self.login.encode()).decode()
        try:
            wire.request(method, path, body=body, headers=sent | (headers or {}))
            reply = wire.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        finally:
            wire.close()

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, found = self.raw(method, path, data)
        return status, json.loads(found) if found else None

    def restore(self, db: str, *docs: dict[str, Any]) -> Any:
        status, found = self("POST", f"/{db}/_bulk_docs", {"new_edits": False, "docs": list(docs)})
        assert status == 201, found
        return found


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def env(address: str, **more: str) -> dict[str, str]:
    return ENV | {"NODENAME": f"couchdb@{address}"} | more


def join(nodes: list[StandIn]) -> None:
    """Make the nodes one cluster, through the first one's set-up address."""
    client = Client(nodes[0])
    for node in nodes[1:]:
        action = {"action": "add_node", "host": node.address, "port": 5984}
        assert (
            client("POST", "/_cluster_setup", action | {"username": "admin", "password": "password"})[0]
            == 201
        )
    assert client("POST", "/_cluster_setup", {"action": "finish_cluster"}) == (201, {"ok": True})


@contextmanager
def standins(network: Network | None = None, **options: Any) -> Iterator[list[StandIn]]:
    """Three booted nodes that do not know each other."""
    network = network or Network()
    nodes = [StandIn(network, address, **({"replication_delay": 0.0} | options)) for address in ADDRESSES]
    try:
        for node in nodes:
            node.boot(env(node.address), {})
        yield nodes
    finally:
        for node in nodes:
            node.kill()


@contextmanager
def cluster(network: Network | None = None, **options: Any) -> Iterator[list[StandIn]]:
    with standins(network, **options) as nodes:
        join(nodes)
        yield nodes
