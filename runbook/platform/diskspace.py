"""The free space of a file system on a host, as POSIX ``df -Pk`` tells it."""

from __future__ import annotations

import re

from runbook.errors import CouldNotLook
from runbook.hosts.base import Completed, Host
from runbook.platform.lastwords import ended


async def free(host: Host, path: str = ".") -> tuple[int, str]:
    """(free bytes, mount point) of the file system that ``path`` is on, relative to home. Raises
    CouldNotLook, HostError."""
    return parse_df(await host.run(["df", "-Pk", "--", path], timeout=20))


def parse_df(done: Completed) -> tuple[int, str]:
    """(free bytes, mount point) of the one file system asked for. Names may hold spaces."""
    text = done.stdout.decode(errors="replace")
    found = re.findall(r"\s\d+\s+\d+\s+(-?\d+)\s+(?:\d+%|-)\s+(.+)$", text, re.MULTILINE)
    if not done.ok or not found:
        raise CouldNotLook(ended("df", done))
    free, mount = found[-1]
    return int(free) * 1024, mount.strip()
