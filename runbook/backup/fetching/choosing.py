"""Which backup of the backup VM is fetched."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.backup.layout import TIERS, Backup
from runbook.errors import ActionFailed, UseError


def choose(found: Sequence[Backup], id: str, where: str) -> Backup:
    """The newest complete one, or that of ``id`` (of several tiers the most frequent one's). ``found``:
    newest first. A single archive is not looked into here, so it counts as complete; verification reads
    it. Raises UseError, ActionFailed."""
    usable = [one for one in found if _usable(one)]
    names = ", ".join(dict.fromkeys(one.id for one in usable[:8])) or "none"
    if id:
        named = sorted((one for one in found if one.id == id), key=lambda one: TIERS.index(one.tier))
        if not named:
            raise UseError(
                f"There is no backup {id} in {where}. Nothing was fetched.", next=f"There are: {names}."
            )
        whole = next((one for one in named if _usable(one)), None)
        if whole is None:
            raise ActionFailed(
                f"Backup {id} in {where} is not complete: {'; '.join(named[0].problems[:3])}. Nothing was "
                "fetched.",
                next=f"Complete ones: {names}.",
            )
        return whole
    if not usable:
        said = "; ".join(f"{one.id}: {one.problems[0]}" for one in found[:5])
        raise ActionFailed(
            f"No complete backup in {where}. Nothing was fetched.", next=said or "There is none at all."
        )
    return usable[0]


def passed_over(found: Sequence[Backup], chosen: Backup) -> list[str]:
    """Newer ones that are not complete, in words."""
    newer = [one for one in found if one.made and chosen.made and one.made > chosen.made]
    return [f"{one.title} is newer, but not complete: {one.problems[0]}" for one in newer if not _usable(one)]


def _usable(one: Backup) -> bool:
    return one.complete or (one.archive and one.bytes > 0)
