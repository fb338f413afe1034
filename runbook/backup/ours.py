"""What a dump that this program made holds besides the platform's layout, verified.

``SHA256SUMS`` covers every file; ``node-…/beside/`` tells how many documents and contents of
attachments there have to be (see runbook/couch/reading/beside.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import msgspec

from runbook.backup import sums
from runbook.backup.manifest import LARGEST, LEFT_BY_OTHERS, SUMS
from runbook.couch.reading import beside
from runbook.couch.reading.beside import Meta
from runbook.couch.reading.inspection import Inspection


def listed(text: bytes, have: Mapping[str, str], words: str = SUMS) -> list[str]:
    """What differs from a list of SHA-256s, in words. ``have``: those of the files that are there."""
    if len(text) > LARGEST:
        return [f"{words} is larger than 4 MB; it was not read"]
    try:
        want = sums.parse_text(text)
    except ValueError as error:
        return [f"{words} is not as it should be: {error}"]
    return differing(want, have, words)


def differing(want: Mapping[str, str], have: Mapping[str, str], words: str) -> list[str]:
    """The same with the list taken apart."""
    there = {name for name in have if not LEFT_BY_OTHERS.fullmatch(name)}
    problems = [f"{name} is listed in {words}, but missing" for name in sorted(want.keys() - there)]
    problems += [f"{name} is not listed in {words}" for name in sorted(there - want.keys())]
    problems += [
        f"{name} differs from its SHA-256 in {words}: it was changed since"
        for name in sorted(there & want.keys())
        if have[name] != want[name]
    ]
    return problems


def meta_name(dump: str) -> str:
    """Where what is known besides of a dump lies, by the paths below the backup's folder."""
    return _beside(dump, beside.META)


def attached_name(dump: str) -> str:
    return _beside(dump, beside.ATTACHED)


def _beside(dump: str, suffix: str) -> str:
    path = PurePosixPath(dump)
    return str(path.parent / beside.FOLDER / (path.name.removesuffix(".gz").removesuffix(".json") + suffix))


def judge(
    name: str, text: bytes, dump: Inspection, attached: Inspection | None
) -> tuple[list[str], list[str], str]:
    """(problems, remarks, fact) of what lies beside the dump of that name."""
    problems, remarks = list[str](), list[str]()
    try:
        meta = msgspec.json.decode(text, type=Meta)
    except (ValueError, RecursionError) as error:
        return [f"what is known beside {name} cannot be read: {error}"], [], ""
    if dump.rows != meta.documents:
        problems.append(f"{name}: it holds {dump.rows} documents, not the {meta.documents} that were dumped")
    contents = attached.rows if attached else 0
    if attached:
        problems += [f"{name}: {problem.text}" for problem in attached.problems]
    if contents != meta.attached:
        problems.append(
            f"{name}: the attachments of {contents} documents lie beside it, not of {meta.attached} as dumped"
        )
    if meta.lacking:
        remarks.append(
            f"{name}: the attachments of {meta.lacking} documents could not be had when it was made"
        )
    if meta.late:
        remarks.append(
            f"{name}: {meta.late} documents changed while it was made and are not up to date in it"
        )
    fact = f"{name}: _security, _revs_limit and the attachments of {contents} documents lie beside it"
    return problems, remarks, fact
