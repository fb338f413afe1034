"""CouchDB for the real machines: an independent document server behind the stand-in's cluster answers.

pouchdb-server (npm) holds the documents and answers for them, and it is what users log in to. What
it cannot answer (cluster set-up, membership, node settings, shards, the server's own admin) comes
from this project's stand-in, which is given every write as well, so that shard copies can be counted.
That is declared, not hidden: the cluster behaviour in these tests is simulated; the document
protocol is somebody else's server. Its declared differences are in ``PouchServer``.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from configparser import ConfigParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from runbook.lab.couchdb import BootFailed, Network, StandIn, Timing
from tests.real.vms import GATEWAY, wait_until

VERSION = "4.2.0"
#: what only the stand-in can answer: server paths, and these below a database
_CLUSTER = re.compile(
    r"^/$|^/_(?!users|replicator|global_changes|session)"
    r"|^/[^/]+/_(shards|security|revs_limit|local|sync_shards)"
)
_DATABASE = re.compile(r"^/[^/?]+/?(\?|$)")
_LISTING = re.compile(r"^/[^/]+/_all_docs(\?|$)")
#: PouchDB in memory lists no id that starts above U+00FF, unless an end key is given
_END = "endkey=" + quote('"\uffff"')


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def call(port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        link.request(method, path, body, headers)
        reply = link.getresponse()
        return Reply(reply.status, dict(reply.getheaders()), reply.read())
    finally:
        link.close()


def cache() -> Path:
    """Where the npm package is kept from one run of the tests to the next."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home) / "openedx-dr-runbook-tests" / f"pouchdb-{VERSION}"


class PouchServer:
    """``pouchdb-server --in-memory``, installed with npm into ``cache()``.

    Differences from CouchDB, declared: ``_id`` and ``_rev`` stand last in a document; 30-digit numbers
    become floats and -0.0 becomes 0; no ``doc_del_count``; ids above U+00FF are listed only with an
    end key; it does not make ``_design/_auth`` by itself, and cannot compile CouchDB's.
    """

    def __init__(self) -> None:
        self.folder = cache()
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = self.folder / "node_modules/.bin/pouchdb-server"
        if not program.exists():
            self.install()
        with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
            self.port = probe.server_address[1]
        self.process = subprocess.Popen(
            # it goes when we go, however that is
            [
                "setpriv",
                "--pdeathsig",
                "KILL",
                str(program),
                "--in-memory",
                "--host",
                "127.0.0.1",
                "-p",
                str(self.port),
            ],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until("pouchdb-server", self._answers, 60)

    def install(self) -> None:
        """Its native modules are not needed for --in-memory, so no install script is run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(
            [*words, "--prefix", str(self.folder), f"pouchdb-server@{VERSION}"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"npm could not install pouchdb-server {VERSION}: {done.stderr[-1000:]}")

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/").status == 200
        except OSError:
            return False

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        return call(self.port, method, path, body, headers or {})

    def documents(self, database: str) -> dict[str, Any]:
        """Everything in a database, by id."""
        reply = self.call("GET", f"/{database}/_all_docs?include_docs=true&{_END}")
        assert reply.status == 200, f"{database}: {reply.status} {reply.body[:200]!r}"
        return {row["id"]: row["doc"] for row in json.loads(reply.body)["rows"]}

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


class Node:
    """One VM's CouchDB as the network sees it."""

    def __init__(self, documents: Documents, address: str) -> None:
        self.documents, self.address = documents, address
        self.standin = StandIn(documents.network, address, timing=Timing.of(0.2))
        self.server = serve(self.answer)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def answer(self, request: BaseHTTPRequestHandler, body: bytes | None) -> Reply:
        method, path, headers = request.command, request.path, dict(request.headers)
        said = self._standin(method, path, body, headers)
        if path.startswith("/_session"):
            # the server's own admin is the stand-in's; all others are documents of _users
            return said if b'"_admin"' in said.body else self._pouch(method, path, body, headers)
        looks, database = method in ("GET", "HEAD"), _DATABASE.match(path)
        if _CLUSTER.match(path) or said.status in (401, 403) or (database and looks):
            return said
        if said.status >= 400 and not looks and "_all_docs" not in path:
            return said  # refused there: the shard copies would lack it
        answered = self._pouch(method, path.partition("?")[0] if database else path, body, headers)
        return said if database else answered

    def _pouch(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        if method == "GET" and _LISTING.match(path) and "endkey" not in path:
            path += ("&" if "?" in path else "?") + _END
        self.documents.count(method, path)
        return self.documents.pouch.call(method, path, body, _only(headers, "content-type"))

    def _standin(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        kept = _only(headers, "authorization", "content-type", "accept", "cookie")
        return call(self.standin.port or 0, method, path, body, kept)


def _only(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() in names}


def serve(answer: Callable[[BaseHTTPRequestHandler, bytes | None], Reply]) -> ThreadingHTTPServer:
    """An HTTP server on the VMs' network, in threads. An answer that raises closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: object) -> None:
            pass

        def do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            try:
                reply = answer(self, self.rfile.read(length) if length else None)
            except OSError:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name in ("Content-Type", "Set-Cookie", "Location", "ETag"):
                if value := next((v for k, v in reply.headers.items() if k.lower() == name.lower()), None):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *args: object) -> None:
            pass  # a client that went away

    server = Server((GATEWAY, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Documents:
    """All nodes, and the control address that the CouchDB containers boot them by."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self.network = Network()
        self.pouch = PouchServer()
        self.answered: Counter[str] = Counter()  #: what the independent server answered, by kind
        self.boots: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self.pouch.start()
        self.nodes = {address: Node(self, address) for address in addresses}
        self.control = serve(self._boot)

    @property
    def control_address(self) -> str:
        return f"{GATEWAY}:{self.control.server_address[1]}"

    def count(self, method: str, path: str) -> None:
        with self._lock:
            self.answered[f"{method} {path.partition('?')[0].split('/')[-1]}"] += 1

    def _boot(self, request: BaseHTTPRequestHandler, body: bytes | None) -> Reply:
        return Reply(200, {}, self.boot((body or b"").decode()).encode())

    def boot(self, text: str) -> str:
        """What the container said of itself: its environment, then its ini files."""
        head, _, ini_text = text.partition("---\n")
        env = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
        with self._lock:
            self.boots.append(dict(env))
        ini = ConfigParser(interpolation=None, strict=False)
        ini.optionxform = str  # type: ignore[assignment, method-assign]
        ini.read_string(ini_text)
        node = self.nodes[env.pop("VM_ADDRESS")]
        try:
            node.standin.boot(env, {section: dict(ini[section]) for section in ini.sections()})
        except BootFailed as error:
            return f"CouchDB ended: {error}"
        return f"port={node.port}"

    def stop(self) -> None:
        for node in self.nodes.values():
            node.standin.kill()
        for server in (self.control, *(node.server for node in self.nodes.values())):
            server.shutdown()
            server.server_close()
        self.pouch.stop()
