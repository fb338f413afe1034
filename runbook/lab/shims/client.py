"""Asks the lab's daemon from a program that is not part of it (OpenTofu's cloud). Only the standard
library, started with -S -E -s.

    client.py SOCKET VERB [NAME=VALUE...]
"""

import json
import os
import socket
import sys


def main(path: str, verb: str, *items: str) -> int:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        print("the practice lab is not running", file=sys.stderr)
        return 125
    request = {"verb": verb, **dict(item.split("=", 1) for item in items)}
    connection.sendall(json.dumps(request).encode() + b"\n")
    with connection.makefile("rb") as answers:
        for line in answers:
            answer = json.loads(line)
            if "error" in answer:
                print(answer["error"], file=sys.stderr)
                return 1
            if answer["ok"] is not None:
                print(answer["ok"])
            return 0
    print("the practice lab ended", file=sys.stderr)
    return 125


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(141)
