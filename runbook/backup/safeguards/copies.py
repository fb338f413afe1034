"""Does a further copy hold the newest local backup, byte for byte?

Told by the fingerprints that verifications left beside both (``print`` in the ledger), else by reading
both, when they are small enough to be read while somebody waits.
"""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from runbook import units
from runbook.backup import layout, sums
from runbook.backup.inventory import Inventory, Item
from runbook.backup.manifest import LEFT_BY_OTHERS
from runbook.hosts import localfiles


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """``equal`` None: not compared, ``words`` say why."""

    equal: bool | None
    words: str


def newest_here(found: Inventory) -> Item | None:
    """The newest backup of the local folder that is complete, as far as names and sizes tell."""
    here = [one for one in found.backups if one.tier == "local"]
    return next((one for one in here if one.complete), None)


def same_in(found: Inventory, place: str, id: str) -> Item | None:
    return next((one for one in found.backups if one.place == place and one.id == id), None)


def compare(one: Item, other: Item, up_to: int, stop: threading.Event | None = None) -> Compared:
    """Two copies of one backup on this PC; more than ``up_to`` bytes are not read. Blocking. Raises
    OSError."""
    ours, theirs = _sizes(Path(one.path)), _sizes(Path(other.path))
    if ours != theirs:
        name = next(iter(sorted(ours.items() ^ theirs.items())))[0]
        return Compared(equal=False, words=f"{name!r} is not there with the same size on both sides")
    prints = [_print(item) for item in (one, other)]
    if all(prints) and prints[0] != prints[1]:
        return Compared(equal=False, words="their verifications found other contents")
    if all(prints):
        return Compared(equal=True, words="by the SHA-256 of all files when both were verified")
    if (total := sum(ours.values())) > up_to:
        words = f"{units.size(total)} are too much to read now: verify both, then it is known"
        return Compared(equal=None, words=words)
    read = [
        sums.print_of(localfiles.manifest(Path(item.path), stop)) if not item.archive
        # a single file: its name is the same on both sides
        else localfiles.sha256(Path(item.path), stop)
        for item in (one, other)
    ]  # fmt: skip
    if stop is not None and stop.is_set():
        raise InterruptedError(one.path)
    if read[0] == read[1]:
        return Compared(equal=True, words=f"by the SHA-256 of all {len(ours)} files, read now")
    return Compared(equal=False, words="the SHA-256 of their files differs")


def _print(item: Item) -> str:
    return item.verified.print if item.verified else ""


def _sizes(path: Path) -> dict[str, int]:
    if path.is_file():
        return {path.name: path.stat().st_size}
    return {name: size for name, size in layout.sizes(path).items() if not LEFT_BY_OTHERS.fullmatch(name)}
