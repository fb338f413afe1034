"""Is a backup whole and as it was written? Read to its end: manifest, checksum, archives, dumps.

This proves that the copy is good. It does not prove that it can be restored: a restore does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from runbook.backup import layout, manifest
from runbook.backup.layout import Backup
from runbook.errors import RunbookError
from runbook.platform import archive
from runbook.units import duration, size

#: what backups of this layout never hold, though a rebuild needs it
NEVER_HELD = (
    "infrastructure/ and the OpenTofu state",
    "scripts/",
    "image versions",
    "Caddy's certificates",
)
#: what only dumps of this program hold
BESIDE = "attachments, _security and revision limits of the databases"


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """``problems``: it is not good. ``remarks``: good, but to be known. ``facts``: what was read."""

    backup: Backup
    way: str | None  #: how the checksum was made; None: it matched in no way that was tried
    documents: dict[str, int]  #: node/database -> documents in its dump
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    facts: tuple[str, ...]


def verify(
    folder: Path,
    *,
    roots: Iterable[str] = ("/backup",),
    expected: Iterable[str] = (),
    largest: int = 0,
    now: datetime | None = None,
    rpo: float = 0,
    tick: Callable[[str, int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Verified:
    """Read all of it; blocking, minutes for many GB.

    ``roots``: folders on the backup VM that hold the tiers; ``expected``: databases every node must
    have; ``largest``: the servers' limit for a document in bytes; ``rpo`` in seconds. ``tick`` hears
    (file, bytes read, bytes in all); a set ``stop`` ends it with InterruptedError.
    """
    backup = layout.describe_local(folder, expected)
    problems, remarks = list(backup.problems), list[str]()
    facts = [f"{len(backup.files)} files, {size(backup.bytes)}"]
    documents: dict[str, int] = {}
    done = 0
    for name, count in sorted(backup.files.items()):
        if stop is not None and stop.is_set():
            raise InterruptedError(name)
        if tick:
            tick(name, done, backup.bytes)
        done += count
        path = Path(backup.path) / name
        try:
            if name.endswith(".gz"):
                facts.append(_read_archive(path, name))
            elif layout.is_dump(name) and count:
                found, worth = _read_dump(path, name, largest, problems, remarks)
                documents[name.removeprefix(layout.NODE).removesuffix(".json")] = found
                facts.append(worth)
        except (RunbookError, OSError) as error:
            problems.append(f"{name}: {error}")
    way = _checksum(backup, roots, problems, remarks, facts)
    own = _own(backup, largest, problems, remarks, facts, stop)
    _age(backup, now, rpo, remarks, facts)
    lacks = NEVER_HELD if own else (*NEVER_HELD, BESIDE)
    facts.append(f"rebuildable from this alone: no, it lacks {'; '.join(lacks)}")
    return Verified(
        backup=backup,
        way=way,
        documents=documents,
        problems=tuple(problems),
        remarks=tuple(remarks),
        facts=tuple(facts),
    )


def _read_archive(path: Path, name: str) -> str:
    if path.name == layout.LOGS or not name.endswith((".tar.gz", ".tgz")):
        return f"{name}: {size(archive.read_gzip(path))} unpacked, read to its end"
    listing = archive.read_listing(path)
    return f"{name}: {len(listing.files())} files, {size(listing.bytes)} unpacked, safe, read to its end"


def _read_dump(
    path: Path, name: str, largest: int, problems: list[str], remarks: list[str]
) -> tuple[int, str]:
    from runbook.backup import ours
    from runbook.couch.reading import inspection  # only here: listing backups needs no dump reader

    found, filled = inspection.inspect(path, largest), ours.has(path)
    for problem in found.problems:
        if problem.kind == "stub" and filled:
            continue  # the contents lie beside it
        (problems if problem.fatal else remarks).append(f"{name}: {problem.text}")
    remarks += [f"{name}: {one.text}" for one in found.remarks if not (filled and one.kind == "partitioned")]
    return found.rows, f"{name}: {found.rows} documents, every row read"


def _own(
    backup: Backup,
    largest: int,
    problems: list[str],
    remarks: list[str],
    facts: list[str],
    stop: threading.Event | None,
) -> bool:
    """Is it a dump of this program's? Then what the platform's lack is read too."""
    from runbook.backup import ours

    folder = Path(backup.path)
    dumps = [folder / name for name in backup.files if layout.is_dump(name) and ours.has(folder / name)]
    try:
        if manifest.SUMS in backup.files:
            differing = ours.sums(folder, backup.files, stop)
            problems += differing
            if not differing:
                facts.append(f"every file has its SHA-256 of {manifest.SUMS}")
        facts += [ours.read(path, largest, problems, remarks) for path in dumps]
    except (RunbookError, OSError, ValueError) as error:
        problems.append(str(error))
    return bool(dumps)


def _checksum(
    backup: Backup, roots: Iterable[str], problems: list[str], remarks: list[str], facts: list[str]
) -> str | None:
    if backup.manifest is None:
        return None
    if not backup.manifest.md5():
        remarks.append(f"the manifest has no checksum ({backup.manifest.checksum!r})")
        return None
    folder = Path(backup.path)
    match = manifest.check(
        backup.manifest, manifest.hash_files(folder), id=backup.id, here=backup.path, roots=roots
    )
    if match.way:
        facts.append(f"checksum {backup.manifest.md5()} matches: {match.way}")
    else:
        problems.append(
            f"checksum {backup.manifest.md5()} matches in none of the {match.tried} ways it can have been "
            "made: a file was changed, added or lost since, or it was made in a way not known"
        )
    return match.way


def _age(backup: Backup, now: datetime | None, rpo: float, remarks: list[str], facts: list[str]) -> None:
    if backup.made is None or now is None:
        return
    age = (now - backup.made).total_seconds()
    facts.append(f"made {backup.made:%Y-%m-%d %H:%M} UTC, {duration(max(0, age))} ago")
    if rpo and age > rpo:
        remarks.append(f"it is {duration(age)} old: more than the RPO of {duration(rpo)} allows")
    if age < -3600:
        remarks.append("it was made in the future: a clock is wrong")
