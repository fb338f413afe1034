"""CouchDB for the real machines: an independent document server behind the stand-in's cluster answers.

pouchdb-server (npm) holds the documents and answers for them. What it cannot answer (cluster
set-up, membership, node settings, shards, logins) comes from this project's stand-in, which is given
every write as well, so that shard copies can be counted. That is declared, not hidden: the cluster
behaviour in these tests is simulated; the document protocol is somebody else's server.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import threading
from configparser import ConfigParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from runbook.lab.couchdb import BootFailed, Network, StandIn, Timing
from tests.real.vms import GATEWAY, wait_until

#: what only the stand-in can answer: server paths, and these below a database
_CLUSTER = re.compile(
    r"^/$|^/_(?!users|replicator|global_changes)|^/[^/]+/_(shards|security|revs_limit|local|sync_shards)"
)
_DATABASE = re.compile(r"^/[^/?]+/?(\?|$)")


class PouchServer:
    """``npx pouchdb-server --in-memory`` from npm, installed into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = self.folder / "node_modules/.bin/pouchdb-server"
        if not program.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                [
                    *("npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"),
                    *("--prefix", str(self.folder), "pouchdb-server@4.2.0"),
                ],
                check=True,
                cwd=self.folder,
            )
        with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
            self.port = probe.server_address[1]
        self.process = subprocess.Popen(
            [str(program), "--in-memory", "--host", "127.0.0.1", "-p", str(self.port)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until("pouchdb-server", self._answers, 60)

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/")[0] == 200
        except OSError:
            return False

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            link.request(method, path, body, headers or {})
            reply = link.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            link.close()

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)


class Node:
    """One VM's CouchDB as the network sees it."""

    def __init__(self, documents: Documents, address: str) -> None:
        self.documents, self.address = documents, address
        self.standin = StandIn(documents.network, address, timing=Timing.of(0.2))
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args: object) -> None:
                pass

            def do(self) -> None:
                node.answer(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do

        self.server = ThreadingHTTPServer((GATEWAY, 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length) if length else None
        status, headers, data = self._reply(request.command, request.path, body, dict(request.headers))
        request.send_response(status)
        for name in ("Content-Type", "Set-Cookie", "Location", "ETag"):
            if value := next((v for k, v in headers.items() if k.lower() == name.lower()), None):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data)

    def _reply(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        cluster = self._standin(method, path, body, headers)
        only_cluster = _CLUSTER.match(path) or (method in ("GET", "HEAD") and _DATABASE.match(path))
        if only_cluster or cluster[0] in (401, 403):
            return cluster
        plain = {name: value for name, value in headers.items() if name.lower() == "content-type"}
        answered = self.documents.pouch.call(
            method, path.split("?")[0] if method == "PUT" else path, body, plain
        )
        self.documents.answered += 1
        return cluster if method == "PUT" and _DATABASE.match(path) else answered

    def _standin(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.standin.port or 0, timeout=300)
        keep = ("authorization", "content-type", "accept", "cookie")
        try:
            link.request(method, path, body, {k: v for k, v in headers.items() if k.lower() in keep})
            reply = link.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            link.close()


class Documents:
    """All three nodes, and the control address that the CouchDB containers boot them by."""

    def __init__(self, folder: Path, addresses: list[str]) -> None:
        self.network = Network()
        self.pouch = PouchServer(folder)
        self.answered = 0  #: document requests that the independent server answered
        self.boots: list[dict[str, str]] = []
        self.pouch.start()
        self.nodes = {address: Node(self, address) for address in addresses}
        documents = self

        class Control(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                answer = documents.boot(text).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        self.control = ThreadingHTTPServer((GATEWAY, 0), Control)
        threading.Thread(target=self.control.serve_forever, daemon=True).start()

    @property
    def control_address(self) -> str:
        return f"{GATEWAY}:{self.control.server_address[1]}"

    def boot(self, text: str) -> str:
        """What the container said of itself: its environment, then its ini files."""
        head, _, ini_text = text.partition("---\n")
        env = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
        self.boots.append(env)
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
        self.control.shutdown()
        self.control.server_close()
        for node in self.nodes.values():
            node.standin.kill()
            node.server.shutdown()
            node.server.server_close()
        self.pouch.stop()
