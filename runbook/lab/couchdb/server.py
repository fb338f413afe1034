"""A small HTTP/1.1 server on loopback: a thread a connection, keep-alive, chunked both ways."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from io import BufferedReader
from typing import cast

from runbook.lab.couchdb.errors import Dropped
from runbook.lab.couchdb.web import Reply, Request

Handler = Callable[[Request], Reply]

_CHUNK = 65536
_MAX_LINE = 1 << 20
_FIXED_ENDS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Server:
    """Listens from the start; ``close`` ends the listener and every live connection at once."""

    def __init__(self, handler: Handler, banner: str, port: int = 0) -> None:
        self._handler, self._banner = handler, banner
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, name=f"couchdb-{self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            live = list(self._open)
        with contextlib.suppress(OSError):  # wakes the accepting thread where shutdown does not
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        for sock in (self._listener, *live):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._thread is not threading.current_thread():
            self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closed:
                    sock.close()
                    return
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = cast(BufferedReader, sock.makefile("rb", _CHUNK))
            with reader:
                while not self._closed and self._one(sock, reader):
                    pass
        except (OSError, ValueError, Dropped):
            pass  # the peer or close() ended it, or it spoke no HTTP
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _one(self, sock: socket.socket, reader: BufferedReader) -> bool:
        """Serve one request; False when the connection is to end."""
        first = reader.readline(_MAX_LINE)
        if not first:
            return False
        method, target, version = first.decode("latin-1").split()
        headers = _headers(reader)
        if headers.get("expect", "").lower() == "100-continue":
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = Request(method, target, headers, _body(reader, headers))
        reply = self._handler(request)
        stay = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        self._send(sock, request, reply, stay)
        return stay

    def _send(self, sock: socket.socket, request: Request, reply: Reply, stay: bool) -> None:
        head = {
            "Server": self._banner,
            "Date": formatdate(usegmt=True),
            "Cache-Control": "must-revalidate",
            "Content-Type": reply.content_type,
            **reply.headers,
        }
        if not stay:
            head["Connection"] = "close"
        body = reply.body
        if isinstance(body, bytes):
            head["Content-Length"] = str(len(body))
        else:
            head["Transfer-Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}"]
        lines += [f"{name}: {value}" for name, value in head.items()]
        start = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        if request.method == "HEAD" or reply.status in _FIXED_ENDS:
            sock.sendall(start)
        elif isinstance(body, bytes):
            if len(body) < _CHUNK:
                sock.sendall(start + body)
            else:
                sock.sendall(start)
                sock.sendall(body)
        else:
            sock.sendall(start)
            for piece in body:
                sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            sock.sendall(b"0\r\n\r\n")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _headers(reader: BufferedReader) -> dict[str, str]:
    found: dict[str, str] = {}
    while True:
        line = reader.readline(_MAX_LINE)
        if line in (b"\r\n", b"\n"):
            return found
        if not line:
            raise ValueError("the request ended within its headers")
        name, _, value = line.decode("latin-1").partition(":")
        found[name.strip().lower()] = value.strip()


def _body(reader: BufferedReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return _exactly(reader, int(headers.get("content-length") or 0))
    pieces = []
    while size := int(reader.readline(_MAX_LINE).partition(b";")[0], 16):
        pieces.append(_exactly(reader, size))
        reader.readline(_MAX_LINE)
    _headers(reader)
    return b"".join(pieces)


def _exactly(reader: BufferedReader, size: int) -> bytes:
    data = reader.read(size) if size else b""
    if len(data) < size:
        raise ValueError("the request ended within its body")
    return data
