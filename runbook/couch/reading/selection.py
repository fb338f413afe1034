"""Which of the nodes' copies of a database is restored.

Each node dumped what it saw. In a cluster the copies are equal, or some lag behind by the newest
writes: then their union, with the newest revision of each document, is the most complete state.
Nodes that never formed a cluster hold different documents under one name: their union is no
state that ever was. ``openedx_<n>`` then belongs to node n; for the others a person has to say. So
has one when a copy is damaged: what only that one held is lost with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from runbook.couch.reading import loss
from runbook.couch.reading.inspection import DumpDamaged, Inspection, digest, rows
from runbook.couch.reading.judging import judge
from runbook.couch.reading.overlap import Overlap, merged, overlap
from runbook.couch.reading.reader import Problem, Row, database_name
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
    restore. ``lacking``: how many fewer rows than the dump itself announced. ``clashes``: documents that
    were changed on two nodes at once, of which the revision that wins is taken. ``partitioned``: the ids
    suggest that the database was partitioned. ``note``: why this was chosen.
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
    clashes: int = 0
    partitioned: bool = False

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
        return (row for row in merged([Path(one.path) for one in self.sources]) if row.id != own)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Only a person can say which copy of ``database`` is right: a value of ``options`` (by node, or
    nodes joined by ``+``)."""

    database: str
    text: str
    options: dict[str, Selection]


def find(backup: Path) -> dict[str, dict[str, Path]]:
    """The dumps of a backup: database -> node (``10.0.1.10``) -> file. Other files are not looked at.
    Where one lies beside its compressed self, that is another copy: ``10.0.1.10 (gz)``."""
    found: dict[str, dict[str, Path]] = {}
    for folder in sorted(backup.glob("node-*")):
        node = folder.name.removeprefix("node-")
        for path in sorted((*folder.glob("*.json"), *folder.glob("*.json.gz"))) if folder.is_dir() else ():
            if path.name != "backup_manifest.json" and path.is_file():
                copies = found.setdefault(database_name(path), {})
                copies[f"{node} (gz)" if node in copies else node] = path
    return dict(sorted(found.items()))


def choose(
    database: str, dumps: Mapping[str, Path], *, limit: int = 0, base: str = "10.0.1.10"
) -> Selection | Question:
    """Decide between the nodes' dumps of one database. ``base`` is the address of node 1;
    ``limit`` the servers' max_document_size. Raises DumpDamaged when none of them is sound, OSError."""
    judged = {node: judge(path, limit) for node, path in dumps.items()}
    damaged = {node: one.fatal for node, one in judged.items() if one.fatal}
    sound = {node: path for node, path in dumps.items() if node not in damaged}
    if not sound:
        raise _all_damaged(dumps, damaged)
    chosen = _decided(database, sound, judged, base)
    return _offered(chosen, dumps, damaged, base) if damaged else chosen


def _decided(
    database: str, dumps: Mapping[str, Path], judged: Mapping[str, Inspection], base: str
) -> Selection | Question:
    first = next(iter(dumps))
    if len(dumps) == 1:
        return _single(database, first, judged, "only one node has it")
    if len({digest(path) for path in dumps.values()}) == 1:
        return _single(database, first, judged, f"{len(dumps)} copies are equal")
    found = overlap(dumps)
    groups = found.groups()
    if len(groups) == 1:
        return _newest(database, dumps, judged, found)
    options = {"+".join(group): _group(database, group, dumps, judged) for group in groups}
    home = _home(database, base)
    for group, one in zip(groups, options.values(), strict=True):
        if home in group:
            note = f"the nodes hold different documents; it belongs to node {home}"
            return replace(one, note=f"{note}; {one.note}" if len(group) > 1 else note)
    counts = ", ".join(f"{node} {judged[node].rows}" for node in dumps)
    return Question(
        database=database,
        text=f"The nodes' copies of {database} hold different documents ({counts}; {found.common()} in "
        "common): these nodes never were one cluster. Restoring one copy loses the others.",
        options=options,
    )


def _group(
    database: str, group: Sequence[str], dumps: Mapping[str, Path], judged: Mapping[str, Inspection]
) -> Selection:
    if len(group) == 1:
        return _single(database, group[0], judged, f"chosen from {len(dumps)} different copies")
    some = {node: dumps[node] for node in group}
    return _newest(database, some, judged, overlap(some))


def _home(database: str, base: str) -> str:
    """The node to which a database belongs by its name; empty for those that all nodes share."""
    own = re.fullmatch(r"openedx_(\d+)", database)
    head, _, last = base.rpartition(".")
    return f"{head}.{int(last) + int(own[1]) - 1}" if own else ""


# ── damaged copies ─────────────────────────────────────────────────────────────────────────
def _all_damaged(dumps: Mapping[str, Path], damaged: Mapping[str, Problem]) -> DumpDamaged:
    (first, problem), *others = damaged.items()
    more = [f" The copy of node {node}: {one.text}" for node, one in others]
    return DumpDamaged(dumps[first], replace(problem, text=problem.text + "".join(more)))


def _offered(
    chosen: Selection | Question, dumps: Mapping[str, Path], damaged: Mapping[str, Problem], base: str
) -> Question:
    """The sound copies, for a person to take, with what is lost by that."""
    database = chosen.database
    options = {"+".join(_nodes(chosen)): chosen} if isinstance(chosen, Selection) else chosen.options
    texts = [f"{database}: the copy of node {node} is damaged. {one.text}" for node, one in damaged.items()]
    sound = [dumps[node] for node in dumps if node not in damaged]
    texts += [f"{node}: {loss.words(dumps[node], sound)}" for node in damaged]
    if _home(database, base) in damaged:
        texts.append(f"{database} belongs to that node: the others' copies may be no states of it.")
    if isinstance(chosen, Question):
        texts.append(chosen.text)
    return Question(database=database, text=" ".join(texts), options=options)


def _nodes(one: Selection) -> tuple[str, ...]:
    return tuple(source.node for source in one.sources)


# ── selections ─────────────────────────────────────────────────────────────────────────────
def _stat(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ActionFailed(f"{path} cannot be read: {error.strerror}.") from None
    return status.st_size, status.st_mtime_ns


def _source(node: str, one: Inspection) -> Source:
    return Source(node, one.path, *_stat(Path(one.path)))


def _single(database: str, node: str, judged: Mapping[str, Inspection], note: str) -> Selection:
    one = judged[node]
    stubs, large = one.problem("stub"), one.problem("too_large")
    return Selection(
        database=database,
        kind="single",
        sources=(_source(node, one),),
        expected=one.rows - _server_made(database, [one]),
        bytes=one.documents,
        lacking=max(0, (one.total_rows or 0) - one.rows),
        stubs=stubs.count if stubs else 0,
        too_large=(large.text,) if large else (),
        note=note,
        partitioned=any(remark.kind == "partitioned" for remark in one.remarks),
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


def _newest(
    database: str, dumps: Mapping[str, Path], judged: Mapping[str, Inspection], found: Overlap
) -> Selection:
    """The newest revision of each document: one copy that has it of all, or the union."""
    remarks = []
    if found.clashes:
        names = ", ".join(found.clashing) + (", …" if found.clashes > len(found.clashing) else "")
        remarks.append(
            f"changed on two nodes at once: {found.clashes} documents ({names}), of which the revision that "
            "CouchDB lets win is taken, the other is only in the dumps"
        )
    if found.bodies:
        remarks.append(f"the same revision but different content: {found.bodies} documents")
    lag = ", ".join(_lag(node, found) for node in dumps if found.behind(node))
    complete = next((node for node in dumps if not found.behind(node)), None)
    if any(found.absent[node] for node in dumps):
        remarks.append("a document deleted on one node only comes back")
    if complete is not None:  # which makes the others superfluous
        why = f"it has the newest of every document; {lag}" if lag else "the copies have the same revisions"
        one = _single(database, complete, judged, "; ".join([why, *remarks]))
        return replace(one, clashes=found.clashes)
    inspections = [judged[node] for node in dumps]
    large = [problem.text for one in inspections if (problem := one.problem("too_large"))]
    why = f"the newest revision of each document of {len(dumps)} copies: {lag}"
    return Selection(
        database=database,
        kind="union",
        sources=tuple(_source(node, judged[node]) for node in dumps),
        expected=found.union - _server_made(database, inspections),
        bytes=found.bytes,
        lacking=max(0, max(one.total_rows or 0 for one in inspections) - found.union),
        stubs=found.stubs,
        too_large=tuple(dict.fromkeys(large)),
        note="; ".join([why, *remarks]),
        clashes=found.clashes,
        partitioned=all(any(r.kind == "partitioned" for r in one.remarks) for one in inspections),
    )


def _lag(node: str, found: Overlap) -> str:
    parts = [f"lacks {found.absent[node]}"] if found.absent[node] else []
    parts += [f"has {found.older[node]} in an older revision"] if found.older[node] else []
    return f"{node} {' and '.join(parts)}"
