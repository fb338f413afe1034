"""couchdb-python's HTTP session, made honest: the only place where the couchdb package is used.

Its session repeats dropped POSTs, follows redirects with the login in its headers and caches by
ETag; all three are switched off here. Its exceptions for refused requests become answers again.
"""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from couchdb import http as couch

#: one of these tells where an answer ends
_ENDED = frozenset({"content-length", "transfer-encoding"})

#: the server refused the login
Unauthorized = couch.Unauthorized


class Reply(NamedTuple):
    """``body``: decoded JSON; bytes when raw was asked for; for statuses from 400 on
    ``{"error": …, "reason": …}``."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def error(self) -> str:
        """``error: reason`` of a refused request, for a person."""
        if self.ok or not isinstance(self.body, dict):
            return ""
        return f"{self.status} {self.body.get('error')}: {self.body.get('reason')}"


class _NoCache:
    def get(self, url: str) -> None:
        return None

    def put(self, url: str, response: object) -> None:
        pass

    def remove(self, url: str) -> None:
        pass


class _Pool(couch.ConnectionPool):  # type: ignore[misc]
    """Remembers the connection in use, so that it can be ended from outside."""

    taken: Any = None
    ended = False

    def get(self, url: str) -> Any:
        self.taken = super().get(url)
        if self.ended:
            raise ConnectionAbortedError("closed here")
        return self.taken

    def shut(self) -> None:
        """Close what this session has open (by the thread that uses it)."""
        for conn in [self.taken, *(c for conns in self.conns.values() for c in conns)]:
            with suppress(AttributeError, OSError):
                conn.close()
        self.conns.clear()

    def end(self) -> None:
        """Wake the thread that waits for an answer; it closes the connection itself."""
        self.ended = True
        with suppress(AttributeError, OSError):
            self.taken.sock.shutdown(socket.SHUT_RDWR)


class Body(io.RawIOBase):
    """An answer's body as a raw stream; what goes wrong while reading is told in our words."""

    def __init__(self, source: Any, lost: Callable[[Exception], Exception]) -> None:
        self._source, self._lost = source, lost

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return int(self._source.readinto(buffer))
        except Exception as error:
            raise self._lost(error) from None


def opened(timeout: float) -> Any:
    session = couch.Session(timeout=timeout, max_redirects=-1, retryable_errors=())
    session.cache = _NoCache()
    session.connection_pool = _Pool(timeout)
    return session


_STATUS = {
    couch.Unauthorized: 401,
    couch.Forbidden: 403,
    couch.ResourceNotFound: 404,
    couch.ResourceConflict: 409,
    couch.PreconditionFailed: 412,
}


def address(base: str, path: Sequence[str], query: dict[str, Any]) -> str:
    """The URL of ``path``, segment by segment quoted."""
    return str(couch.urljoin(base, *_segments(path), **query))


def ask(
    session: Any, method: str, url: str, data: bytes | None, login: tuple[str, str]
) -> Reply | tuple[int, dict[str, str], Any]:
    """The head of the answer and its body, not yet read; a Reply for one that is refused. Raises
    Unauthorized, ConnectionAbortedError (a head that broke off), and what sockets raise."""
    # the login goes into a header only
    headers = {"Content-Type": "application/json"} if data is not None else {}
    try:
        status, answered, content = session.request(
            method, url, body=data, headers=headers, credentials=login
        )
    except Unauthorized:
        raise
    except couch.HTTPError as error:
        return _refused(error)
    except (AttributeError, TypeError) as error:  # the library's, for a refusal whose head broke off
        if (content := getattr(getattr(error, "obj", None), "resp", None)) is not None:
            content.close()
        raise ConnectionAbortedError("within the head of its answer") from None
    found = dict(answered.items())
    if status not in (204, 304) and not _ENDED & {name.lower() for name in found}:
        # http.client takes a head that broke off for one that ended, without a body
        getattr(content, "resp", content).close()
        raise ConnectionAbortedError("within the head of its answer")
    return status, found, content


def _segments(path: Sequence[str]) -> list[str]:
    """``_design/x`` as one segment would be answered with a redirect: keep its slash."""
    return [part for name in path for part in (name.split("/", 1) if name.startswith("_design/") else [name])]


def _refused(error: Exception) -> Reply:
    """couchdb-python's exceptions, back into the answer they were made of."""
    detail: Any = error.args[0] if error.args else ""
    status, detail = (_STATUS[type(error)], detail) if type(error) in _STATUS else detail
    if isinstance(detail, tuple):
        return Reply(status, {}, {"error": detail[0], "reason": detail[1]})
    return Reply(status, {}, {"error": None, "reason": str(detail or "")[:500]})


def reason(error: Exception) -> str:
    detail = error.args[0] if error.args else ""
    return str(detail[1] if isinstance(detail, tuple) else detail)


def words(error: Exception) -> str:
    if isinstance(error, OSError) and len(error.args) == 1 and isinstance(error.args[0], int):
        return os.strerror(error.args[0])  # the library makes errors of a bare number
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
