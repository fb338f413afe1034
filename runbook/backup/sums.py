"""Have two copies of a backup the same content? By the SHA-256 of every file, each hashed where it lies.

Our own list of them for a backup that has none lies beside it, never in it, as ``sha256sum -c`` reads it:

    20261101.sha256      <SHA-256>  20261101/node-10.0.1.10/openedx_1.json …
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path

from runbook.backup.manifest import LEFT_BY_OTHERS
from runbook.errors import CouldNotLook, RunbookError
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


# ── our own list, beside a backup ──────────────────────────────────────────────────────────
SUFFIX = ".sha256"
#: a list is no larger: a line a file
_LARGEST = 64_000_000
_LINE = re.compile(rb"(\\?)([0-9a-f]{64}) [ *](.+)")
_ESCAPED = re.compile(rb"\\([\\nr])")
_ESCAPES = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}


def path_beside(backup: Path) -> Path:
    return backup.with_name(backup.name + SUFFIX)


def text(sums: Mapping[str, str]) -> bytes:
    """Path -> SHA-256, as ``sha256sum`` writes it, by ascending path."""
    lines = []
    for raw, sum in sorted((os.fsencode(name), sum) for name, sum in sums.items()):
        escaped = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        lines.append((b"\\" if escaped != raw else b"") + sum.encode() + b"  " + escaped + b"\n")
    return b"".join(lines)


def parse_text(raw: bytes) -> dict[str, str]:
    """The other way round. Raises ValueError for what is no such list."""
    found = {}
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is not a SHA-256 and a path")
        name = match[3]
        if match[1]:
            name = _ESCAPED.sub(lambda escape: _ESCAPES[escape[1]], name)
        found[os.fsdecode(name)] = match[2].decode()
    return found


def load(backup: Path) -> dict[str, str] | None:
    """The list beside a backup; None where there is none. Raises OSError, ValueError."""
    try:
        with path_beside(backup).open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    if len(raw) > _LARGEST:
        raise ValueError("it is larger than any list of a backup's files")
    return parse_text(raw)


def store(backup: Path, sums: Mapping[str, str]) -> Path:
    """Write the list; one that is there is left as it is. ``sums`` by path from the folder that holds the
    backup. Raises RunbookError."""
    path = path_beside(backup)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(text(sums))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise RunbookError(f"{path} is there already. Nothing was written.") from None
    except OSError as error:
        raise RunbookError(f"{path} could not be written: {error.strerror}.") from None
    return path


def print_of(sums: Mapping[str, str]) -> str:
    """The SHA-256 over names and SHA-256s, by which a copy elsewhere is known to be the same. ``sums``: by
    path from the backup's folder; what helpers left in it does not count."""
    own = {name: sum for name, sum in sums.items() if not LEFT_BY_OTHERS.fullmatch(name)}
    return hashlib.sha256(text(own)).hexdigest()
