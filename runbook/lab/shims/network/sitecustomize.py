"""A practice VM's network for Python programs that run on it: 10.0.1.10:5984 is a stand-in's port.

Python imports this by itself at its start. Real programs that connect out would meet this PC's
network; in the lab only Python's do not.
"""

import json
import os
import socket
from typing import Any

_real = socket.create_connection


def _port(host: str, port: int) -> Any:
    with socket.socket(socket.AF_UNIX) as lab:
        lab.connect(os.environ["RUNBOOK_LAB_SOCKET"])
        request = {"verb": "route", "vm": os.environ["RUNBOOK_LAB_VM"], "host": host, "port": port}
        lab.sendall(json.dumps(request).encode() + b"\n")
        for line in lab.makefile("rb"):
            answer = json.loads(line)
            if "ok" in answer:
                return answer["ok"]
    return None


def create_connection(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
    host, port = address
    found = _port(host, port)
    if found is None:
        raise ConnectionRefusedError(111, "Connection refused")
    return _real(("127.0.0.1", found), *args, **kwargs)


if "RUNBOOK_LAB_SOCKET" in os.environ:
    socket.create_connection = create_connection  # type: ignore[assignment]
