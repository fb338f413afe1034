"""CouchDB for the real machines, as a facade: documents from a server that is not this project's,
the cluster's answers from this project's stand-in.

The document server holds the documents and answers for them, and it is what users log in to. What
it cannot answer (cluster set-up, membership, node settings, shards, the server's own admin) comes
from the stand-in, which is given every write as well, so that shard copies can be counted. That is
declared, not hidden: the cluster behaviour is simulated; the document protocol is somebody else's.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from runbook.lab.couchdb import Network, StandIn, Timing
from tests.real.boots import Boots, Ini, serve
from tests.real.documents import DocumentServer, Reply, call

#: what only the stand-in can answer: server paths, and these below a database
_CLUSTER = re.compile(
    r"^/$|^/_(?!users|replicator|global_changes|session)"
    r"|^/[^/]+/_(shards|security|revs_limit|local|sync_shards)"
)
_DATABASE = re.compile(r"^/[^/?]+/?(\?|$)")


class Node:
    """One VM's CouchDB as the network sees it."""

    def __init__(self, facade: Facade, address: str) -> None:
        self.facade = facade
        self.standin = StandIn(facade.network, address, timing=Timing.of(0.2))
        self.server = serve(self.answer)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def answer(self, request: BaseHTTPRequestHandler, body: bytes | None) -> Reply:
        method, path, headers = request.command, request.path, dict(request.headers)
        said = self._standin(method, path, body, headers)
        if path.startswith("/_session"):
            # the server's own admin is the stand-in's; all others are documents of _users
            return said if b'"_admin"' in said.body else self._documents(method, path, body, headers)
        looks, database = method in ("GET", "HEAD"), _DATABASE.match(path)
        if _CLUSTER.match(path) or said.status in (401, 403) or (database and looks):
            return said
        if said.status >= 400 and not looks and "_all_docs" not in path:
            return said  # refused there: the shard copies would lack it
        answered = self._documents(method, path.partition("?")[0] if database else path, body, headers)
        return said if database else answered

    def _documents(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        self.facade.count(method, path)
        return self.facade.server.call(method, path, body, _only(headers, "content-type"))

    def _standin(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        kept = _only(headers, "authorization", "content-type", "accept", "cookie")
        return call("127.0.0.1", self.standin.port or 0, method, path, body, kept)


def _only(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() in names}


class Facade:
    """All nodes, over one document server, which it starts and stops."""

    archive: Path | None = None
    user, password, document_limit = "admin", "", 0

    def __init__(self, server: DocumentServer, addresses: Iterable[str]) -> None:
        self.network = Network()
        self.server = server
        self.answered: Counter[str] = Counter()  #: what the document server answered, by kind
        self._lock = threading.Lock()
        self.server.start()
        for name in ("_users", "_replicator"):  # on CouchDB, the end of the cluster's set-up makes them
            if server.call("GET", f"/{name}").status == 404:
                server.call("PUT", f"/{name}")
        self.nodes = {address: Node(self, address) for address in addresses}
        self._boots = Boots(self._boot)

    @property
    def control(self) -> str:
        return self._boots.address

    @property
    def boots(self) -> list[dict[str, str]]:
        return self._boots.seen

    def count(self, method: str, path: str) -> None:
        with self._lock:
            self.answered[f"{method} {path.partition('?')[0].split('/')[-1]}"] += 1

    def _boot(self, address: str, env: Mapping[str, str], ini: Ini) -> int:
        node = self.nodes[address]
        node.standin.boot(env, ini)
        return node.port

    def documents(self, database: str) -> dict[str, Any]:
        return self.server.documents(database)

    def blank(self, address: str) -> None:
        self.nodes[address].standin.wipe()

    def stop(self) -> None:
        for node in self.nodes.values():
            node.standin.kill()
            node.server.shutdown()
            node.server.server_close()
        self._boots.stop()
        self.server.stop()
