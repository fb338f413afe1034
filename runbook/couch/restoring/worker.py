"""A restore as a process by itself, beside the data: ``python3 -m runbook.couch.restoring.worker``.

It is started as a job on a machine that has the dumps, reads its order from standard input (so that
the password stands in no argument, file or environment) and prints lines, which whoever watches it
reads (``heard``). What it says is not believed: afterwards the databases are looked at from outside.
Killed and started again with the same order, it sends what is missing.

Runs with what ``ship.py`` brings: nothing but runbook, couchdb and msgspec may be imported here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from runbook import __version__
from runbook.couch.client import Client, Refusal
from runbook.couch.reading.inspection import digest
from runbook.couch.reading.selection import Selection, Source
from runbook.couch.restoring.restore import Restoring, Result
from runbook.errors import ActionFailed, RunbookError
from runbook.secrets import Secret

#: seconds between two lines of progress
TICK = 1.0


class Node(msgspec.Struct, frozen=True):
    """A CouchDB node: its name for messages, and its address as the worker's machine sees it."""

    name: str
    url: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """``selections``: what is restored, with the dumps' paths on the worker's machine; ``digests``:
    path -> the digest that the dump there has to have."""

    nodes: tuple[Node, ...]
    user: str
    password: str
    selections: tuple[Selection, ...]
    digests: dict[str, str]


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    database: str
    documents: int
    expected: int
    bytes: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    database: str
    refusal: Refusal


class Done(msgspec.Struct, frozen=True, tag="done"):
    result: Result


class Trouble(msgspec.Struct, frozen=True, tag="problem"):
    what: str
    next: str = ""


Said = Progress | Refused | Done | Trouble
_said: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)


def heard(line: str) -> Said | None:
    """What a line of the worker's output says; None for any other line."""
    if not line.startswith('{"type":'):
        return None
    try:
        return _said.decode(line.encode())
    except (ValueError, RecursionError):
        return None


def _say(one: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(one) + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    """0 all sent, 1 documents refused or an error (printed); nothing is written before every dump
    was read and is the one that was chosen."""
    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return 0
    try:
        order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
        chosen = [_here(one, order.digests) for one in order.selections]
        password = Secret(order.password, "couchdb password")
        clients = [Client(node.url, order.user, password, node.name) for node in order.nodes]
        refused = sum(len(_restore(one, clients).refused) for one in chosen)
    except RunbookError as error:
        _say(Trouble(error.what, error.next))
        return 1
    except (OSError, ValueError) as error:
        _say(Trouble(f"{type(error).__name__}: {error}"))
        return 1
    return 1 if refused else 0


def _here(one: Selection, digests: dict[str, str]) -> Selection:
    """The selection, as the files on this machine are. Raises ActionFailed when they are others."""
    return replace(one, sources=tuple(_sources(one, digests)))


def _sources(one: Selection, digests: dict[str, str]) -> Iterator[Source]:
    for source in one.sources:
        path = Path(source.path)
        if digest(path) != digests[source.path]:
            raise ActionFailed(
                f"{path} is not the dump that was chosen. Nothing was restored.",
                next="Upload it again, or restore from this PC.",
            )
        status = path.stat()
        yield replace(source, size=status.st_size, modified=status.st_mtime_ns)


def _restore(one: Selection, clients: list[Client]) -> Result:
    work = Restoring(one, clients)
    over = threading.Event()

    def tell() -> None:
        while True:
            _say(Progress(one.database, work.docs, one.expected, work.bytes))
            if over.wait(TICK):
                return

    teller = threading.Thread(target=tell, name="progress")
    teller.start()
    try:
        result = work.run()
    finally:
        over.set()
        teller.join()
    _say(Progress(one.database, work.docs, one.expected, work.bytes))
    for refusal in result.refused:
        _say(Refused(one.database, refusal))
    _say(Done(replace(result, refused=())))
    return result


if __name__ == "__main__":
    sys.exit(main())
