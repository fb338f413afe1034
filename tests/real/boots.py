"""What the made CouchDB containers talk to: HTTP and TCP on the address that the VMs' network gives to
the test's own machine."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from configparser import ConfigParser
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from runbook.lab.couchdb import BootFailed
from tests.real.documents import Reply
from tests.real.vms import GATEWAY

Ini = Mapping[str, Mapping[str, str]]


def serve(answer: Callable[[BaseHTTPRequestHandler, bytes | None], Reply]) -> ThreadingHTTPServer:
    """An HTTP server in threads. An answer that raises OSError closes the connection."""

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


class Boots:
    """The control address: each container says its environment and its mounted settings there, and
    is told the port to relay its 5984 to. ``start`` raises BootFailed for one that ends at once."""

    def __init__(self, start: Callable[[str, Mapping[str, str], Ini], int]) -> None:
        self.seen: list[dict[str, str]] = []
        self._start = start
        self._server = serve(self._answer)

    @property
    def address(self) -> str:
        return f"{GATEWAY}:{self._server.server_address[1]}"

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes | None) -> Reply:
        return Reply(200, {}, self._boot((body or b"").decode()).encode())

    def _boot(self, text: str) -> str:
        head, _, ini_text = text.partition("---\n")
        env = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
        self.seen.append(dict(env))
        ini = ConfigParser(interpolation=None, strict=False)
        ini.optionxform = str  # type: ignore[assignment, method-assign]
        ini.read_string(ini_text)
        settings = {section: dict(ini[section]) for section in ini.sections()}
        try:
            return f"port={self._start(env.pop('VM_ADDRESS'), env, settings)}"
        except BootFailed as error:
            return f"CouchDB ended: {error}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Relay:
    """Every connection to ``port`` goes on to that place of the test's machine."""

    def __init__(self, host: str, port: int) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError), socket.create_connection((host, port), timeout=20) as onward:
                    onward.settimeout(None)
                    back = threading.Thread(target=_pump, args=(onward, self.request), daemon=True)
                    back.start()
                    _pump(self.request, onward)
                    back.join()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server((GATEWAY, 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """To the end of one direction; an end by force ends both."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
