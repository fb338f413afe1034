"""What a comparison found: a table for a person, and every difference by id, as JSON that is written
while they are found.

One object: ``left``, ``right``, ``databases``, ``same``. Of each database first the ``differences``,
then the counts of its Comparison; or the ``problem`` for which it could not be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import msgspec
from tabulate import tabulate

from runbook.couch.comparing.compare import Comparison, Difference
from runbook.text import printable

_NAMES = tuple(name for name in Comparison.__struct_fields__ if name.startswith("first_"))


class Report:
    """``entry`` for each database, one after the other, then ``close``. Raises OSError."""

    def __init__(self, file: BinaryIO, left: str, right: str) -> None:
        self._file, self._first = file, True
        file.write(b'{"left":%b,"right":%b,"databases":[' % (_text(left), _text(right)))

    def close(self, same: bool) -> None:
        self._file.write(b'\n],"same":%b}\n' % _text(same))

    def entry(self, database: str) -> Entry:
        self._file.write(b"\n" if self._first else b",\n")
        self._first = False
        return Entry(self._file, database)


class Entry:
    """One database: ``told`` each difference, then ``ended`` or ``failed``."""

    def __init__(self, file: BinaryIO, database: str) -> None:
        self._file, self._count = file, 0
        file.write(b'{"database":%b,"differences":[' % _text(database))

    def told(self, one: Difference) -> None:
        self._file.write(b"%b\n%b" % (b"," if self._count else b"", _text(one)))
        self._count += 1

    def ended(self, found: Comparison) -> None:
        counts = {k: v for k, v in msgspec.to_builtins(found).items() if k not in (*_NAMES, "database")}
        self._file.write(b"],%b}" % _text(counts | {"same": found.same})[1:-1])

    def failed(self, problem: str) -> None:
        self._file.write(b'],"problem":%b}' % _text(problem))


_text = msgspec.json.encode


def table(found: Sequence[Comparison], left: str = "expected", right: str = "actual") -> str:
    """A line for each database; ``left`` and ``right`` head the numbers of documents."""
    rows = [
        (one.database, one.expected, one.actual, one.missing, one.extra, one.other, one.bodies, one.differing)
        for one in found
    ]
    heads = ("database", left, right, "missing", "extra", "other rev.", "contents", "differing")
    return tabulate([(printable(name), *counts) for name, *counts in rows], headers=heads)
