"""The files of a backup held against what lists them: the manifest's checksum, and SHA-256s of ours."""

from __future__ import annotations

from runbook.backup import manifest, ours
from runbook.backup import sums as lists
from runbook.backup.layout import TIERS, Backup
from runbook.backup.manifest import LEFT_BY_OTHERS, NAME, SUMS
from runbook.backup.verifying.findings import Findings
from runbook.backup.verifying.source import Content


def checksum(content: Content, backup: Backup, roots: tuple[str, ...], found: Findings) -> str | None:
    """The way in which the manifest's checksum was made, or None."""
    if backup.manifest is None:
        found.add(
            "checksum", "unjudged", "no manifest that can be read, so no checksum to hold the files against"
        )
        return None
    if not backup.manifest.md5():
        given = backup.manifest.checksum
        text = f"the manifest has no checksum ({given!r}): whether a file changed cannot be known"
        found.add("checksum", "doubt", text)
        return None
    hashes = {name: one.md5 for name, one in content.examined.items() if one.md5}
    match = manifest.check(
        backup.manifest,
        hashes,
        id=backup.id,
        here=str(content.path),
        roots=(*roots, *_inner(str(content.path))),
    )
    if match.way:
        aside = sorted(name for name in hashes if LEFT_BY_OTHERS.fullmatch(name) and name != SUMS)
        more = f"; left by helpers, and in no checksum: {', '.join(aside[:5])}" if aside else ""
        found.add("checksum", "proven", f"{backup.manifest.md5()} matches: {match.way}{more}")
    else:
        found.add(
            "checksum",
            "wrong",
            f"checksum {backup.manifest.md5()} matches in none of the {match.tried} ways it can have been "
            "made: a file was changed, added or lost since, or it was made in a way not known",
        )
    return match.way


def _inner(path: str) -> list[str]:
    """Where a backup lies with its parents copied too (``/mnt/disk/backup/daily/20261101``): the ends of
    its path may be what it was on the backup VM."""
    parts = path.strip("/").split("/")
    if len(parts) < 3 or parts[-2] not in TIERS:
        return []
    return [f"/{'/'.join(parts[at:-2])}" for at in range(1, len(parts) - 2)]


def sums(content: Content, found: Findings) -> bool:
    """Is there a list of SHA-256s, in it or beside it? Its files are held against it."""
    have = {name: one.sha256 for name, one in content.examined.items() if one.sha256}
    inside = content.examined.get(SUMS)
    if inside:
        _told(ours.listed(inside.text, have), f"{SUMS} in it", found)
    try:
        beside = lists.load(content.path)
    except (OSError, ValueError) as error:
        found.add("SHA-256", "doubt", f"{lists.path_beside(content.path)} cannot be used: {error}")
        return inside is not None
    if beside is not None:
        if content.folder is None:
            listed, have = beside, content.sums
        else:  # whatever the folder was called then
            listed = {name.partition("/")[2]: sum for name, sum in beside.items()}
        listed = {name: sum for name, sum in listed.items() if not LEFT_BY_OTHERS.fullmatch(name)}
        _told(ours.differing(listed, have, lists.path_beside(content.path).name), "our list beside it", found)
    if inside is None and beside is None:
        found.add("SHA-256", "unjudged", "no list of SHA-256s of ours lies beside it: --write-sums makes one")
    return inside is not None or beside is not None


def _told(problems: list[str], where: str, found: Findings) -> None:
    for text in problems:
        found.add("SHA-256", "wrong", text)
    if not problems:
        found.add("SHA-256", "proven", f"every file has its SHA-256 of {where}")


def unproven(content: Content, way: str | None, listed: bool) -> list[str]:
    """What no look at this backup can tell."""
    said = ["that it can be restored: only a restore proves that"]
    if way and not listed:
        said.append(f"the text of {NAME} itself, which its own checksum leaves out")
    if way or listed:
        said.append("what was lost or changed before the checksums were made, in all copies alike")
    else:
        said.append("that no file was changed: no checksum vouches for them")
    return said
