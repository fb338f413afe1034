"""The cloud of the real machines: a Unix socket on which OpenTofu's provisioners ask for servers.

One JSON line a request, one a reply, as the practice lab's client speaks it. The test's operator
asks here too, when it plays the registrar (``dns_point``).
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

Verb = Callable[[Mapping[str, str]], str]


class Cloud:
    """``verbs``: what can be asked for; what one returns is the answer, what it raises the error."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self.path = path

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                request = json.loads(self.rfile.readline())
                try:
                    answer = {"ok": verbs[request["verb"]](request)}
                except Exception as error:  # the provisioner has to see it, whatever it is
                    answer = {"error": f"{type(error).__name__}: {error}"}
                self.wfile.write(json.dumps(answer).encode() + b"\n")

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 20

        self._server = Server(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.path.unlink(missing_ok=True)


def ask(path: Path, verb: str, **fields: str) -> str:
    """From another process. Raises RuntimeError with what the cloud says."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(path))
        link.sendall(json.dumps({"verb": verb, **fields}).encode() + b"\n")
        with link.makefile("rb") as answers:
            answer = json.loads(answers.readline())
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return str(answer["ok"])
