"""Which of the nodes' copies of a database is restored.

Each node dumped what it saw. In a cluster the copies are equal, or some lag behind by the newest
writes: then their union, with the newest revision of each document, is the most complete state.
Nodes that never formed a cluster hold different documents under one name: their union is no
state that ever was. ``openedx_<n>`` then belongs to node n; for the others a person has to say.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import groupby, repeat
from pathlib import Path
from typing import Literal

import msgspec

from runbook.couch.inspection import DumpDamaged, Inspection, digest, inspect, rows
from runbook.couch.reader import Row, database_name, revision
from runbook.errors import ActionFailed

#: never restored: they start replications, or belong to the servers themselves
NEVER = frozenset({"_replicator", "_global_changes", "_dbs", "_nodes"})
#: the server makes it itself, in a revision of its own version
SERVER_MADE = {"_users": "_design/_auth", "_replicator": "_design/_replicator"}


class Source(msgspec.Struct, frozen=True):
    """One node's dump, as it was when it was read: ``size`` and ``modified`` (ns) tell a change."""

    node: str
    path: str
    size: int
    modified: int


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is restored into ``database``: one copy, or the union of several.

    ``into``: the database it goes to instead, where its own holds other data.
    ``expected``: documents to be there afterwards. ``stubs``: those among them which a dump cannot
    restore. ``lacking``: how many fewer rows than the dump itself announced.
    """

    database: str
    kind: Literal["single", "union"]
    sources: tuple[Source, ...]
    expected: int
    bytes: int
    lacking: int = 0
    stubs: int = 0
    too_large: tuple[str, ...] = ()
    note: str = ""
    into: str = ""

    @property
    def target(self) -> str:
        """The database that is written to."""
        return self.into or self.database

    def rows(self) -> Iterator[Row]:
        """The chosen documents in the order of their ids, without the server's own. Raises
        DumpDamaged, or ActionFailed when a dump changed since it was chosen."""
        for source in self.sources:
            if _stat(Path(source.path)) != (source.size, source.modified):
                raise ActionFailed(
                    f"{source.path} changed since the plan was made.", next="Plan the restore again."
                )
        own = SERVER_MADE.get(self.database)
        return (row for row in _merged([Path(one.path) for one in self.sources]) if row.id != own)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Only a person can say which copy of ``database`` is right: a value of ``options`` (by node)."""

    database: str
    text: str
    options: dict[str, Selection]


def find(backup: Path) -> dict[str, dict[str, Path]]:
    """The dumps of a backup: database -> node (``10.0.1.10``) -> file. Other files are not looked at."""
    found: dict[str, dict[str, Path]] = {}
    for folder in sorted(backup.glob("node-*")):
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            if path.name != "backup_manifest.json" and path.is_file():
                found.setdefault(database_name(path), {})[folder.name.removeprefix("node-")] = path
    return dict(sorted(found.items()))


def choose(
    database: str, dumps: Mapping[str, Path], *, limit: int = 0, base: str = "10.0.1.10"
) -> Selection | Question:
    """Decide between the nodes' dumps of one database. ``base`` is the address of node 1;
    ``limit`` the servers' max_document_size. Raises DumpDamaged when one of them is not sound."""
    inspections = {node: inspect(path, limit) for node, path in dumps.items()}
    for node, path in dumps.items():
        if problem := inspections[node].fatal:
            raise DumpDamaged(path, problem)
    first = next(iter(dumps))
    if len(dumps) == 1:
        return _single(database, first, inspections, "only one node has it")
    if len({digest(path) for path in dumps.values()}) == 1:
        return _single(database, first, inspections, f"the copies of {len(dumps)} nodes are equal")
    overlap = _overlap(dumps)
    if overlap.lagging:
        return _union(database, inspections, overlap)
    own = re.fullmatch(r"openedx_(\d+)", database)
    home = _address(base, int(own[1])) if own else ""
    if home in dumps:
        note = f"the nodes hold different documents; it belongs to node {home}"
        return _single(database, home, inspections, note)
    options = {
        node: _single(database, node, inspections, f"chosen from {len(dumps)} different copies")
        for node in dumps
    }
    counts = ", ".join(f"{node} {one.rows}" for node, one in inspections.items())
    return Question(
        database=database,
        text=f"The nodes' copies of {database} hold different documents ({counts}; {overlap.common} in "
        "common): these nodes never were one cluster. Restoring one copy loses the others.",
        options=options,
    )


def _address(base: str, number: int) -> str:
    head, _, last = base.rpartition(".")
    return f"{head}.{int(last) + number - 1}"


def _stat(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ActionFailed(f"{path} cannot be read: {error.strerror}.") from None
    return status.st_size, status.st_mtime_ns


def _source(node: str, one: Inspection) -> Source:
    return Source(node, one.path, *_stat(Path(one.path)))


def _single(database: str, node: str, inspections: Mapping[str, Inspection], note: str) -> Selection:
    one = inspections[node]
    problems = {problem.kind: problem for problem in one.problems}
    return Selection(
        database=database,
        kind="single",
        sources=(_source(node, one),),
        expected=one.rows - _server_made(database, [one]),
        bytes=one.documents,
        lacking=max(0, (one.total_rows or 0) - one.rows),
        stubs=problems["stub"].count if "stub" in problems else 0,
        too_large=(problems["too_large"].text,) if "too_large" in problems else (),
        note=note,
    )


def _server_made(database: str, inspections: list[Inspection]) -> int:
    """1 when the dumps hold the design document which the server makes itself."""
    own = SERVER_MADE.get(database)
    if own is None or not any(one.designs for one in inspections):
        return 0
    for one in inspections:
        with closing(rows(Path(one.path))) as found:
            if any(row.id == own for row in found):
                return 1
    return 0


class _Overlap:
    """What several dumps have in common; ``lagging`` when they are states of one database."""

    def __init__(self, nodes: list[str]) -> None:
        self.counts = dict.fromkeys(nodes, 0)
        self.shared = dict.fromkeys(nodes, 0)  #: documents of that node that another one has too
        self.newest = dict.fromkeys(nodes, 0)  #: documents of the union that this node has as they are
        self.union = self.common = self.bytes = self.other_bodies = self.stubs = 0

    @property
    def lagging(self) -> bool:
        """Each copy shares at least half of its documents with another one (or is empty)."""
        return all(self.shared[node] * 2 >= count for node, count in self.counts.items())


def _overlap(dumps: Mapping[str, Path]) -> _Overlap:
    found = _Overlap(list(dumps))
    with _streams(dumps) as documents:
        for copies in documents:
            best = max((row for _, row in copies), key=lambda row: revision(row.rev))
            found.union += 1
            found.bytes += len(best.doc)
            found.stubs += best.stubs
            # every LMS makes the same design documents, in whatever cluster: they prove nothing
            counts = not best.id.startswith("_design/")
            found.common += len(copies) == len(dumps) and counts
            for node, row in copies:
                found.counts[node] += counts
                found.shared[node] += counts and len(copies) > 1
                found.newest[node] += row.rev == best.rev
                found.other_bodies += row.rev == best.rev and row.doc != best.doc
    return found


@contextmanager
def _streams(dumps: Mapping[str, Path]) -> Iterator[Iterator[list[tuple[str, Row]]]]:
    """The copies of each document, as (node, row), in the order of their ids; closes the files."""
    found = {node: rows(path) for node, path in dumps.items()}
    tagged = [zip(repeat(node), stream, strict=False) for node, stream in found.items()]
    merged = heapq.merge(*tagged, key=lambda pair: pair[1].id)
    try:
        yield (list(group) for _, group in groupby(merged, key=lambda pair: pair[1].id))
    finally:
        for stream in found.values():
            stream.close()


def _merged(paths: list[Path]) -> Iterator[Row]:
    """The newest revision of each document of all dumps, in the order of their ids."""
    if len(paths) == 1:
        yield from rows(paths[0])
        return
    with _streams({str(path): path for path in paths}) as documents:
        for copies in documents:
            yield max((row for _, row in copies), key=lambda row: revision(row.rev))


def _union(database: str, inspections: Mapping[str, Inspection], overlap: _Overlap) -> Selection:
    behind = {node: overlap.union - newest for node, newest in overlap.newest.items()}
    lag = ", ".join(f"{node} lacks {count}" for node, count in behind.items() if count)
    bodies = overlap.other_bodies
    remark = f"; {bodies} documents have the same revision but different content" if bodies else ""
    # a copy that has everything makes the others superfluous
    complete = next((node for node, count in behind.items() if not count), None)
    if complete is not None:
        note = f"it has the newest of every document; {lag}" if lag else "the copies have the same revisions"
        return _single(database, complete, inspections, note + remark)
    note = (
        f"the newest revision of each document of {len(inspections)} copies: {lag}; a document deleted on "
        "one node only comes back"
    )
    used = [node for node in inspections if overlap.newest[node]]
    large = [p.text for one in inspections.values() for p in one.problems if p.kind == "too_large"]
    return Selection(
        database=database,
        kind="union",
        sources=tuple(_source(node, inspections[node]) for node in used),
        expected=overlap.union - _server_made(database, list(inspections.values())),
        bytes=overlap.bytes,
        lacking=max(0, max(one.total_rows or 0 for one in inspections.values()) - overlap.union),
        stubs=overlap.stubs,
        too_large=tuple(dict.fromkeys(large)),
        note=note + remark,
    )
