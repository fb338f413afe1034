"""SHA256SUMS: every file of a kit, as ``sha256sum -c`` reads it."""

from __future__ import annotations

import os
from pathlib import Path

from runbook.errors import UseError
from runbook.hosts.localfiles import sha256

NAME = "SHA256SUMS"


def write(kit: Path) -> str:
    """Returns the SHA-256 of the list itself: noted elsewhere, it shows any change to the kit."""
    listed = kit / NAME
    text = "".join(f"{sha256(kit / name)}  {name}\n" for name in _names(kit))
    listed.write_text(text, encoding="utf-8", errors="surrogateescape")
    return sha256(listed)


def problems(kit: Path) -> list[str]:
    """What differs from the list: changed, missing, or there besides. Raises UseError when it is no kit."""
    try:
        text = (kit / NAME).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UseError(
            f"{kit} is not a kit: {NAME} cannot be read ({error.strerror}).",
            next="runbook kit DIR makes one.",
        ) from None
    wanted: dict[str, str] = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or name.startswith("/") or ".." in Path(name).parts:
            return [f"{NAME} is damaged: a line of it is no sum and name"]
        wanted[name] = digest
    there = set(_names(kit))
    found = [f"{name} is missing" for name in sorted(wanted.keys() - there)]
    found += [f"{name} is not of this kit" for name in sorted(there - wanted.keys())]
    for name in sorted(wanted.keys() & there):
        try:
            if (kit / name).is_symlink() or sha256(kit / name) != wanted[name]:
                found.append(f"{name} has changed")
        except OSError as error:
            found.append(f"{name} cannot be read: {error.strerror}")
    return found


def _names(kit: Path) -> list[str]:
    """All that are no folders, without the list itself, from the kit's folder."""
    found = []
    for at, folders, names in os.walk(kit):
        links = [name for name in folders if Path(at, name).is_symlink()]
        found += [str(Path(at, name).relative_to(kit)) for name in (*names, *links)]
    return sorted(name for name in found if name != NAME)
