"""Is a dump what the servers hold? Its files read to their end, its ids and revisions compared.

Databases go on living: what differs has to be among the changes since the dump's sequence, and
nothing else may.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from runbook.couch import changes
from runbook.couch.asking import Asking
from runbook.couch.comparing.alldocs import held
from runbook.couch.comparing.compare import aligned
from runbook.couch.reading import beside, inspection
from runbook.couch.reading.beside import Meta
from runbook.couch.reading.inspection import DumpDamaged
from runbook.couch.reading.reader import Problem, Reader
from runbook.couch.reading.selection import SERVER_MADE

#: from so many bytes on, documents are held in memory one at a time
LARGE = 4_000_000
#: differing ids looked up in the changes feed; more of them are a difference by themselves
_MOST = 100_000
_NAMED = 5


def problems(
    path: Path, database: str, asking: Asking, gate: AbstractContextManager[Any] | None = None
) -> list[str]:
    """What is wrong with the dump in that file, in words; empty for one that is proven. ``gate`` is
    entered while whole documents are held in memory. Blocks. Raises what ``Asking.ask`` does,
    DumpDamaged, OSError."""
    meta = beside.load(path)
    if meta is None:
        return [f"{path} was not dumped by this program: nothing tells of which sequence it is."]
    with gate or nullcontext():
        wrong = [problem.text for problem in inspection.inspect(path).problems if problem.kind != "stub"]
        wrong += _counted(path, meta)
    if wrong:
        return wrong
    with gate if gate and inspection.inspect(path).largest >= LARGE else nullcontext():
        differing = _unexplained(path, database, meta, asking)
    if differing:
        names = ", ".join(differing[:_NAMED]) + (", …" if len(differing) > _NAMED else "")
        wrong.append(
            f"{len(differing)} documents of {database} differ from the servers', though they did not change "
            f"since: {names}"
        )
    return wrong


def _counted(path: Path, meta: Meta) -> list[str]:
    """Are as many documents and attachments there as were dumped?"""
    found, attached = inspection.inspect(path), beside.attached_path(path)
    wrong = []
    if found.rows != meta.documents:
        wrong.append(f"{path} holds {found.rows} documents, not {meta.documents}.")
    stubs = next((problem.count for problem in found.problems if problem.kind == "stub"), 0)
    contents = inspection.inspect(attached) if attached.is_file() else None
    wrong += [problem.text for problem in contents.problems] if contents else []
    if (contents.rows if contents else 0) != meta.attached or stubs != meta.attached + meta.lacking:
        wrong.append(f"{attached} does not hold the attachments of {stubs} documents.")
    return wrong


def _unexplained(path: Path, database: str, meta: Meta, asking: Asking) -> Sequence[str]:
    """Ids that differ and are not among the changes since the dump's sequence."""
    differing: dict[str, None] = {}
    own, (first, *others) = SERVER_MADE.get(database), asking.clients
    with closing(held(first, database, others)) as listed:
        for row, there in aligned((row for row in _rows(path) if row.id != own), listed):
            if row is None or there is None or row.rev != there.rev:
                one = row or there
                assert one is not None
                differing[one.id] = None
                if len(differing) > _MOST:
                    return list(differing)
    if differing:
        for page in changes.pages(asking, database, meta.sequence):
            for change in page.results:
                differing.pop(change.id, None)
    return list(differing)


class _Row(NamedTuple):
    id: str
    rev: str


def _rows(path: Path) -> Iterator[_Row]:
    for found in Reader(path).batches():
        if isinstance(found, Problem):
            raise DumpDamaged(path, found)
        yield from map(_Row, found.ids, found.revs)
