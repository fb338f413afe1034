"""Clusters of stand-ins and backups of dumps, for the tests of the CouchDB side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runbook.couch.client import Client
from runbook.hosts.base import Endpoint
from runbook.lab.couchdb import Network, StandIn
from runbook.secrets import Secret

PASSWORD = "s3cret-pass"
ADDRESSES = ("10.0.1.10", "10.0.1.11", "10.0.1.12")


def env(address: str, **more: str) -> dict[str, str]:
    return {
        "COUCHDB_USER": "admin",
        "COUCHDB_PASSWORD": PASSWORD,
        "COUCHDB_SECRET": "h4sh-salt",
        "COUCHDB_ERLANG_COOKIE": "c00kie-jar",
        "NODENAME": address,
    } | more


@contextmanager
def standins(ini: Mapping[str, Mapping[str, str]] | None = None, count: int = 3) -> Iterator[list[StandIn]]:
    """Nodes that run but know nothing of each other."""
    network = Network()
    nodes = [StandIn(network, address, replication_delay=0, finish_wait=0.2) for address in ADDRESSES[:count]]
    try:
        for node in nodes:
            node.boot(env(node.address), ini or {})
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def client(node: StandIn, password: str = PASSWORD, name: str = "") -> Client:
    assert node.port
    label = name or f"vm{int(node.address.rpartition('.')[2]) - 9}"
    return Client(Endpoint("127.0.0.1", node.port), "admin", Secret(password, "password"), label)


@contextmanager
def clients(nodes: Sequence[StandIn]) -> Iterator[list[Client]]:
    made = [client(node) for node in nodes]
    try:
        yield made
    finally:
        for one in made:
            one.close()


def join(nodes: Sequence[StandIn]) -> None:
    with clients(nodes[:1]) as (first,):
        login = {"username": "admin", "password": PASSWORD, "port": 5984}
        for node in nodes[1:]:
            assert first.post("_cluster_setup", body={"action": "add_node", "host": node.address} | login).ok
        assert first.post("_cluster_setup", body={"action": "finish_cluster"}).ok


@contextmanager
def formed(
    ini: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[tuple[list[StandIn], list[Client]]]:
    """A cluster of three and its clients."""
    with standins(ini) as nodes:
        join(nodes)
        with clients(nodes) as made:
            yield nodes, made


def doc(id: str, rev: str = "1-a", **fields: Any) -> dict[str, Any]:
    return {"_id": id, "_rev": rev, **fields}


def dump(docs: Sequence[Mapping[str, Any]], total: int | None = None) -> bytes:
    """Documents as ``_all_docs?include_docs=true`` shows them."""
    lines = []
    for one in sorted(docs, key=lambda one: one["_id"]):
        row = {"id": one["_id"], "key": one["_id"], "value": {"rev": one["_rev"]}, "doc": one}
        lines.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")))
    head = f'{{"total_rows":{len(docs) if total is None else total},"offset":0,"rows":[\r\n'
    return (head + ",\r\n".join(lines) + "\r\n]}\n").encode()


def backup(folder: Path, nodes: Mapping[str, Mapping[str, bytes]]) -> Path:
    """A backup's folder: node -> database -> dump."""
    for node, databases in nodes.items():
        place = folder / f"node-{node}"
        place.mkdir(parents=True, exist_ok=True)
        for name, data in databases.items():
            (place / f"{name.replace('/', '%2F')}.json").write_bytes(data)
    (folder / "backup_manifest.json").write_text("{}")
    return folder
