"""What the verbs that only look have in common: the world opened, JSON of anything."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from textwrap import fill
from typing import Any, TypeVar

import msgspec

from runbook.errors import RunbookError
from runbook.looking import Looker, looker
from runbook.text import printable

T = TypeVar("T")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--run",
        dest="from_run",
        default="",
        metavar="RUN",
        help="take settings and machines from this run (practice: the lab)",
    )


def looked(args: argparse.Namespace, look: Callable[[Looker], Awaitable[T]]) -> T:
    """What ``look`` gives of the site, or of ``--run``."""

    async def go() -> T:
        async with looker(args.bench, args.from_run) as world:
            with suppress(RunbookError):  # then the backup VM is told as not known
                await world.hosts.learn()
            return await look(world)

    return asyncio.run(go())


def as_json(found: Any) -> str:
    """Names that are not UTF-8 become lone surrogate escapes, which JSON can hold."""
    return json.dumps(msgspec.to_builtins(found), indent=2)


def remark(mark: str, text: str) -> str:
    """A line below a table, for a terminal of 80 columns; paths stay whole."""
    return fill(
        f"{mark} {printable(text)}",
        80,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
