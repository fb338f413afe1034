"""What the shims of a practice VM run: asks the lab's daemon, prints what it says. Only the
standard library, started with -S -E -s, so that a `docker ps` stays as quick as a real one.

    client.py SOCKET docker VM PROGRAM [ARGUMENT...]
    client.py SOCKET VERB [NAME=VALUE...]
"""

import json
import os
import socket
import sys


def main(argv: list[str]) -> int:
    path, verb, *rest = argv
    if verb == "docker":
        request = {
            "verb": verb,
            "vm": rest[0],
            "program": rest[1],
            "argv": rest[2:],
            "cwd": os.getcwd(),  # noqa: PTH109 - pathlib costs 10 ms
            "environment": dict(os.environ),
        }
    else:
        request = {"verb": verb, **dict(item.split("=", 1) for item in rest)}
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        print("the practice lab is not running", file=sys.stderr)
        return 125
    connection.sendall(json.dumps(request).encode() + b"\n")
    with connection.makefile("rb") as answers:
        for line in answers:
            answer = json.loads(line)
            if "exit" in answer:
                return int(answer["exit"])
            if "error" in answer:
                print(answer["error"], file=sys.stderr)
                return 1
            if "out" in answer:
                sys.stdout.write(answer["out"])
                sys.stdout.flush()
            elif "err" in answer:
                sys.stderr.write(answer["err"])
                sys.stderr.flush()
            elif "ok" in answer:
                if answer["ok"] is not None:
                    print(answer["ok"])
                return 0
    print("the practice lab ended", file=sys.stderr)
    return 125


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(141)
