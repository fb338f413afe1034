"""One CouchDB node over HTTP.

A ``Client`` may be used from many threads at once: each request has a session of its own for as
long as it lasts. HTTP errors are answers (``Reply.status``), not exceptions; exceptions are for
what gives no answer: nobody there, no login, time passed, connection lost. Nothing is repeated
silently, except reads whose kept-open connection had gone stale.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec

from runbook.couch.session import Body, Reply, Unauthorized, address, ask, opened, reason, words
from runbook.errors import (
    HostError,
    LoginRefused,
    OutcomeUnknown,
    RunbookError,
    TimedOut,
    Unreachable,
    UseError,
)
from runbook.hosts.base import Endpoint
from runbook.secrets import Secret

TIMEOUT = 60.0
#: for requests that carry documents: tens of MB may go through a slow line
BULK_TIMEOUT = 300.0
_STREAM_BUFFER = 1 << 20


class Refusal(msgspec.Struct, frozen=True):
    """A document the server did not take."""

    id: str
    error: str
    reason: str = ""


class RequestRefused(RunbookError):
    """A whole request was refused with ``status`` (its documents may be stored in part)."""

    def __init__(self, node: str, doing: str, reply: Reply) -> None:
        self.node, self.status = node, reply.status
        body = reply.body if isinstance(reply.body, dict) else {}
        self.error, self.reason = str(body.get("error")), str(body.get("reason"))
        super().__init__(f"CouchDB on {node} refused to {doing}: {reply.error.rstrip('.')}.")


class Silent(Unreachable):
    """Nobody answers at CouchDB's port."""


class Client:
    """CouchDB of one machine. ``node`` is that machine's name for messages (vm1)."""

    def __init__(self, endpoint: Endpoint | str, user: str, password: Secret, node: str) -> None:
        """``endpoint``: a forwarded port, or a URL, which must not hold a login (UseError)."""
        url = endpoint if isinstance(endpoint, str) else f"http://{endpoint.host}:{endpoint.port}"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise UseError(
                "The CouchDB address must look like http://host:5984, without user and password.",
                next="Give the login apart.",
            )
        self.base, self.user, self.node = url.rstrip("/"), user, node
        self._password = password
        self._lock = threading.Lock()
        self._idle: dict[float, list[Any]] = {}
        self._busy: list[Any] = []
        self.closed = False

    def __repr__(self) -> str:
        return f"<Client {self.node} {self.base}>"

    # ── requests ───────────────────────────────────────────────────────────────────────────
    def get(self, *path: str, raw: bool = False, **query: Any) -> Reply:
        return self.request("GET", path, query, raw=raw)

    def put(self, *path: str, body: Any = None, **query: Any) -> Reply:
        return self.request("PUT", path, query, body=body)

    def post(
        self, *path: str, body: Any = None, raw: bool = False, timeout: float = TIMEOUT, **query: Any
    ) -> Reply:
        return self.request("POST", path, query, body=body, raw=raw, timeout=timeout)

    def delete(self, *path: str, **query: Any) -> Reply:
        return self.request("DELETE", path, query)

    def bulk(
        self, database: str, documents: Sequence[bytes | msgspec.Raw], *, timeout: float = BULK_TIMEOUT
    ) -> list[Refusal]:
        """Store documents with the revisions they carry; their bytes go as they are. Returns the
        refused ones. Raises RequestRefused when the request as a whole was refused. May be
        repeated: the same revision again changes nothing."""
        body = _joined(documents)
        reply = self.request(
            "POST", (database, "_bulk_docs"), {}, body=body, timeout=timeout, repeatable=True
        )
        if reply.status not in (201, 202) or not isinstance(reply.body, list):
            raise RequestRefused(self.node, f"store documents in {database}", reply)
        return [
            Refusal(str(row.get("id")), str(row["error"]), str(row.get("reason", "")))
            for row in reply.body
            if isinstance(row, dict) and "error" in row
        ]

    def need(self, *path: str, **query: Any) -> Any:
        """The decoded body of a GET that has to work. Raises RequestRefused."""
        reply = self.get(*path, **query)
        if not reply.ok:
            raise RequestRefused(self.node, f"show /{'/'.join(path)}", reply)
        return reply.body

    async def aget(self, *path: str, **query: Any) -> Reply:
        return await asyncio.to_thread(self.get, *path, **query)

    async def aput(self, *path: str, **query: Any) -> Reply:
        return await asyncio.to_thread(self.put, *path, **query)

    async def apost(self, *path: str, **query: Any) -> Reply:
        return await asyncio.to_thread(self.post, *path, **query)

    async def aneed(self, *path: str, **query: Any) -> Any:
        return await asyncio.to_thread(self.need, *path, **query)

    def request(
        self,
        method: str,
        path: Sequence[str],
        query: dict[str, Any],
        *,
        body: Any = None,
        raw: bool = False,
        timeout: float = TIMEOUT,
        repeatable: bool = False,
    ) -> Reply:
        """One request. ``path``: segments, quoted here; ``body``: bytes as they are, else encoded;
        ``repeatable``: the caller copes with a connection that had gone stale.

        Raises Silent (nothing sent), LoginRefused, TimedOut, OutcomeUnknown (a write whose answer
        was lost), Unreachable (a read whose answer was lost).
        """
        url = address(self.base, path, query)
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        doing = f"{method} /{'/'.join(path)}"
        if method == "GET":
            try:
                return self._once(method, url, data, doing, raw, timeout, fresh=False)
            except Unreachable as error:
                if isinstance(error, Silent) or self.closed:
                    raise
        return self._once(method, url, data, doing, raw, timeout, fresh=not repeatable)

    def _once(
        self, method: str, url: str, data: bytes | None, doing: str, raw: bool, timeout: float, fresh: bool
    ) -> Reply:
        with self._using(timeout, fresh) as session:
            answer = self._answer(session, method, url, data, doing, timeout)
            if isinstance(answer, Reply):
                return answer
            status, headers, content = answer
            try:
                content = b"" if content is None else content.read()
            except Exception as error:
                raise self._lost(method, doing, session, error, timeout) from None
            if raw:
                return Reply(status, headers, content)
            try:
                decoded = msgspec.json.decode(content) if content else None
            except (ValueError, RecursionError):
                raise RunbookError(
                    f"CouchDB on {self.node} answered {doing} with something that is not JSON.",
                    next="Look whether something else listens at its port.",
                ) from None
            return Reply(status, headers, decoded)

    def _answer(
        self, session: Any, method: str, url: str, data: bytes | None, doing: str, timeout: float
    ) -> Reply | tuple[int, dict[str, str], Any]:
        """The head of the answer and its body, not yet read; a Reply for one that is refused."""
        login = (self.user, self._password.reveal())
        try:
            return ask(session, method, url, data, login)
        except Unauthorized as error:
            raise LoginRefused(
                self.node,
                f"CouchDB on {self.node} refused the login as {self.user!r} ({reason(error)}). "
                "Nothing was changed.",
                next="Check couchdb.user and couchdb.password in the settings, and that every node "
                "has the same admin hash.",
            ) from None
        except Exception as error:
            raise self._lost(method, doing, session, error, timeout) from None

    @contextmanager
    def stream(
        self, *path: str, body: Any = None, timeout: float = BULK_TIMEOUT, **query: Any
    ) -> Iterator[io.BufferedReader]:
        """A body read as it comes, for what is too large for memory: a GET, or a POST when there is
        a ``body``. ``timeout``: seconds without a byte. Leaving early ends the connection.

        Raises RequestRefused before the first byte; Unreachable, TimedOut or Silent while reading,
        so an end without an error is where the server ended it (which may still be too early).
        """
        url = address(self.base, path, query)
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        doing = f"read /{'/'.join(path)}"
        with self._using(timeout, fresh=True) as session:
            answer = self._answer(session, "GET" if body is None else "POST", url, data, doing, timeout)
            if isinstance(answer, Reply):
                raise RequestRefused(self.node, doing, answer)
            content = answer[2]
            source = getattr(content, "resp", content) or io.BytesIO()
            raw = Body(source, lambda error: self._lost("GET", doing, session, error, timeout))
            try:
                yield io.BufferedReader(raw, _STREAM_BUFFER)
            finally:
                source.close()
                session.connection_pool.shut()

    def _lost(
        self, method: str, doing: str, session: Any, error: Exception, timeout: float
    ) -> HostError | RunbookError:
        """The exception for a request without an answer."""
        if self.closed:
            return Silent(self.node, f"The connection to CouchDB on {self.node} was closed here.")
        if session.connection_pool.taken is None:
            return Silent(
                self.node,
                f"CouchDB on {self.node} does not answer ({words(error)}). Nothing was changed.",
                next="Look at its container's log there: docker logs couchdb.",
            )
        if isinstance(error, TimeoutError):
            return TimedOut(
                self.node,
                f"CouchDB on {self.node} gave no answer to {doing} within {timeout:.0f} s.",
                gone=None,
            )
        if not isinstance(error, OSError | http.client.HTTPException):
            return RunbookError(
                f"CouchDB on {self.node} answered {doing} in a way that is not CouchDB's ({words(error)}).",
                next="Look whether something else listens at its port.",
            )
        if method == "GET":
            return Unreachable(
                self.node,
                f"CouchDB on {self.node} closed the connection ({words(error)}).",
                next="Look whether it runs there, and at its container's log: docker logs couchdb.",
            )
        return OutcomeUnknown(
            self.node, f"The connection to CouchDB on {self.node} was lost during {doing}; outcome unknown."
        )

    # ── sessions ───────────────────────────────────────────────────────────────────────────
    @contextmanager
    def _using(self, timeout: float, fresh: bool) -> Iterator[Any]:
        """A session nobody else uses meanwhile. ``fresh``: with no connection that may be stale
        (writes are not repeated, so they must not meet one)."""
        with self._lock:
            if self.closed:
                raise Silent(self.node, f"The connection to CouchDB on {self.node} was closed here.")
            idle = self._idle.setdefault(timeout, [])
            session = idle.pop() if idle else opened(timeout)
            self._busy.append(session)
        pool = session.connection_pool
        if fresh:
            pool.shut()
        pool.taken = None
        try:
            yield session
        except BaseException:
            pool.shut()
            raise
        finally:
            with self._lock:
                self._busy.remove(session)
                if self.closed:
                    pool.shut()
                else:
                    self._idle[timeout].append(session)

    def close(self) -> None:
        """Close every connection, also those in use: their requests fail at once."""
        with self._lock:
            self.closed = True
            for session in self._busy:
                session.connection_pool.end()
            for session in (s for idle in self._idle.values() for s in idle):
                session.connection_pool.shut()
            self._idle.clear()


def _joined(documents: Sequence[bytes | msgspec.Raw]) -> bytes:
    """The body of ``_bulk_docs``; nearly every document is copied once only."""
    pieces = [bytes(one) for one in documents] or [b""]
    pieces[0] = b'{"new_edits":false,"docs":[' + pieces[0]
    pieces[-1] += b"]}"
    return b",".join(pieces)
