"""``runbook couchdb compare``: two sides, database by database; nothing is written anywhere."""

from __future__ import annotations

import argparse
import asyncio
import copy
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from runbook.couch.cli import servers
from runbook.couch.client import RequestRefused
from runbook.couch.comparing import sides, sources
from runbook.couch.comparing.compare import NAMED, Comparison, Told, compare, proven
from runbook.couch.comparing.differences import Report, table
from runbook.couch.comparing.sources import Source
from runbook.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_UNKNOWN,
    CouldNotLook,
    HostError,
    RunbookError,
)
from runbook.text import printable


def add(verbs: Any) -> None:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "compare",
        help="compare a backup with servers, servers with each other, or two backups",
        description="Ids and revisions of all documents, with --bodies their contents too. A side is a "
        "backup's folder, a dump, or the address of a server (several nodes of one cluster separated by "
        "commas).",
        epilog="Exit codes: 0 equal, 1 different, 2 wrong use, 4 could not look.",
    )
    parser.add_argument("left", metavar="LEFT")
    parser.add_argument("right", metavar="RIGHT", nargs="?", default="", help="default: the site's cluster")
    parser.add_argument("--bodies", action="store_true", help="compare the contents of all documents too")
    parser.add_argument("--json", action="store_true", help="every difference by id, as JSON")
    parser.add_argument(
        "--database",
        action="append",
        default=[],
        metavar="NAME",
        help="only this one; NAME=OTHER compares it with one of another name on the right; repeatable",
    )
    servers.options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        return asyncio.run(_run(args))
    except (HostError, RequestRefused, CouldNotLook) as error:
        error.exit_code = EXIT_UNKNOWN
        raise


async def _run(args: argparse.Namespace) -> int:
    async with _source(args, args.left) as left, _source(args, args.right) as right:
        return await asyncio.to_thread(_compare, args, left, right)


@asynccontextmanager
async def _source(args: argparse.Namespace, words: str) -> AsyncIterator[Source]:
    if words and "://" not in words:
        yield sources.Dumps(Path(words), servers.base(args))
        return
    asked = copy.copy(args)
    if words:  # settings of its own, which know of nothing but these nodes
        asked.url, asked.bench = [words], copy.copy(args.bench)
    async with servers.opened(asked) as clients:
        yield sources.Cluster(list(clients.values()), words or ", ".join(clients))


def _compare(args: argparse.Namespace, left: Source, right: Source) -> int:
    wanted = [one.partition("=")[::2] for one in args.database] or [
        (name, "") for name in sources.names(left, right)
    ]
    found: list[Comparison] = []
    problems: dict[str, RunbookError] = {}
    with nullcontext(sys.stdout.buffer) if args.json else Path(os.devnull).open("wb") as file:
        report = Report(file, left.title, right.title)
        for name, other in wanted:
            if sys.stderr.isatty():
                print(f"{printable(name)} …", file=sys.stderr)
            entry = report.entry(name)
            try:
                one = _one(left, right, name, other or name, args.bodies, entry.told)
            except RunbookError as error:
                problems[name] = error
                entry.failed(str(error))
            else:
                found.append(one)
                entry.ended(one)
        same = all(one.same for one in found)
        report.close(same and not problems)
    if not args.json:
        _show(left, right, found)
    for name, problem in problems.items():
        print(f"runbook: {printable(name)} could not be compared: {printable(str(problem))}", file=sys.stderr)
    return EXIT_FAILED if not same else EXIT_UNKNOWN if problems else EXIT_OK


def _one(left: Source, right: Source, name: str, other: str, bodies: bool, told: Told) -> Comparison:
    one, two = left.side(name), right.side(other)
    if one is None and two is None:
        raise CouldNotLook(f"There is no database {name} on either side.")
    sample = None if bodies else 0
    return compare(name, one or sides.nothing(), two or sides.nothing(), sample=sample, told=told)


def _show(left: Source, right: Source, found: list[Comparison]) -> None:
    print(f"left:  {printable(left.title)}\nright: {printable(right.title)}\n")
    print(table(found, "left", "right"))
    differ = [one for one in found if not one.same]
    for one in differ:
        print(f"\n{printable(f'{one.database}: {one.words()}')}")
    if any(max(one.missing, one.extra, one.other, one.differing) > NAMED for one in differ):
        print("\nAll of them by id: the same with --json.")
    verdict = "Different" if differ else "Equal"
    print(f"\n{verdict}: {proven(found)}.")
