"""What `docker` and `docker-compose` are on a practice VM: asks the lab's daemon, prints what it says.

    engine.py SOCKET VM PROGRAM [ARGUMENT...]

A look at a VM is dozens of these, so it starts as quickly as a real one: with -S -E -s, and without
`json` and `socket`, which alone take longer than all the rest. Both ends are the same Python, so
messages are marshalled, each with its length in four bytes before it.
"""

import marshal
import os
import sys
from _socket import AF_UNIX, MSG_WAITALL, socket


def main(path: str, vm: str, program: str, *argv: str) -> int:
    connection = socket(AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        print("the practice lab is not running", file=sys.stderr)
        return 125
    request = {
        "vm": vm,
        "program": program,
        "argv": list(argv),
        "cwd": os.getcwd(),  # noqa: PTH109 - pathlib costs 10 ms
        "environment": dict(os.environ),
    }
    message = marshal.dumps(request)
    connection.sendall(len(message).to_bytes(4, "big") + message)
    while size := connection.recv(4, MSG_WAITALL):
        answer = marshal.loads(connection.recv(int.from_bytes(size, "big"), MSG_WAITALL))
        if "exit" in answer:
            return int(answer["exit"])
        if "error" in answer:
            print(answer["error"], file=sys.stderr)
            return 1
        for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
            if name in answer:
                stream.write(answer[name])
                stream.flush()
    print("the practice lab ended", file=sys.stderr)
    return 125


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(141)
