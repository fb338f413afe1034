"""A proxy that spoils HTTP exchanges: at moments a test chooses, or by chance from a seed.

It stands between a client and one server, in threads of the test's process. A fault is one of

    reset      the connection is reset; the server never hears of the request
    half       the server gets half of the request, then both connections are reset
    deaf       the server carries the request out, and the connection is reset before any answer
    cut        the same after half of the answer
    slow       the answer comes a little late
    hang       nothing comes, until the proxy is closed or ``release`` is called
    429, 500 … that answer, and the server never hears of the request
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

from runbook.couch.client import Client
from runbook.secrets import Secret

Fault = str | int | None
SLOW = 0.05
_LINE = 1 << 16


class Exchange(NamedTuple):
    """One request, numbered from 1."""

    number: int
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def writes(self) -> bool:
        return self.method in ("PUT", "POST", "DELETE")


class Chance:
    """Faults by chance: ``share`` of the exchanges have one of ``faults``. The same seed makes the same
    choices, one exchange after the other."""

    def __init__(self, seed: int, share: float, faults: tuple[Fault, ...]) -> None:
        self._random, self._share, self._faults = random.Random(seed), share, faults
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> Fault:
        with self._lock:
            spoiled = self._random.random() < self._share
            return self._random.choice(self._faults) if spoiled else None


class Proxy:
    """``choose`` says for each exchange what goes wrong with it; ``faults`` counts what did.
    ``after`` is called with each exchange the server has answered, before the client knows."""

    def __init__(
        self,
        url: str,
        choose: Callable[[Exchange], Fault] = lambda exchange: None,
        after: Callable[[Exchange], None] = lambda exchange: None,
    ) -> None:
        parts = urlsplit(url)
        self._to = (str(parts.hostname), parts.port or 80)
        self.choose, self.after = choose, after
        self.faults: Counter[Fault] = Counter()
        self.exchanges = 0
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._open: set[socket.socket] = set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def client(self, like: Client) -> Client:
        """One that does what ``like`` does, through here. The caller closes it."""
        return Client(self.url, like.user, Secret(like._password.reveal(), "password"), like.node)

    def release(self) -> None:
        """Let what hangs go on to its end: a reset."""
        self._released.set()

    def close(self) -> None:
        self._closed = True
        self.release()
        with suppress(OSError):  # wakes the accepting thread
            socket.create_connection(self._listener.getsockname(), 1).close()
        self._listener.close()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(link)
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        server = http.client.HTTPConnection(*self._to, timeout=120)
        try:
            with link.makefile("rb") as reader:
                while (
                    not self._closed
                    and (exchange := self._read(reader))
                    and self._pass(link, server, exchange)
                ):
                    pass
        except (OSError, ValueError, http.client.HTTPException):
            _reset(link)
        finally:
            server.close()
            link.close()
            self._open.discard(link)

    def _read(self, reader: BinaryIO) -> Exchange | None:
        first = reader.readline(_LINE).decode("latin-1").split()
        if not first:
            return None
        headers: dict[str, str] = {}
        while (line := reader.readline(_LINE).decode("latin-1")) not in ("\r\n", "\n", ""):
            name, _, value = line.partition(":")
            headers[name.strip()] = value.strip()
        length = int(next((v for k, v in headers.items() if k.lower() == "content-length"), 0))
        body = reader.read(length)
        if len(body) < length:
            return None  # the client was killed
        with self._lock:
            self.exchanges += 1
            return Exchange(self.exchanges, first[0], first[1], headers, body)

    def _pass(self, link: socket.socket, server: http.client.HTTPConnection, exchange: Exchange) -> bool:
        """Carry one exchange over; False when the connection is at its end."""
        fault = self.choose(exchange)
        with self._lock:
            self.faults[fault] += fault is not None
        if isinstance(fault, int):
            said = json.dumps({"error": "made_on_purpose", "reason": "by the proxy"}).encode()
            _answer(link, fault, {"Content-Type": "application/json"}, said)
            return True
        if fault == "hang":
            self._released.wait()
        if fault in ("reset", "hang"):
            _reset(link)
            return False
        if fault == "half":
            self._send_half(exchange)
            _reset(link)
            return False
        server.request(exchange.method, exchange.target, exchange.body or None, dict(exchange.headers))
        reply = server.getresponse()
        body = reply.read()
        self.after(exchange)
        if fault == "deaf":
            _reset(link)
            return False
        if fault == "slow":
            self._released.wait(SLOW)
        kept = {k: v for k, v in reply.getheaders() if k.lower() in ("content-type", "location", "etag")}
        _answer(link, reply.status, kept, body, cut=fault == "cut", head=exchange.method == "HEAD")
        return fault != "cut"

    def _send_half(self, exchange: Exchange) -> None:
        with socket.create_connection(self._to, 20) as server:
            lines = [f"{exchange.method} {exchange.target} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in exchange.headers.items()]
            whole = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + exchange.body
            server.sendall(whole[: len(whole) // 2])
            _reset(server)


def _answer(
    link: socket.socket,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    cut: bool = False,
    head: bool = False,
) -> None:
    lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    whole = "\r\n".join([*lines, f"Content-Length: {len(body)}"]).encode("latin-1") + b"\r\n\r\n"
    whole += b"" if head else body
    link.sendall(whole[: len(whole) // 2] if cut else whole)
    if cut:
        _reset(link)


def _reset(link: socket.socket) -> None:
    """Close so that the other side is told of a reset."""
    with suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # a file made of the socket keeps it open: shut both ways as well
        link.shutdown(socket.SHUT_RDWR)
    link.close()
