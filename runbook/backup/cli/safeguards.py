"""``runbook backup safeguards``: is the last line of defence safe? What is due is asked on a terminal."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from textwrap import fill
from typing import Any

from tabulate import tabulate

from runbook import catalog
from runbook.backup.cli.looked import as_json, looked, options
from runbook.backup.safeguards import answers, seen
from runbook.errors import EXIT_FAILED, EXIT_OK, EXIT_UNKNOWN, EXIT_WAITS, RunbookError
from runbook.events import CheckDone
from runbook.guide.calls import parse_call
from runbook.looking import STEP, Looker
from runbook.running.judge import judge
from runbook.text import printable
from runbook.whoami import operator, this_pc

#: of the table, on a terminal of 80 columns
_WIDTHS = (None, 14, 53)


def add(verbs: Any) -> None:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "safeguards",
        help="is the local copy safe, and are there others? asks what is due",
        description="Looks at what a program can see: encryption of the device, a second copy and whether it "
        "is equal and detached, permissions, the last verification, OpenTofu's state. What only a person "
        "knows is asked once a quarter on a terminal, and kept with name and date. Write no secret into an "
        "answer.",
        epilog="Exit codes: 0 all well, 1 something is not safe, 2 wrong use or settings, 3 a question is "
        f"due, 4 could not look. The keys of questions: {', '.join(answers.QUESTIONS)}.",
    )
    options(parser)
    parser.add_argument(
        "--answer",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "TEXT"),
        help='answer a question: where or how it is done; a text that begins with "no" says that it is not',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    _record(args, args.answer)
    done = looked(args, lambda world: _judge(world, _names()))
    asking = not args.json and not args.answer and sys.stdin.isatty() and sys.stdout.isatty()
    if asking and (given := _ask([one for one in done if _due(one)])):
        _record(args, given)
        names = [f"safeguard.{key}" for key, _ in given]
        again = {one.check: one for one in looked(args, lambda world: _judge(world, names))}
        done = [again.get(one.check, one) for one in done]
    print(as_json(done) if args.json else text(done))
    return exit_code(done)


def _names() -> list[str]:
    return [name for name in catalog.check_names() if name.startswith("safeguard.")]


async def _judge(world: Looker, names: Sequence[str]) -> list[CheckDone]:
    calls = [parse_call(name) for name in names]
    return [one async for one in judge(world, STEP, 0, "after", calls, ())]


def exit_code(done: Sequence[CheckDone]) -> int:
    if any(one.verdict == "fail" for one in done):
        return EXIT_FAILED
    if any(map(_due, done)):
        return EXIT_WAITS
    return EXIT_UNKNOWN if any(one.verdict == "unknown" for one in done) else EXIT_OK


def _key(one: CheckDone) -> str:
    return one.check.removeprefix("safeguard.")


def _due(one: CheckDone) -> bool:
    """Would an answer tell what could not be looked at?"""
    return one.verdict == "unknown" and one.observed.startswith(answers.DUE)


# ── questions ──────────────────────────────────────────────────────────────────────────────
def _record(args: argparse.Namespace, given: Sequence[Sequence[str]]) -> None:
    """Every answer is looked at before the first one is kept."""
    if not given:
        return

    async def keep(world: Looker) -> None:
        look = await world.here()
        name, now = look.site.name, look.clock.now()
        made = [answers.made(name, key, said, now, operator(look.site), this_pc()) for key, said in given]
        for one in made:
            await asyncio.to_thread(answers.add, seen.state_folder(look), one)

    looked(args, keep)


def _ask(due: Sequence[CheckDone]) -> list[tuple[str, str]]:
    """One by one; enter leaves a question for later, the end of input all that are left."""
    given = []
    if due:
        print("Only you can tell this. Where or how, in a line; no secrets. Enter: later.", file=sys.stderr)
    for one in due:
        print("\n" + fill(answers.QUESTIONS[_key(one)], 78), file=sys.stderr)
        for line in one.evidence.splitlines():
            if not line.startswith(answers.NEVER):
                print(fill(printable(line), 78, initial_indent="  ", subsequent_indent="  "), file=sys.stderr)
        try:
            said = input("> ").strip()
        except EOFError:
            break
        try:
            if said:
                answers.checked(_key(one), said)
                given.append((_key(one), said))
        except RunbookError as error:
            print(f"Not kept: {error}", file=sys.stderr)
    return given


# ── for a terminal of 80 columns ───────────────────────────────────────────────────────────
def text(done: Sequence[CheckDone]) -> str:
    rows = [(one.verdict.upper(), _key(one), printable(one.observed, limit=600)) for one in done]
    table = tabulate(rows, headers=("verdict", "safeguard", "observed"), maxcolwidths=list(_WIDTHS))
    due = [_key(one) for one in done if _due(one)]
    if not due:
        return table
    asked = [
        fill(f"{key}: {answers.QUESTIONS[key]}", 78, initial_indent="  ", subsequent_indent="    ")
        for key in due
    ]
    how = 'Answer on a terminal, or: runbook backup safeguards --answer KEY "where or how"'
    count = "1 question is" if len(due) == 1 else f"{len(due)} questions are"
    return "\n".join([table, "", f"{count} due:", *asked, how])
