"""What is lost when a damaged dump is left out: what can still be read in it, against the sound ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from runbook.couch.reading.overlap import merged
from runbook.couch.reading.reader import Problem, Reader, Row, revision

#: ids named
_NAMED = 10


def words(damaged: Path, sound: Sequence[Path]) -> str:
    """For a person. Raises DumpDamaged when one of ``sound`` is not, OSError."""
    reader = Reader(damaged)
    count, ids = 0, list[str]()
    for row in _only(_readable(reader), merged(list(sound))):
        count += 1
        ids += [row.id] if len(ids) < _NAMED else []
    announced = f" of the {reader.total_rows} rows it announces" if reader.total_rows is not None else ""
    text = f"{reader.rows}{announced} can be read; "
    if count:
        names = ", ".join(ids) + (", …" if count > len(ids) else "")
        text += (
            f"{count} of them are in no other copy, or newer than there: {names}. They are lost without it"
        )
    else:
        text += "all of them are in the other copies, as new or newer"
    return f"{text}. What could not be read in it may be in no other."


def _readable(reader: Reader) -> Iterator[Row]:
    """Rows as far as their order tells what they are."""
    last = ""
    for item in reader:
        if not isinstance(item, Problem) and item.id > last:
            last = item.id
            yield item


def _only(rows: Iterator[Row], others: Iterator[Row]) -> Iterator[Row]:
    """Those that are not among ``others`` in that revision or a newer one."""
    other = next(others, None)
    for row in rows:
        while other is not None and other.id < row.id:
            other = next(others, None)
        if other is None or other.id != row.id or revision(other.rev) < revision(row.rev):
            yield row
