"""What a dump that this program made holds besides the platform's layout, verified.

``SHA256SUMS`` covers every file; ``node-…/beside/`` tells how many documents and contents of
attachments there have to be (see runbook/couch/reading/beside.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from runbook.backup.manifest import LEFT_BY_OTHERS, SUMS
from runbook.couch.reading import beside, inspection
from runbook.hosts.localfiles import sha256


def sums(folder: Path, files: Iterable[str], stop: threading.Event | None = None) -> list[str]:
    """What differs from SHA256SUMS, in words; ``files`` are those that are there. Raises OSError."""
    listed = dict(_line(line) for line in (folder / SUMS).read_text().splitlines())
    there = {name for name in files if not LEFT_BY_OTHERS.fullmatch(name)}
    problems = [f"{name} is listed in {SUMS}, but missing" for name in sorted(listed.keys() - there)]
    problems += [f"{name} is not listed in {SUMS}" for name in sorted(there - listed.keys())]
    for name in sorted(there & listed.keys()):
        if sha256(folder / name, stop) != listed[name]:
            problems.append(f"{name} differs from its SHA-256 in {SUMS}: it was changed since")
    return problems


def _line(line: str) -> tuple[str, str]:
    return line[66:], line[:64]


def has(path: Path) -> bool:
    """Is there anything beside this dump?"""
    return beside.meta_path(path).is_file()


def read(path: Path, largest: int, problems: list[str], remarks: list[str]) -> str:
    """Read what lies beside a dump to its end; a fact about it. ``path`` of the dump. Raises
    DumpDamaged, OSError."""
    meta, dump = beside.load(path), inspection.inspect(path, largest)
    assert meta is not None
    name = f"{path.parent.name}/{path.name}"
    if dump.rows != meta.documents:
        problems.append(f"{name}: it holds {dump.rows} documents, not the {meta.documents} that were dumped")
    contents, attached = 0, beside.attached_path(path)
    if attached.is_file():
        found = inspection.inspect(attached)
        contents = found.rows
        problems += [f"{name}: {problem.text}" for problem in found.problems]
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
    return f"{name}: _security, _revs_limit and the attachments of {contents} documents lie beside it"
