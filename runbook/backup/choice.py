"""Which backup is used, and where it lies on this PC."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from runbook.backup import layout
from runbook.backup.layout import Backup
from runbook.context import Look
from runbook.errors import ActionFailed
from runbook.hosts.base import Host


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One backup, by its id, wherever it lies."""

    id: str
    remote: Backup | None = None
    local: Backup | None = None

    @property
    def best(self) -> Backup:
        """The copy to work from: a complete one, the backup VM's before this PC's."""
        copies = [copy for copy in (self.remote, self.local) if copy is not None]
        return next((copy for copy in copies if copy.complete), copies[0])


def candidates(remote: list[Backup], local: list[Backup]) -> list[Candidate]:
    """Both places merged by id, newest first; of two remote copies of one id a complete one counts."""
    merged: dict[str, Candidate] = {}
    for backup in layout.newest_first([*remote, *local]):
        known = merged.get(backup.id, Candidate(id=backup.id))
        place = "remote" if backup.place == "backup" else "local"
        other: Backup | None = getattr(known, place)
        if other is None or (backup.complete and not other.complete):
            known = msgspec.structs.replace(known, **{place: backup})
        merged[backup.id] = known
    return list(merged.values())


async def find(look: Look, host: Host | None) -> list[Candidate]:
    """All candidates; without a host those of this PC alone."""
    site = look.site.backup
    remote = await layout.find_remote(host, site.remote, site.databases) if host else []
    local = await asyncio.to_thread(layout.find_local, Path(site.local), site.databases)
    return candidates(remote, local)


async def chosen_folder(look: Look) -> Path:
    """The chosen backup's folder on this PC: what the freeze step saved, else the site's choice or
    the newest complete one that lies here. Raises ActionFailed."""
    if saved := look.output("backup_path"):
        folder = Path(str(saved))
        if not folder.is_dir():
            raise ActionFailed(
                f"The chosen backup {folder} is gone from this PC.", next="Run the freeze step again."
            )
        return folder
    found = await find(look, None)
    wanted = look.site.backup.id
    for candidate in found:
        if candidate.id == wanted if wanted else candidate.best.complete:
            return Path(candidate.best.path)
    words = f"backup {wanted}" if wanted else "complete backup"
    raise ActionFailed(
        f"No {words} below {look.site.backup.local} on this PC.",
        next="Fetch one from the backup VM, or set backup.local to where they lie.",
    )
