"""Servers that hold documents and are not this project's: pouchdb-server, and any CouchDB."""

from __future__ import annotations

import base64
import fcntl
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from tests.real.ports import free_port
from tests.real.waiting import wait_until

VERSION = "4.2.0"
_LISTING = re.compile(r"^/[^/]+/_all_docs(\?|$)")
#: PouchDB in memory lists no id that starts above U+00FF, unless an end key is given
_END = "endkey=" + quote('"\uffff"')


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def call(host: str, port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
    """One request on a connection of its own. Raises OSError, http.client.HTTPException."""
    link = http.client.HTTPConnection(host, port, timeout=300)
    try:
        link.request(method, path, body, headers)
        reply = link.getresponse()
        return Reply(reply.status, dict(reply.getheaders()), reply.read())
    finally:
        link.close()


class DocumentServer(Protocol):
    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply: ...

    def documents(self, database: str) -> dict[str, Any]:
        """Everything in a database, by id."""
        ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


def _documents(server: DocumentServer, database: str) -> dict[str, Any]:
    reply = server.call("GET", f"/{database}/_all_docs?include_docs=true")
    assert reply.status == 200, f"{database}: {reply.status} {reply.body[:200]!r}"
    return {row["id"]: row["doc"] for row in json.loads(reply.body)["rows"]}


# ── pouchdb-server ─────────────────────────────────────────────────────────────────────────
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
        self.port = free_port()
        # it goes when we go, however that is
        words = ["setpriv", "--pdeathsig", "KILL", str(program), "--in-memory"]
        self.process = subprocess.Popen(
            [*words, "--host", "127.0.0.1", "-p", str(self.port)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until("pouchdb-server", self._answers, 120)

    def install(self) -> None:
        """All of it or nothing, by one process at a time. Its native modules are not needed for
        --in-memory, so no install script is run."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (self.folder / "node_modules/.bin/pouchdb-server").exists():
                return
            with tempfile.TemporaryDirectory(dir=self.folder.parent) as new:
                words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
                done = subprocess.run(
                    [*words, "--prefix", new, f"pouchdb-server@{VERSION}"],
                    cwd=new,
                    capture_output=True,
                    text=True,
                    timeout=300,
                    check=False,
                )
                if done.returncode:
                    raise AssertionError(
                        f"npm could not install pouchdb-server {VERSION}: {done.stderr[-1000:]}"
                    )
                self.folder.mkdir(exist_ok=True)
                shutil.rmtree(self.folder / "node_modules", ignore_errors=True)
                (Path(new) / "node_modules").rename(self.folder / "node_modules")

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"pouchdb-server ended with {self.process.returncode}")
        try:
            return self.call("GET", "/").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        if method == "GET" and _LISTING.match(path) and "endkey" not in path:
            path += ("&" if "?" in path else "?") + _END
        return call("127.0.0.1", self.port, method, path, body, headers or {})

    def documents(self, database: str) -> dict[str, Any]:
        return _documents(self, database)

    def stop(self) -> None:
        if self.process:
            self.process.kill()  # it keeps nothing
            self.process.wait(20)
            self.process = None


# ── CouchDB ────────────────────────────────────────────────────────────────────────────────
class InUse(Exception):
    """The server holds what the tests would write, and did not make it."""


@dataclass(frozen=True)
class Url:
    """Where a CouchDB listens, and the admin's login there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class CouchServer:
    """A CouchDB that is somebody's. ``names``: the databases that may be made there; they are deleted
    in the end. None of them may be there in the beginning: what the tests did not make is not deleted.
    """

    def __init__(self, url: Url, names: Iterable[str] = ()) -> None:
        self.url, self.names = url, tuple(names)
        self._mine: tuple[str, ...] = ()

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """As its admin; but who logs in there is asked by nobody else's login."""
        sent = dict(headers or {})
        if not path.startswith("/_session"):
            login = base64.b64encode(f"{self.url.user}:{self.url.password}".encode()).decode()
            sent["Authorization"] = f"Basic {login}"
        return call(self.url.host, self.url.port, method, path, body, sent)

    def databases(self) -> frozenset[str]:
        reply = self.call("GET", "/_all_dbs")
        assert reply.status == 200, f"CouchDB at {self.url}: _all_dbs: {reply.status} {reply.body[:200]!r}"
        return frozenset(json.loads(reply.body))

    def documents(self, database: str) -> dict[str, Any]:
        return _documents(self, database)

    def start(self) -> None:
        """Raises InUse."""
        if taken := sorted(self.databases().intersection(self.names)):
            raise InUse(in_use(self.url, taken))
        self._mine = self.names

    def stop(self) -> None:
        for name in sorted(self.databases().intersection(self._mine)):
            reply = self.call("DELETE", f"/{quote(name, safe='')}")
            assert reply.status in (200, 202, 404), f"{name} is left on {self.url}: {reply.body[:200]!r}"


def in_use(url: Url, taken: Iterable[str]) -> str:
    return (
        f"CouchDB at {url} holds {', '.join(taken)} already, which the guide restores. Nothing was written "
        "to it. Give the tests a server without them: they never delete what they did not make."
    )
