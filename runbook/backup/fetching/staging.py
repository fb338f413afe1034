"""Where a backup lies until it is whole and verified: under a name that nobody takes for a backup.

.20261101.part/20261101.part    on its way
.20261101.part/20261101         whole, equal to the backup VM's by SHA-256, not yet verified
20261101                        verified
20261101.damaged-20261101T020000Z    whole, but what was fetched is damaged
"""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

from runbook.backup.layout import ARCHIVE
from runbook.errors import ActionFailed


class Staging:
    """Of one backup, by the name of its folder or archive. All methods are blocking; raise OSError."""

    def __init__(self, local: Path, name: str) -> None:
        self.local, self.name = local, name
        self.folder = local / f".{name}.part"
        self.whole = self.folder / name
        self.part = self.folder / f"{name}.part"
        self.target = local / name

    def prepare(self) -> None:
        """What an earlier fetch left is gone on with, also one whose verification failed: what differs
        from the backup VM's is sent again, the rest is not."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if os.path.lexists(self.part):
            return
        if left := [self.whole] if os.path.lexists(self.whole) else self.damaged():
            left[-1].rename(self.part)

    def damaged(self) -> list[Path]:
        """Copies that were found damaged, oldest first."""
        stem = self.name.removesuffix(ARCHIVE)
        found = [one for one in self.local.iterdir() if one.name.startswith(f"{stem}.damaged-")]
        return sorted(one for one in found if one.name.endswith(ARCHIVE) == self.name.endswith(ARCHIVE))

    def settle(self) -> Path:
        """Its name, once all of it is on the disk. Raises ActionFailed when the name is taken."""
        os.sync()
        if os.path.lexists(self.target):
            raise ActionFailed(
                f"{self.target} is there by now; it was not touched. What was fetched is {self.whole}.",
                next="Look who made it; then fetch again.",
            )
        return self._moved(self.target)

    def set_aside(self, now: datetime) -> Path:
        """Under a name that says that it is damaged."""
        stem, suffix = self.name.removesuffix(ARCHIVE), ARCHIVE if self.name.endswith(ARCHIVE) else ""
        return self._moved(self.local / f"{stem}.damaged-{now:%Y%m%dT%H%M%SZ}{suffix}")

    def _moved(self, target: Path) -> Path:
        self.whole.rename(target)
        shutil.rmtree(self.folder)
        handle = os.open(self.local, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        return target
