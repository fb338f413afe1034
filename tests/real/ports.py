"""Ports of loopback for servers."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Below the ports that the system gives to outgoing connections: it stays free for a server
    that starts a moment later, or that is stopped and started again."""
    for port in random.sample(range(20000, 32000), 200):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no free port")
