"""Have two copies of a backup the same content? By the SHA-256 of every file, each hashed where it lies."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from runbook.errors import CouldNotLook
from runbook.hosts.base import Completed, Host
from runbook.hosts.localfiles import manifest
from runbook.platform.lastwords import last_words
from runbook.together import together

#: seconds the backup VM has to read one backup: 180 GB at 100 MB/s
LIMIT = 1800.0


async def both(host: Host, remote: str, local: Path) -> tuple[dict[str, str], dict[str, str]]:
    """(sums on ``host``, sums on this PC), by path from the folder; both are read at the same time.
    Raises CouldNotLook, TimedOut, HostError."""
    stop = threading.Event()
    try:
        there, here = await together([_remote(host, remote), _local(local, stop)])
    finally:
        stop.set()  # cancelled, or the other side failed: the thread ends at its next block
    return there, here


async def _local(folder: Path, stop: threading.Event) -> dict[str, str]:
    try:
        return await asyncio.to_thread(manifest, folder, stop)
    except OSError as error:
        raise CouldNotLook(f"{folder} on this PC cannot be read: {error}") from None


async def _remote(host: Host, folder: str) -> dict[str, str]:
    root = folder.rstrip("/")
    done = await host.run(
        ["find", root, "-type", "f", "-exec", "sha256sum", "-z", "--", "{}", "+"],
        timeout=LIMIT,
        limit=32_000_000,
    )
    if not done.ok:
        raise CouldNotLook(f"The files of {root} on {host.name} cannot be hashed: {last_words(done)}")
    if done.truncated:
        raise CouldNotLook(f"{root} on {host.name} holds too many files to list.")
    return parse(done, root)


def parse(done: Completed, root: str) -> dict[str, str]:
    """What ``sha256sum -z`` prints: sum, blank, blank or star, path as it is, NUL."""
    found = {}
    for entry in done.stdout.decode(errors="surrogateescape").split("\0"):
        sum, path = entry[:64], entry[66:]
        if path:
            found[path.removeprefix(f"{root}/")] = sum
    return found
