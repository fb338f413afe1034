"""A verification as a process by itself, beside the backup: ``python3 -m runbook.backup.verifying.worker``.

It is started as a job on the backup VM, reads its order from standard input and prints lines, which
whoever watches it reads (``heard``). It changes nothing but the record of verifications beside the
backups, and writes the list of SHA-256s there if it is told to.

Runs with what ``hosts/ship.py`` brings: nothing but runbook and msgspec may be imported here.
"""

from __future__ import annotations

import os
import sys
import time

import msgspec

from runbook import __version__
from runbook.backup.verifying.report import Order, Report, carry_out
from runbook.errors import RunbookError

#: seconds between two lines of progress
TICK = 1.0


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    done: int
    total: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    report: Report


class Trouble(msgspec.Struct, frozen=True, tag="problem"):
    what: str
    next: str = ""


Said = Progress | Done | Trouble
_said: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)


def heard(line: bytes) -> Said | None:
    """What a line of the worker's output says; None for any other line."""
    if not line.startswith(b'{"type":'):
        return None
    try:
        return _said.decode(line)
    except (ValueError, RecursionError):
        return None


def _say(one: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(one) + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    """0 it was verified, whatever was found; 1 it could not be."""
    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return 0
    os.nice(10)  # backups are made there, too
    said = 0.0

    def tick(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= TICK:
            said = time.monotonic()
            _say(Progress(done, total))

    try:
        order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
        _say(Done(carry_out(order, tick)))
    except RunbookError as error:
        _say(Trouble(error.what, error.next))
        return 1
    except (OSError, ValueError) as error:
        _say(Trouble(f"{type(error).__name__}: {error}"))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
