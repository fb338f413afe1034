"""A dump with what lies beside it: documents whose attachments are there lack nothing."""

from __future__ import annotations

from contextlib import closing
from functools import lru_cache
from pathlib import Path

from msgspec.structs import replace

from runbook.couch.reading import beside
from runbook.couch.reading.inspection import NAMED, DumpDamaged, Inspection, inspect, rows, stub_text
from runbook.couch.reading.reader import Problem


def judge(path: Path, limit: int = 0) -> Inspection:
    """``inspect``, and what lies beside the dump is read too; damage there is damage. Raises OSError
    when the dump cannot be read."""
    found = inspect(path, limit)
    try:
        meta = beside.load(path)
        if meta is not None:  # it tells whether the database is partitioned
            remarks = tuple(one for one in found.remarks if one.kind != "partitioned")
            found = replace(found, remarks=remarks)
        stubs = found.problem("stub")
        if stubs and not found.fatal and beside.attached_path(path).is_file():
            status = beside.attached_path(path).stat()
            left = _lacking(path, found.bytes, status.st_size, status.st_mtime_ns)
            problems = tuple(left if one is stubs else one for one in found.problems)
            found = replace(found, problems=tuple(one for one in problems if one is not None))
    except DumpDamaged as damage:
        found = replace(found, problems=(damage.problem, *found.problems))
    return found


@lru_cache(maxsize=256)
def _lacking(path: Path, *stamp: int) -> Problem | None:
    """The documents whose attachments lie nowhere. ``stamp``: of the files, so that they are read
    once a process."""
    count, ids = 0, list[str]()
    with closing(rows(path)) as all:
        for row in beside.whole(path, all):
            if row.stubs:
                count += 1
                ids += [row.id] if len(ids) < NAMED else []
    names = ", ".join(ids) + (", …" if count > len(ids) else "")
    return Problem("stub", stub_text(count, names), count, tuple(ids)) if count else None
