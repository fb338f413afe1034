"""Is there a copy of OpenTofu's state beside the backups, and is it today's?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from runbook.hosts import localfiles

NAMES = ("terraform.tfstate", "tofu.tfstate")
_LARGEST = 64_000_000
#: folders below a place that are looked into: DIR/<id>/infrastructure/
_DEEPEST = 3


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """``current``: is it the same as the state in use? None: that cannot be told from here."""

    path: str
    current: bool | None
    words: str


def find(places: Iterable[Path]) -> list[Path]:
    """Files that are called as a state is, without following links. Blocking; what cannot be read is
    passed over."""
    found = []
    for place in places:
        root = place.expanduser()
        for at, folders, names in os.walk(root):
            if len(Path(at).relative_to(root).parts) >= _DEEPEST:
                folders.clear()
            folders[:] = [name for name in folders if not name.startswith("node-")]
            found += [Path(at, name) for name in names if name in NAMES or name.endswith(".tfstate")]
    return found


def judge(copies: Iterable[Path], folder: Path) -> list[Copy]:
    """Each against the state in the OpenTofu folder, the best first. Blocking. Raises HostError."""
    own = _read(folder.expanduser() / NAMES[0])
    found = []
    for path in copies:
        raw = _read(path)
        if raw is None or not raw.strip():
            continue
        if own is None:
            found.append(Copy(path=str(path), current=None, words="the state in use is not on this PC"))
        elif raw == own:
            found.append(Copy(path=str(path), current=True, words="the same as the one in use"))
        else:
            found.append(_older(path, raw, own))
    return sorted(found, key=lambda one: (one.current is False, one.current is None, one.path))


def _older(path: Path, raw: bytes, own: bytes) -> Copy:
    theirs, ours = _serial(raw), _serial(own)
    if theirs and ours and theirs[0] == ours[0]:
        words = f"its serial is {theirs[1]}, the one in use has {ours[1]}"
        return Copy(path=str(path), current=False, words=words)
    return Copy(path=str(path), current=False, words="it is not the one in use")


def _serial(raw: bytes) -> tuple[str, int] | None:
    """(lineage, serial) of a state that is not encrypted."""
    try:
        told = json.loads(raw)
        return str(told["lineage"]), int(told["serial"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _read(path: Path) -> bytes | None:
    return localfiles.read_bytes("this PC", path, _LARGEST)
