"""Is a backup whole and as it was written? Every file of it is read once, to its end.

This proves that the copy is good. It does not prove that it can be restored: a restore does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from runbook.backup import layout, sums
from runbook.backup.layout import Backup
from runbook.backup.ledger import Verdict
from runbook.backup.manifest import NAME as MANIFEST
from runbook.backup.verifying import age, copies, earlier, listing, parts, rebuild, source
from runbook.backup.verifying.findings import Finding, Findings
from runbook.backup.verifying.pool import pool
from runbook.backup.verifying.source import Content
from runbook.units import size


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """``problems``: it is not good. ``remarks``: good, but look. ``notes``: to be known, no doubt about
    the copy. ``facts``: what was read. ``unproven``: what this verification cannot know."""

    backup: Backup
    way: str | None  #: how the checksum was made; None: it matched in no way that was tried
    documents: dict[str, int]  #: node/database -> documents in its dump
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    notes: tuple[str, ...]
    facts: tuple[str, ...]
    findings: tuple[Finding, ...]
    unproven: tuple[str, ...]
    lacks: tuple[str, ...]  #: what a rebuild from this alone would not have
    earlier: str  #: id of the backup it was compared with; "": none
    sums: dict[str, str]  #: SHA-256 by path from the folder that holds the backup
    listed: bool  #: does a list of SHA-256s exist, beside it or in it?
    print: str  #: see ledger.Entry

    @property
    def rebuildable(self) -> str:
        lacks = (
            f"no, it lacks {'; '.join(self.lacks)}" if self.lacks else "yes, by the names of what is in it"
        )
        return f"rebuildable from this alone: {lacks}"

    @property
    def verdict(self) -> Verdict:
        return "damaged" if self.problems else "doubtful" if self.remarks else "sound"


def verify(
    folder: Path,
    *,
    roots: Iterable[str] = ("/backup",),
    expected: Iterable[str] = (),
    largest: int = 0,
    now: datetime | None = None,
    rpo: float = 0,
    domain: str = "",
    base: str = "10.0.1.10",
    share: float = earlier.SHARE,
    among: Path | None = None,
    tick: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Verified:
    """Read all of it, a folder or a .tar.gz; blocking, minutes for many GB.

    ``roots``: folders on the backup VM that hold the tiers; ``expected``: databases every node must
    have; ``largest``: the servers' limit for a document in bytes; ``rpo`` in seconds; ``domain``: the
    site's; ``base``: the address of node 1; ``share``: of an earlier backup's documents that may be gone;
    ``among``: the folder that holds the others, where it does not lie beside them.
    ``tick`` hears (bytes read, bytes in all); a set ``stop`` ends it with InterruptedError. Raises
    UseError, CouldNotLook, OSError.
    """
    path, wanted, found = source.locate(folder), tuple(expected), Findings()
    scanned = source.scan(path) if path.is_dir() else None
    total = sum(scanned[0].values()) if scanned else path.stat().st_size

    def told(count: int) -> None:
        if tick:
            tick(min(count, total), total)

    with pool(total if scanned else 0, told, stop or threading.Event()) as work:
        if scanned:
            content = source.read_folder(path, largest, base, scanned, work)
        else:
            content = source.read_archive(path, largest, work)
        copies.compare(content, largest, base, work, found)
    return _judged(content, wanted, tuple(roots), now, rpo, domain, share, among or content.beside, found)


def _judged(
    content: Content,
    wanted: tuple[str, ...],
    roots: tuple[str, ...],
    now: datetime | None,
    rpo: float,
    domain: str,
    share: float,
    among: Path,
    found: Findings,
) -> Verified:
    manifest = content.examined.get(MANIFEST)
    raw = manifest.text if manifest else None
    backup = layout.describe(content.id, "operator", "local", str(content.path), content.files, raw, wanted)
    if manifest and manifest.damage:
        backup = msgspec.structs.replace(backup, problems=(manifest.damage, *backup.problems[1:]))
    for text in (*content.problems, *backup.problems):
        found.add("manifest", "wrong", text)
    for text in content.remarks:
        found.add("manifest", "doubt", text)
    if backup.manifest:
        found.add(
            "manifest",
            "good",
            f"{len(backup.files)} files, {size(backup.bytes)}; nodes {', '.join(backup.manifest.nodes)}",
        )
    ours = parts.judge(content, domain, found)
    way = listing.checksum(content, backup, roots, found)
    listed = listing.sums(content, found)
    before = earlier.compare(content, backup.made, share, found, wanted, among)
    age.judge(backup, now, rpo, found, ours=content.ours)
    return Verified(
        backup=backup,
        way=way,
        documents={
            f"{node}/{database}": one.dump.rows
            for database, nodes in content.dumps().items()
            for node, one in nodes.items()
            if one.dump
        },
        problems=found.texts("wrong"),
        remarks=found.texts("doubt"),
        notes=found.texts("note"),
        facts=found.texts("proven", "good"),
        findings=tuple(found.all),
        unproven=(*found.unjudged(), *listing.unproven(content, way, listed)),
        lacks=tuple(rebuild.of(content, ours)),
        earlier=before,
        sums=content.sums,
        listed=listed,
        print=sums.print_of({name: one.sha256 for name, one in content.examined.items() if one.sha256}),
    )
