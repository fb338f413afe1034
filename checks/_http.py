"""A small HTTP client over an Endpoint: one request a connection, limits on bytes and time.

The connection goes to the endpoint, whatever the host name: that is how a VM is asked for the site's
domain through a forwarded port, or before DNS points at it.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode, urlsplit

from runbook.context import Look
from runbook.errors import CouldNotLook
from runbook.hosts.base import Endpoint

TIMEOUT = 20.0
LIMIT = 2_000_000

Kind = Literal["refused", "closed", "timeout", "tls", "unreachable", "nonsense"]


#: also what a port forward gives when the far side refuses
_CLOSED = "the connection was closed without an answer (nothing listens there, or it gave up)"


class NoReply(Exception):
    """No answer came. ``kind`` tells a port that refuses from a way that is blocked."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind: Kind = kind


@dataclass(frozen=True)
class Reply:
    """``body`` is whole up to the limit, then ``truncated``. Header names are lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    body: bytes
    truncated: bool

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def __str__(self) -> str:
        kind = self.headers.get("content-type", "no content type").partition(";")[0]
        return f"{self.status} {self.reason} ({kind}, {len(self.body)}{'+' * self.truncated} bytes)"


@dataclass
class Line:
    """The socket in use by a thread, so that its wait can be ended from outside."""

    sock: socket.socket | None = None
    ended: bool = False

    def end(self) -> None:
        """Wake the thread: what it waits for fails now."""
        self.ended = True
        if self.sock:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self.sock:
            self.sock.close()


async def request(
    endpoint: Endpoint,
    path: str,
    *,
    host: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    timeout: float = TIMEOUT,
    limit: int = LIMIT,
) -> Reply:
    """Ask ``endpoint`` for ``path`` of ``host`` (Host header and, with ``tls``, server name). ``form``
    makes a form post. ``timeout`` covers all of it. Raises NoReply. Redirects are not followed."""
    line = Line()
    body = urlencode(form).encode() if form is not None else None
    sent = {"Host": host, "User-Agent": "runbook", "Connection": "close", **(headers or {})}
    if body is not None:
        sent["Content-Type"] = "application/x-www-form-urlencoded"
    work = asyncio.to_thread(_ask, line, endpoint, path, host, method, sent, body, tls, timeout, limit)
    try:
        async with asyncio.timeout(timeout):
            return await work
    except TimeoutError:
        raise NoReply("timeout", f"no answer within {timeout:g} s") from None
    finally:
        line.end()


def connect(line: Line, endpoint: Endpoint, timeout: float) -> socket.socket:
    """Open ``line.sock``. Raises NoReply."""
    try:
        line.sock = socket.create_connection((endpoint.host, endpoint.port), timeout)
    except OSError as error:
        raise no_reply(error) from None
    if line.ended:
        raise NoReply("timeout", "given up")
    return line.sock


def connect_tls(
    line: Line, endpoint: Endpoint, name: str, context: ssl.SSLContext, timeout: float
) -> ssl.SSLSocket:
    """The same, secured, with ``name`` as server name. Raises NoReply."""
    plain = connect(line, endpoint, timeout)
    try:
        # the handshake apart, so that end() has the socket to wake meanwhile
        secured = context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
        line.sock = secured
        secured.do_handshake()
    except ssl.SSLError as error:
        raise NoReply("tls", getattr(error, "verify_message", "") or error.reason or str(error)) from None
    except OSError as error:
        raise no_reply(error) from None
    return secured


def no_reply(error: OSError) -> NoReply:
    if isinstance(error, ConnectionRefusedError):
        return NoReply("refused", "connection refused")
    if isinstance(error, TimeoutError):
        return NoReply("timeout", "no answer in time")
    if isinstance(error, ConnectionError):
        return NoReply("closed", _CLOSED)
    return NoReply("unreachable", f"cannot be reached: {error.strerror or error}")


def _ask(
    line: Line,
    endpoint: Endpoint,
    path: str,
    host: str,
    method: str,
    headers: Mapping[str, str],
    body: bytes | None,
    tls: ssl.SSLContext | None,
    timeout: float,
    limit: int,
) -> Reply:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout)
    try:
        connection.sock = (
            connect_tls(line, endpoint, host, tls, timeout) if tls else connect(line, endpoint, timeout)
        )
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        with connection.getresponse() as answer:
            data = answer.read(limit + 1)
            cookies = dict(
                pair
                for line_ in answer.headers.get_all("Set-Cookie") or []
                for pair in re.findall(r"^\s*([^=;\s]+)=([^;]*)", line_)
            )
            return Reply(
                answer.status,
                answer.reason,
                {name.lower(): value for name, value in answer.headers.items()},
                cookies,
                data[:limit],
                len(data) > limit,
            )
    except http.client.RemoteDisconnected:
        raise NoReply("closed", _CLOSED) from None
    except (http.client.HTTPException, ValueError) as error:
        raise NoReply("nonsense", f"no HTTP answer: {type(error).__name__} {error}") from None
    except OSError as error:
        raise no_reply(error) from None
    finally:
        connection.close()
        line.close()


def tls_context(look: Look) -> ssl.SSLContext:
    """The system's certificate authorities and the site's own. Raises CouldNotLook."""
    context = ssl.create_default_context()
    if file := look.site.platform.ca_file:
        try:
            context.load_verify_locations(cafile=file)
        except (OSError, ssl.SSLError) as error:
            raise CouldNotLook(
                f"platform.ca_file {file} cannot be read as certificates: {error}",
                next="Give a PEM file, or leave ca_file empty.",
            ) from None
    return context


async def public_endpoint(look: Look) -> Endpoint:
    """Where HTTPS of ``look.host`` is asked: its public address, or itself through SSH."""
    platform = look.site.platform
    if platform.public_through == "ssh":
        return await look.host.forward("127.0.0.1", platform.caddy_port)
    return Endpoint(look.host.machine.address, platform.caddy_port)


def redirect_path(reply: Reply, host: str) -> str | None:
    """Path and query a redirect leads to on the same site; None: no redirect, or elsewhere."""
    target = urlsplit(reply.headers.get("location", ""))
    if not 300 <= reply.status < 400 or (target.hostname or host) != host.partition(":")[0]:
        return None
    return (target.path or "/") + (f"?{target.query}" if target.query else "")
