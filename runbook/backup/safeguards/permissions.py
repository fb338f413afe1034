"""Who else on this PC can read a folder? By the modes of it and of all folders above it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

#: file systems that keep no modes: everybody who has the drive reads it
KEEPS_NONE = frozenset(("vfat", "msdos", "exfat", "ntfs", "ntfs3", "fuseblk", "hfs"))


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """``to``: "others" or "the group"; ``paths``: the first that they can use, links not followed."""

    to: str
    paths: tuple[str, ...]


def readable(folder: Path, names: list[str], most: int = 5) -> list[Open]:
    """Who else can read the backups of these names in ``folder``, or put others in their place. Blocking.
    Raises OSError."""
    folder = folder.expanduser().resolve()
    found = []
    for to, through, read, write in (
        ("others", stat.S_IXOTH, stat.S_IROTH, stat.S_IWOTH),
        ("the group", stat.S_IXGRP, stat.S_IRGRP, stat.S_IWGRP),
    ):
        # one folder on the way that lets none of them through closes all that is below
        if not all(one.stat().st_mode & through for one in (folder, *folder.parents)):
            continue
        paths = [str(folder)] if folder.stat().st_mode & write else []
        paths += [str(folder / name) for name in names if _open(folder / name, through, read | write)]
        if paths:
            found.append(Open(to=to, paths=tuple(paths[:most])))
    return found


def _open(path: Path, through: int, bits: int) -> bool:
    """Is it a file that they can use, or a folder with one that they come to?"""
    mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        return stat.S_ISREG(mode) and bool(mode & bits)
    if not mode & through:
        return False
    for at, folders, files in os.walk(path):
        folders[:] = [name for name in folders if Path(at, name).lstat().st_mode & through]
        if any(_open(Path(at, name), through, bits) for name in files):
            return True
    return False
