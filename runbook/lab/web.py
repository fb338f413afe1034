"""A small HTTP server in a thread, for the stand-ins of the platform's services."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

BODY_LIMIT = 10_000_000
#: a client that says nothing for this many seconds is let go
IDLE = 30.0


class Request(msgspec.Struct, frozen=True):
    method: str
    path: str  #: still percent-encoded, with its query
    headers: Mapping[str, str]
    body: bytes


class Reply(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def text(cls, status: int, text: str) -> Reply:
        return cls(status, text.encode(), "text/plain; charset=utf-8")

    @classmethod
    def json(cls, status: int, value: Any) -> Reply:
        return cls(status, json.dumps(value, ensure_ascii=False).encode(), "application/json")


Answer = Callable[[Request], Reply]


class Web:
    """Serves ``answer`` on a loopback port of its own between start() and stop()."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self._answer, self._context = answer, context
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.log: list[str] = []

    @property
    def port(self) -> int | None:
        return self._server.server_address[1] if self._server else None

    def start(self) -> None:
        answer, context, log = self._answer, self._context, self.log

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            server_version, sys_version = "openedx", "practice-lab"
            timeout = IDLE

            def setup(self) -> None:
                if context is not None:
                    self.request.settimeout(IDLE)
                    self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def do_GET(self) -> None:
                length = min(int(self.headers.get("Content-Length") or 0), BODY_LIMIT)
                body = self.rfile.read(length) if length else b""
                try:
                    reply = answer(Request(self.command, self.path, dict(self.headers.items()), body))
                except Exception as error:
                    reply = Reply.text(500, f"the practice lab failed to answer: {error!r}")
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.type)
                self.send_header("Content-Length", str(len(reply.body)))
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_POST = do_HEAD = do_PUT = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                log.append(f"{self.command} {self.path.partition('?')[0]} {args[1] if len(args) > 1 else ''}")
                del log[:-500]

            def log_error(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that went away, or would not shake hands

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            server.server_close()
            self._thread.join(5)
