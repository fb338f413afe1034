"""Is there room on this PC, before a byte is moved?"""

from __future__ import annotations

import os
from pathlib import Path

from runbook.errors import ActionFailed
from runbook.units import size

#: bytes that stay free: a disk that is full to the last byte stops more than this program
SPARE = 64_000_000


def free(folder: Path) -> int:
    """Bytes that this user can write where that folder is, or would be. Raises OSError."""
    at = folder
    while not at.exists() and at != at.parent:
        at = at.parent
    found = os.statvfs(at)
    return found.f_bavail * found.f_frsize


def held(folder: Path) -> int:
    """Bytes of the files in a folder that another fetch left; they are not moved again."""
    found = 0
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at, name)
            found += path.lstat().st_size if path.is_file() and not path.is_symlink() else 0
    return found


def require(needed: int, there: int, where: str, doing: str) -> None:
    """Raises ActionFailed."""
    if needed + SPARE > there:
        raise ActionFailed(
            f"There is no room in {where}: {size(needed)} are needed and {size(SPARE)} stay free, but only "
            f"{size(max(there, 0))} are left. {doing}",
            next="Make room there, or keep fewer copies (--keep), then try again.",
        )
