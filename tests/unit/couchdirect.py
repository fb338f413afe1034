"""A client that asks a stand-in without a socket between, for simulations of many hours."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from runbook.couch.client import Client, Reply, Silent
from runbook.lab.couchdb import Network, StandIn
from runbook.lab.couchdb.web import Request
from runbook.secrets import Secret
from tests.unit.couch import PASSWORD, env

_LOGIN = "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()


class Direct(Client):
    def __init__(self, node: StandIn, name: str) -> None:
        super().__init__("http://127.0.0.1:1", "admin", Secret(PASSWORD, "password"), name)
        self.standin = node

    def request(self, method: str, path: Sequence[str], query: dict[str, Any], **more: Any) -> Reply:
        if not self.standin.running:
            raise Silent(self.node, f"CouchDB on {self.node} does not answer.")
        words = {
            key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()
        }
        target = "/" + "/".join(quote(part, safe="") for part in path) + f"?{urlencode(words)}"
        body = more.get("body")
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"authorization": _LOGIN, "content-type": "application/json"}
        reply = self.standin._answer(Request(method, target, headers, data))
        assert reply.status != 401, (self.node, method, target)
        found = reply.body if isinstance(reply.body, bytes) else b"".join(reply.body)
        return Reply(reply.status, {}, json.loads(found))


def direct(nodes: Sequence[StandIn]) -> dict[str, Client]:
    return {f"vm{number}": Direct(node, f"vm{number}") for number, node in enumerate(nodes, 1)}


def fill(client: Client, databases: Mapping[str, int], *, q: int = 2, n: int = 3) -> None:
    """Databases with so many documents each."""
    for name, count in databases.items():
        assert client.put(name, q=q, n=n).ok
        documents = [b'{"_id":"d%05d","_rev":"1-a"}' % number for number in range(count)]
        assert client.bulk(name, documents) == []


def blank(node: StandIn, **more: str) -> None:
    """The machine of that address is lost; another one with an empty disk has its name."""
    node.wipe()
    node.boot(env(node.address, **more), {})


def complete(network: Network) -> bool:
    """The truth: every copy of every shard holds the same documents."""
    with network.lock:
        network.advance()
        by_name = {node.name: node for node in network.standins.values()}
        maps = {name: found for node in by_name.values() for name, found in node.disk.dbs.items()}
        for found in maps.values():
            for range_, holders in found.by_range.items():
                disks = [by_name[name].disk.copies.get(found.copy_path(range_)) for name in holders]
                if None in disks or any(disk.docs != disks[0].docs for disk in disks if disk and disks[0]):
                    return False
        return True
