"""``runbook backup …``: each verb is a module beside this one."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runbook.workbench import Workbench

VERBS: tuple[str, ...] = ("list", "fetch", "verify", "retention", "safeguards")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="runbook backup",
        description="Backups: which there are, whether they are good, bringing one here, and keeping enough.",
        epilog="Exit codes: 0 all well, 1 something is wrong with a backup or missing, 2 wrong use or "
        "settings, 3 waits for a person, 4 could not look, 130 interrupted.",
    )
    verbs = top.add_subparsers(required=True, metavar="VERB")
    for name in VERBS:
        import_module(f"runbook.backup.cli.{name}").add(verbs)
    return top


def main(argv: list[str], bench: Workbench) -> int:
    """Returns the exit code. Raises RunbookError for the caller to show."""
    args = parser().parse_args(argv)
    args.bench = bench
    return int(args.run(args))
