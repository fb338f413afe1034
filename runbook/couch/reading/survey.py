"""What a backup would restore: every dump read and judged, one copy of each database chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from runbook import units
from runbook.couch.reading import beside
from runbook.couch.reading.inspection import DumpDamaged
from runbook.couch.reading.selection import NEVER, Question, Selection, choose, find
from runbook.errors import ActionFailed

_WHY_NEVER = {
    "_replicator": "its documents would start replications at once",
    "_global_changes": "it tells of changes in the lost cluster only",
}
#: what a dump of this kind cannot hold
ABSENT = (
    "Not in such a backup, to be set by hand where the platform uses it: _security, _revs_limit, "
    "partitioned databases, _local documents, contents of attachments."
)
#: and one of ours, which has the rest beside each dump
ABSENT_OURS = "Not in such a backup: _local documents, deleted documents, losing revisions of conflicts."


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """``selections`` are decided, ``questions`` need a person; ``left_out``: database -> why.
    ``limit``: the smallest max_document_size of the servers this was judged by, 0 for none."""

    backup: str
    limit: int
    selections: dict[str, Selection]
    questions: dict[str, Question] = {}
    left_out: dict[str, str] = {}

    def lines(self) -> tuple[str, ...]:
        """For a person: each database with what would come from where."""
        found = [describe(one) for one in self.selections.values()]
        for question in self.questions.values():
            found.append(f"{question.database}: {question.text} You will be asked which one.")
        found += [f"{name}: left out ({why})" for name, why in self.left_out.items()]
        dumps = [Path(source.path) for one in self.selections.values() for source in one.sources]
        ours = bool(dumps) and all(beside.meta_path(dump).is_file() for dump in dumps)
        return (*found, ABSENT_OURS if ours else ABSENT)


def describe(one: Selection) -> str:
    nodes = ", ".join(source.node for source in one.sources)
    text = f"{one.database}: {one.expected} documents, {units.size(one.bytes)}, from {nodes} ({one.note})"
    if one.lacking:
        text += f"; the dump announces {one.lacking} rows more than it holds"
    if one.partitioned:
        text += "; its ids suggest a partitioned database, which the dump cannot tell: ask who set it up"
    if one.stubs:
        text += f"; {one.stubs} cannot be restored: the contents of their attachments are not in the backup"
    return text


def why_never(database: str) -> str:
    """Why a database of NEVER is left out."""
    return _WHY_NEVER.get(database, "the servers make it")


def databases(backup: Path, wanted: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The databases a backup restores: ``wanted`` by the settings, else those it has dumps of."""
    return tuple(name for name in (wanted or find(backup)) if name not in NEVER)


def survey(
    backup: Path,
    *,
    wanted: tuple[str, ...] = (),
    limit: int = 0,
    base: str = "10.0.1.10",
    chosen: Mapping[str, tuple[str, ...]] | None = None,
) -> Survey:
    """Read every dump to its end. ``chosen``: nodes that answered an earlier question. Blocks.

    Raises ActionFailed naming every dump that is damaged, missing or over the servers' limit; by
    then nothing was written anywhere.
    """
    found = find(backup)
    names = databases(backup, wanted)
    if not names:
        raise ActionFailed(f"{backup} holds no dumps of databases. Nothing was restored.")
    selections, questions, problems = {}, {}, []
    for name in names:
        dumps = found.get(name)
        if not dumps:
            problems.append(f"Backup of {name} is missing; nothing restored.")
            continue
        try:
            one = choose(name, dumps, limit=limit, base=base)
        except DumpDamaged as error:
            problems.append(error.what)
            continue
        except OSError as error:
            problems.append(f"{error.filename} cannot be read: {error.strerror}.")
            continue
        if isinstance(one, Question):
            nodes = tuple((chosen or {}).get(name, ()))
            answer = next((o for o in one.options.values() if _nodes(o) == nodes), None)
            if answer is None:
                questions[name] = one
                for option in one.options.values():
                    problems += option.too_large
                continue
            one = answer
        problems += one.too_large
        selections[name] = one
    if problems:
        raise ActionFailed(
            "\n".join(dict.fromkeys(problems)),
            next="Nothing was restored. Correct what is named, fetch the backup again, or use another one.",
        )
    return Survey(
        backup=str(backup),
        limit=limit,
        selections=selections,
        questions=questions,
        left_out={name: why_never(name) for name in found if name in NEVER},
    )


def _nodes(one: Selection) -> tuple[str, ...]:
    return tuple(source.node for source in one.sources)
