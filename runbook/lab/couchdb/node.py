"""The CouchDB container and the volume of one VM."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runbook.lab.couchdb import fabric, jsontext, router
from runbook.lab.couchdb.config import Config
from runbook.lab.couchdb.disk import Disk
from runbook.lab.couchdb.documents import printed
from runbook.lab.couchdb.errors import BootFailed, Dropped, HttpError
from runbook.lab.couchdb.faults import Faults
from runbook.lab.couchdb.network import Network
from runbook.lab.couchdb.server import Server
from runbook.lab.couchdb.timing import Timing
from runbook.lab.couchdb.users import Logins
from runbook.lab.couchdb.web import Reply, Request

_WELL_KNOWN_COOKIE = "monster"


class StandIn:
    """One node. ``replication_delay`` (seconds; 0: none) sets all of the cluster's delays on the way to
    this node in the proportions of ``Timing``; ``timing`` sets each one. ``finish_wait`` (seconds) is
    how long finish_cluster waits for all nodes. ``listen``: its loopback port, 0 for any that is free."""

    def __init__(
        self,
        network: Network,
        address: str,
        *,
        version: str = "3.3.2",
        replication_delay: float = 1.0,
        timing: Timing | None = None,
        finish_wait: float = 5.0,
        listen: int = 0,
    ) -> None:
        self.network, self.address, self.version = network, address, version
        self.timing = timing or Timing.of(replication_delay)
        self.finish_wait, self.listen = finish_wait, listen
        self.log: deque[str] = deque(maxlen=2000)
        self.faults = Faults()
        self.name = ""  #: node name, once it has started
        self.cookie = ""
        self.booted_at = 0.0
        self.requests = 0
        self._server: Server | None = None
        self._blank()
        network.add(self)

    @property
    def port(self) -> int | None:
        """The loopback port while it runs."""
        return self._server.port if self._server else None

    @property
    def running(self) -> bool:
        return self._server is not None

    @property
    def maintenance(self) -> bool:
        return self.config.get("couchdb", "maintenance_mode") == "true"

    def boot(self, env: Mapping[str, str], ini: Mapping[str, Mapping[str, str]]) -> None:
        """Start with the container's environment and its mounted ini. Raises BootFailed."""
        self.kill()
        with self.network.lock:
            name, cookie = _node_name(env), env.get("COUCHDB_ERLANG_COOKIE", "")
            self.name = name
            if cookie == _WELL_KNOWN_COOKIE:
                self._fail(
                    "Monster detected: the Erlang cookie is still its public default. Aborting startup."
                )
            if name.count("@") != 1:
                self._fail(f"Cannot start distribution: the node name {name!r} is not name@host.")
            self.config.load(env, ini)
            if not self.config.section("admins"):
                self._fail("No admin account is configured: set COUCHDB_USER and COUCHDB_PASSWORD.")
            self._identify(cookie)
            if name not in self.disk.nodes:
                self.disk.nodes.add(name)
            self.booted_at = self.network.wall()
            self._server = Server(self._answer, f"CouchDB/{self.version} (Erlang OTP/24)", self.listen)
            self.note("info", f"Apache CouchDB has started on http://any:5984/ as {name}")
            self.network.changed(eager=self)

    def kill(self) -> None:
        """The process is gone; listeners and connections close, the data stays."""
        with self.network.lock:
            server, self._server = self._server, None
            if server is None:
                return
            self.network.stopped(self)
            self.note("info", "stopped")
        server.close()

    def wipe(self) -> None:
        """A blank disk (and a stopped server)."""
        self.kill()
        with self.network.lock:
            self._blank()

    def read_documents(self, db: str) -> Iterator[dict[str, Any]]:
        """The database's documents as this node's ``_all_docs`` shows them. Raises HttpError."""
        with self.network.lock:
            self.network.advance()
            _, ids, states = fabric.rows(self, self.disk.map(db))
        for doc_id in ids:
            yield jsontext.value(printed(doc_id, states[doc_id]))

    def fail_next(self, n: int, status: int) -> None:
        """The next ``n`` requests answer ``status``, undone."""
        self.faults.fail_next(n, status)

    def drop_connections(self, n: int, *, after: bool = False) -> None:
        """The next ``n`` requests get no reply: undone, or with ``after`` carried out all the same."""
        self.faults.drop_connections(n, after=after)

    def delay(self, seconds: float) -> None:
        """Every request from now on waits this long first."""
        self.faults.delay(seconds)

    def lose_documents(self, db: str, ids: Iterable[str]) -> int:
        """Damage this node's copies of ``db``; returns how many documents were there to lose."""
        with self.network.lock:
            self.network.advance()
            found = self.disk.map(db)
            lost = 0
            for doc_id in ids:
                copy = self.disk.copies.get(found.copy_path(found.range_of(doc_id)))
                lost += copy is not None and copy.lose(doc_id)
            return lost

    def note(self, level: str, text: str) -> None:
        moment = f"{self.network.wall():.3f}"
        self.log.append(f"[{level}] {moment} {self.name or '-'} {text}")

    def _blank(self) -> None:
        self.disk = Disk()
        self.config = Config(self.version, self.network.entropy)
        self.logins = Logins(self)

    def _fail(self, text: str) -> None:
        self.note("error", text)
        raise BootFailed(text)

    def _identify(self, cookie: str) -> None:
        """uuid, secret and cookie: as given, else made up once and kept."""
        made = self.disk.identity
        for section, key in (("couchdb", "uuid"), ("chttpd_auth", "secret")):
            if not self.config.has(section, key):
                self.config.set(section, key, made.setdefault(key, self.network.entropy(16)))
        self.cookie = cookie or made.setdefault("cookie", self.network.entropy(10))

    def _answer(self, request: Request) -> Reply:
        path = request.target.partition("?")[0]
        try:
            self.faults.before()
            reply = router.route(self, request)
            self.faults.after()
        except Dropped:
            self.note("notice", f"{request.method} {path} dropped")
            raise
        except HttpError as error:
            reply = Reply(error.status, jsontext.line(error.body()))
        except Exception as error:  # a crash of one request is a reply, as in the original
            self.note("error", f"{request.method} {path}: {type(error).__name__}: {error}")
            ref = zlib.crc32(path.encode())
            crash = HttpError(500, "unknown_error", type(error).__name__, ref=ref)
            reply = Reply(500, jsontext.line(crash.body()))
        self.requests += 1
        self.note("notice", f"{request.method} {path} {reply.status}")
        return reply


def _node_name(env: Mapping[str, str]) -> str:
    """The image takes the part after the @ and puts couchdb@ before it; a whole name is understood too."""
    given = env.get("NODENAME", "")
    if not given:
        return "nonode@nohost"
    return given if "@" in given else f"couchdb@{given}"
