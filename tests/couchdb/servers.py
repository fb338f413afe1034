"""The servers this suite runs against, and what each of them can do.

- ``standin``: this project's stand-in of a cluster of three, in a process of its own;
- ``pouchdb``: pouchdb-server from npm, somebody else's word on the document protocol;
- ``url``: the cluster at ``COUCHDB_URL`` (its nodes' addresses, separated by commas; login in the
  address or in ``COUCHDB_USER`` and ``COUCHDB_PASSWORD``). Nothing there is written to but databases
  whose names begin with this run's random prefix; they are deleted at the end.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from runbook.couch.client import Client, Reply
from runbook.secrets import Secret
from tests.real.documents import PouchServer
from tests.real.ports import free_port
from tests.unit.couch import PASSWORD

#: everything a test may ask ``server.can(…)`` about
FEATURES = {
    "own": "it belongs to the tests: system databases, settings and designs may be changed",
    "faults": "answers can be made to fail, connections to drop (``tell``)",
    "restart": "a node can be killed and started again with its data",
    "cluster": "/_cluster_setup, and /_membership tells the truth",
    "up": "/_up",
    "config": "/_node/…/_config and /_node/…/_system",
    "shards": "/{db}/_shards, and copies of shards counted on their nodes",
    "deleted": "doc_del_count in a database's information",
    "sizes": "sizes in a database's information",
    "revs_limit": "/{db}/_revs_limit",
    "partitioned": "databases made with partitioned=true",
    "names": "a database's name is shown as it was given, with a slash",
    "numbers": "30-digit numbers stay, and -0.0",
    "bytes": "members of a document stay in their order",
    "order": "ids ascend in the byte order of their UTF-8",
}
#: and what each server lacks, declared
LACKS: dict[str, frozenset[str]] = {
    "standin": frozenset(),
    "pouchdb": frozenset(FEATURES) - {"own"},
    "url": frozenset({"own", "faults", "restart"}),
}
#: POST requests that only read
_READS = frozenset({"_all_docs", "_bulk_get", "_changes", "_dbs_info", "_revs_diff", "_missing_revs"})
#: PouchDB in memory lists no id that starts above U+00FF, unless an end key is given
_END = '"\uffff"'


class _Client(Client):
    """Refuses to write to what the tests did not make, wherever that could hurt somebody."""

    server: Server

    def request(self, method: str, path: Sequence[str], query: dict[str, Any], **more: Any) -> Reply:
        self.server.guard(method, path)
        return super().request(method, path, self.server.query(method, path, query), **more)

    @contextmanager
    def stream(self, *path: str, body: Any = None, **more: Any) -> Iterator[Any]:
        method = "GET" if body is None else "POST"
        self.server.guard(method, path)
        with super().stream(*path, body=body, **self.server.query(method, path, more)) as found:
            yield found


class Server:
    """A CouchDB of one or several nodes. ``urls`` without login, one for each node."""

    label: str
    user = "admin"
    password = PASSWORD
    urls: tuple[str, ...] = ()
    process: subprocess.Popen[Any] | None = None

    def __init__(self) -> None:
        self.prefix = f"rb{secrets.token_hex(4)}"
        self._made: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"<{self.label} {' '.join(self.urls)}>"

    def can(self, feature: str) -> bool:
        assert feature in FEATURES, f"no such feature: {feature}"
        return feature not in LACKS[self.label]

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    # ── clients ────────────────────────────────────────────────────────────────────────────
    def client(self, place: int = 0) -> Client:
        """A new client of one node; the caller closes it."""
        made = _Client(self.urls[place], self.user, Secret(self.password, "password"), f"vm{place + 1}")
        made.server = self
        return made

    @contextmanager
    def opened(self) -> Iterator[list[Client]]:
        """New clients of all nodes."""
        with ExitStack() as stack:
            found = [self.client(place) for place in range(len(self.urls))]
            for client in found:
                stack.callback(client.close)
            yield found

    def guard(self, method: str, path: Sequence[str]) -> None:
        writes = method not in ("GET", "HEAD") and not (method == "POST" and path[-1:][0] in _READS)
        if writes and not self.can("own"):
            assert path[0].startswith(self.prefix), f"{method} /{'/'.join(path)}: not made by these tests"

    def query(self, method: str, path: Sequence[str], query: dict[str, Any]) -> dict[str, Any]:
        return query

    # ── databases ──────────────────────────────────────────────────────────────────────────
    def name(self, text: str = "db") -> str:
        """A name nobody else uses; the database is deleted at the end, if it was made."""
        found = f"{self.prefix}_{len(self._made)}_{text}"
        self._made[found] = None
        return found

    def database(self, text: str = "db", *, q: int = 2, **more: Any) -> str:
        """A new, empty database with all its copies."""
        name = self.name(text)
        with self.opened() as clients:
            reply = clients[0].put(name, q=q, n=min(3, len(self.urls)), **more)
            assert reply.status in (201, 202), reply
        return name

    def clean(self) -> None:
        """Delete what was made here, and what was made beside it."""
        with self.opened() as clients:
            found = [name for name in clients[0].need("_all_dbs") if name.startswith(self.prefix)]
            for name in dict.fromkeys([*self._made, *found]):
                reply = clients[0].delete(name)
                assert reply.ok or reply.status == 404, f"{name} is left over: {reply.error}"
        self._made = dict.fromkeys(self._made)

    # ── its life ───────────────────────────────────────────────────────────────────────────
    def start(self) -> None: ...

    def stop(self) -> None: ...


class StandInServer(Server):
    """``delay`` or ``timing``: how slow its cluster is (see the stand-in's Timing); ``ini``: settings of
    every node. A node that is started again has the port it had."""

    label = "standin"

    def __init__(
        self,
        *,
        nodes: int = 3,
        join: bool = True,
        delay: float = 0.0,
        timing: Mapping[str, float] | None = None,
        ini: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__()
        self._options = {"join": join, "delay": delay, "timing": timing or {}}
        self._options["ini"] = ini or {"couchdb": {"max_document_size": "200000000"}}
        self._ports = [free_port() for _ in range(nodes)]
        self.urls = tuple(f"http://127.0.0.1:{port}" for port in self._ports)

    def start(self) -> None:
        words = json.dumps(self._options | {"ports": self._ports})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.couchdb.standin", words],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == {"ready": True}

    def stop(self) -> None:
        if self.process:
            self.process.communicate(timeout=20)
            self.process = None

    def tell(self, node: int | None, call: str, *args: Any, **named: Any) -> Any:
        """Call a method of a node's StandIn, or of the Network: ``tell(1, "fail_next", 2, 503)``,
        ``tell(None, "isolate", "10.0.1.12")``."""
        assert self.process and self.process.stdin
        order = {"node": node, "call": call, "args": args, "named": named}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        found = self._read()
        assert "error" not in found, f"{call}: {found['error']}"
        return found["value"]

    def kill(self, node: int) -> None:
        """The server process of that node is gone at once; its data stays."""
        self.tell(node, "kill")

    def boot(self, node: int) -> None:
        self.tell(node, "boot")

    def _read(self) -> Any:
        assert self.process and self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the stand-in's process ended"
        return json.loads(line)


class PouchdbServer(Server):
    """pouchdb-server, with an admin of its own: it takes no login it does not know."""

    label = "pouchdb"

    def start(self) -> None:
        installed = PouchServer()
        program = installed.folder / "node_modules/.bin/pouchdb-server"
        if not program.exists():
            installed.install()
        self._folder = tempfile.TemporaryDirectory()
        settings = {"admins": {self.user: self.password}, "log": {"level": "none"}}
        Path(self._folder.name, "config.json").write_text(json.dumps(settings))
        port = free_port()
        words = [str(program), "--in-memory", "--no-stdout-logs", "--host", "127.0.0.1", "-p", str(port)]
        self.process = subprocess.Popen(
            # it goes when we go, however that is
            ["setpriv", "--pdeathsig", "KILL", *words, "-c", "config.json"],
            cwd=self._folder.name,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.urls = (f"http://127.0.0.1:{port}",)
        self._wait(port)

    def _wait(self, port: int) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            assert self.process and self.process.poll() is None, "pouchdb-server ended"
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.02)
        raise AssertionError("pouchdb-server does not answer")

    def query(self, method: str, path: Sequence[str], query: dict[str, Any]) -> dict[str, Any]:
        lists = (method, *path[-1:]) == ("GET", "_all_docs") and not {"keys", "key", "endkey"} & set(query)
        return query | {"endkey": _END} if lists else query

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            self.process = None
            self._folder.cleanup()


class UrlServer(Server):
    """The cluster at ``COUCHDB_URL``."""

    label = "url"

    def __init__(self, urls: str) -> None:
        super().__init__()
        self.user = os.environ.get("COUCHDB_USER", "admin")
        self.password = os.environ.get("COUCHDB_PASSWORD", "")
        found = []
        for url in urls.split(","):
            parts = urlsplit(url.strip())
            login, _, place = parts.netloc.rpartition("@")
            if login:
                user, _, password = login.partition(":")
                self.user, self.password = unquote(user), unquote(password)
            found.append(f"{parts.scheme}://{place}{parts.path}".rstrip("/"))
        self.urls = tuple(found)

    def stop(self) -> None:
        self.clean()
