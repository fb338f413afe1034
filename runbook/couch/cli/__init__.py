"""``runbook couchdb …``: the CouchDB tools by themselves; each verb is a module beside this one."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runbook.workbench import Workbench

#: module -> its verbs (``run`` has those that are runs of one step)
VERBS = ("status", "inspect", "compare", "run")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="runbook couchdb",
        description="The CouchDB tools by themselves: at addresses given with --url, else at the site's "
        "nodes through SSH. inspect, compare and status look only; dump, restore, setup and join are runs of "
        "one step, with plan, question, checks, journal and report.",
        epilog="Exit codes: 0 all well, 1 something differs, is damaged or was refused, 2 wrong use or "
        "settings, 3 waits for a person, 4 could not look.",
    )
    verbs = top.add_subparsers(required=True, metavar="VERB")
    for name in VERBS:
        import_module(f"runbook.couch.cli.{name}").add(verbs)
    return top


def main(argv: list[str], bench: Workbench) -> int:
    """Returns the exit code. Raises RunbookError for the caller to show."""
    args = parser().parse_args(argv)
    args.bench = bench
    return int(args.run(args))
