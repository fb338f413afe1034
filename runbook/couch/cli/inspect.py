"""``runbook couchdb inspect``: dumps read to their end, judged, and the nodes' copies compared."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from tabulate import tabulate

from runbook import units
from runbook.couch.cli import servers
from runbook.couch.reading import assessment
from runbook.couch.reading.assessment import Assessed
from runbook.couch.reading.inspection import Inspection
from runbook.errors import EXIT_FAILED, EXIT_OK, RunbookError
from runbook.text import printable

_DUMPS = ("database", "copy", "documents", "announced", "size", "found")
_CHOICES = ("database", "would be restored", "why")
#: width of what is wrapped in a table
_WIDTH = 50


def add(verbs: Any) -> None:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "inspect",
        help="read dumps to their end and say what is wrong with them",
        description="Every row is read, whatever the layout, compressed or not. Several nodes' dumps of a "
        "database are compared, and what a restore would take of them is told, with the reason.",
        epilog="Exit codes: 0 sound, 1 a dump is damaged or holds fewer rows than it announces, 2 wrong use.",
    )
    parser.add_argument("dumps", metavar="DUMP", nargs="+", type=Path, help="a file, or a backup's folder")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--limit",
        metavar="BYTES",
        type=_bytes,
        default=0,
        help="the servers' max_document_size (8000000 unless it was set): larger documents are named",
    )
    parser.set_defaults(run=run)


def _bytes(text: str) -> int:
    try:
        return units.parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(args: argparse.Namespace) -> int:
    found, base = [], servers.base(args)
    dumps = assessment.gather([path.expanduser() for path in args.dumps])
    for database, copies in dumps.items():
        if sys.stderr.isatty():
            print(f"{printable(database)} …", file=sys.stderr)
        try:
            found.append(assessment.assess(database, copies, limit=args.limit, base=base))
        except OSError as error:
            raise RunbookError(f"{error.filename or database} cannot be read: {error.strerror}.") from None
    damaged = any(one.damaged for one in found)
    if args.json:
        report = {"sound": not damaged, "limit": args.limit or None, "databases": found}
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _show(found)
    return EXIT_FAILED if damaged else EXIT_OK


def _show(found: list[Assessed]) -> None:
    rows = [_row(one.database, node, copy) for one in found for node, copy in one.copies.items()]
    print(tabulate(rows, headers=_DUMPS))
    for copy in (copy for one in found for copy in one.copies.values()):
        for mark, problems in (("!", copy.problems), ("-", copy.remarks)):
            for problem in problems:
                print(f"\n{mark} {printable(copy.path)}\n  {printable(problem.text)}")
    if len(rows) > 1:  # of a single dump there is nothing to choose
        choices = [_choice(one) for one in found]
        print("\n" + tabulate(choices, headers=_CHOICES, maxcolwidths=[None, None, _WIDTH]))
    damaged = [one.database for one in found if one.damaged]
    print(f"\n{_said(damaged) if damaged else 'Sound: every row of every dump was read.'}")


def _row(database: str, node: str, one: Inspection) -> tuple[Any, ...]:
    announced = "" if one.total_rows is None else one.total_rows
    kinds = ", ".join(dict.fromkeys(p.kind.replace("_", " ") for p in (*one.problems, *one.remarks)))
    return printable(database), printable(node), one.rows, announced, units.size(one.bytes), kinds or "sound"


def _choice(one: Assessed) -> tuple[str, str, str]:
    if one.chosen:
        nodes = ", ".join(source.node for source in one.chosen.sources)
        documents = f"{one.chosen.expected} documents of {nodes}"
        return printable(one.database), printable(documents), printable(one.chosen.note)
    if one.question:
        return printable(one.database), "a person has to choose", printable(one.question.text)
    return printable(one.database), "nothing", printable(one.refused)


def _said(damaged: Iterable[str]) -> str:
    return f"Damaged: {printable(', '.join(damaged))}."
