"""Is the backup of that name here the same as the one there?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from runbook.backup import layout, sums
from runbook.backup.layout import Backup
from runbook.backup.manifest import LEFT_BY_OTHERS
from runbook.errors import CouldNotLook
from runbook.hosts import localfiles
from runbook.hosts.base import Host
from runbook.hosts.files import find_sum
from runbook.platform.lastwords import last_words

T = TypeVar("T")


def by_size(remote: Backup, local: Path) -> str:
    """What differs by names and sizes, in words; empty when nothing does. What helpers dropped into a
    copy does not count. Blocking. Raises OSError."""
    if remote.archive or not local.is_dir():
        if remote.archive and local.is_file() and local.stat().st_size == remote.bytes:
            return ""
        return f"{local.name} has another size or is of another kind"
    return _first(_own(remote.files), _own(layout.sizes(local)))


async def by_content(host: Host, remote: str, local: Path) -> str:
    """The same by the SHA-256 of every file of that folder or archive there; both sides are read. Raises
    HostError, CouldNotLook."""
    if local.is_dir():
        there, here = await sums.both(host, remote, local)
        return _first(_own(there), _own(here))
    done = await host.run(["sha256sum", "--", remote], timeout=sums.LIMIT)
    want = find_sum(done.stdout)
    if not done.ok or not want:
        raise CouldNotLook(f"{remote} on {host.name} cannot be hashed: {last_words(done)}")
    have = await asyncio.to_thread(localfiles.sha256, local)
    return "" if have == want else f"{local.name} differs"


def copies(one: Path, other: Path) -> str:
    """Of two copies on this PC, by the SHA-256 of every file. Blocking. Raises OSError."""
    if one.is_dir() and other.is_dir():
        return _first(_own(localfiles.manifest(one)), _own(localfiles.manifest(other)))
    if one.is_file() and other.is_file() and localfiles.sha256(one) == localfiles.sha256(other):
        return ""
    return f"{other.name} differs"


def _own(files: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in files.items() if not LEFT_BY_OTHERS.fullmatch(name)}


def _first(want: Mapping[str, T], have: Mapping[str, T]) -> str:
    for name in sorted(want.keys() | have.keys()):
        if want.get(name) != have.get(name):
            how = (
                "is not there" if name not in have else "is there besides" if name not in want else "differs"
            )
            return f"{name!r} {how}"
    return ""
