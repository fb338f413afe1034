"""Which file system does a folder lie on? By /proc/self/mountinfo (see proc(5))."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import msgspec

from runbook.errors import CouldNotLook

_ESCAPE = re.compile(r"\\([0-7]{3})")
_LARGEST = 8_000_000


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    point: str
    device: str  #: major:minor
    fstype: str
    source: str  #: /dev/…, a data set, a server's folder …


def parse(text: str) -> list[Mount]:
    """Lines that are none are passed over."""
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if dash and len(left) >= 6 and len(right) >= 2:
            found.append(
                Mount(point=_plain(left[4]), device=left[2], fstype=right[0], source=_plain(right[1]))
            )
    return found


def holding(path: str, root: Path = Path("/")) -> Mount:
    """The mount that an absolute path without links lies on; the topmost of several at one point.
    ``root`` holds proc/. Raises CouldNotLook."""
    table = root / "proc/self/mountinfo"
    try:
        with table.open("rb") as file:
            mounts = parse(file.read(_LARGEST).decode(errors="surrogateescape"))
    except OSError as error:
        raise CouldNotLook(f"{table} cannot be read: {error.strerror}") from None
    best: Mount | None = None
    for mount in mounts:
        if PurePosixPath(path).is_relative_to(mount.point) and (
            best is None or len(PurePosixPath(mount.point).parts) >= len(PurePosixPath(best.point).parts)
        ):
            best = mount
    if best is None:
        raise CouldNotLook(f"{path} lies on no file system that {table} knows")
    return best


def _plain(text: str) -> str:
    """Blank, tab, line end and backslash are written in octal."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
