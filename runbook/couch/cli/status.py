"""``runbook couchdb status``: the cluster as it stands, also when some of it is down."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import msgspec
from tabulate import tabulate

from runbook import units
from runbook.couch import status
from runbook.couch.cli import servers
from runbook.couch.status import Database, Node, Status
from runbook.errors import EXIT_FAILED, EXIT_OK, EXIT_UNKNOWN, CouldNotLook, HostError
from runbook.text import printable

_NODES = ("machine", "node", "version", "state", "connected", "jobs")
_DATABASES = ("database", "documents", "deleted", "size", "shards", "copies", "copies behind")


def add(verbs: Any) -> None:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "status",
        help="nodes, databases, copies of shards, conflicts",
        description="Every node is asked for its members, settings and work, every copy of every shard for "
        "what it holds. Nodes that do not answer are told with the reason.",
        epilog="Exit codes: 0 all well, 1 something is not as it should be, 2 wrong use, 4 no node answers.",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    servers.options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        found = asyncio.run(_look(args))
    except (CouldNotLook, HostError) as error:
        error.exit_code = EXIT_UNKNOWN
        raise
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _show(found)
    return EXIT_FAILED if found.problems else EXIT_OK


async def _look(args: argparse.Namespace) -> Status:
    silent: dict[str, str] = {}
    async with servers.opened(args, silent) as clients:
        return await status.look(clients, silent)


def _show(found: Status) -> None:
    print(tabulate([_of_node(one) for one in found.nodes], headers=_NODES))
    print("\n" + tabulate([_of_database(one) for one in found.databases], headers=_DATABASES))
    if found.conflicts is not None:
        print(f"\n{printable(found.conflicts.words() or 'no document of _users is in conflict')}")
    for problem in found.problems:
        print(f"! {printable(problem)}")
    print("\n" + ("Not as it should be: see above." if found.problems else "All well."))


def _of_node(one: Node) -> tuple[Any, ...]:
    connected = f"{len(one.connected)} of {len(one.listed)}" if not one.problem else ""
    cells = (one.machine, one.name, one.version, one.state, connected)
    return *map(printable, cells), "" if one.backlog is None else one.backlog


def _of_database(one: Database) -> tuple[Any, ...]:
    copies = "?" if one.copies is None else f"{one.copies} of {one.n}"
    size = units.size(one.size)
    return printable(one.name), one.documents, one.deleted, size, one.q, copies, len(one.lag) or ""
