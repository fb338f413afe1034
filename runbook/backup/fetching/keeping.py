"""The latest N stay; the rest goes, one by one, but never what somebody may still rely on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from runbook.backup import layout, ledger, sums
from runbook.backup.layout import Backup
from runbook.backup.ledger import Entry
from runbook.errors import ActionFailed
from runbook.units import size

_GONE = ".deleted.part"


class Surplus(msgspec.Struct, frozen=True, kw_only=True):
    """What keeping N would delete. ``spared``: what it would delete but for a reason, in words."""

    paths: tuple[str, ...] = ()
    bytes: int = 0
    spared: tuple[str, ...] = ()


def surplus(
    backups: Sequence[Backup], entries: Sequence[Entry], keep: int, held: Mapping[str, str]
) -> Surplus:
    """``held``: id -> why it stays. Copies that are incomplete or were found damaged neither count among
    the latest nor are deleted: a person looks at them. The newest one that was verified stays."""
    counted: list[str] = []
    verdicts = {one.path: _verdict(one, entries) for one in backups}
    ordered = layout.newest_first(backups)
    verified = next((one.id for one in ordered if verdicts[one.path] in ("sound", "doubtful")), "")
    gone: list[Backup] = []
    spared: list[str] = []
    for one in ordered:
        if not (one.complete or one.archive):
            spared.append(f"{one.id} is not complete: {one.problems[0]}")
        elif verdicts[one.path] == "damaged":
            spared.append(f"{one.id} was found damaged when it was verified")
        elif one.id in counted or len(counted) < keep:
            counted += [one.id] if one.id not in counted else []
        elif one.id == verified:
            spared.append(f"{one.id} is the newest one that was verified")
        elif one.id in held:
            spared.append(f"{one.id}: {held[one.id]}")
        else:
            gone.append(one)
    return Surplus(
        paths=tuple(one.path for one in reversed(gone)),
        bytes=sum(one.bytes for one in gone),
        spared=tuple(spared),
    )


def _verdict(backup: Backup, entries: Sequence[Entry]) -> str:
    """Of the newest verification of that very copy; the folder may be mounted elsewhere now."""
    name = backup.path.rpartition("/")[2]
    own = [one for one in entries if one.id == backup.id and one.path.rpartition("/")[2] == name]
    last = max(
        own, key=lambda one: one.at if one.at.tzinfo else datetime.min.replace(tzinfo=UTC), default=None
    )
    return last.verdict if last else ""


def look(folder: Path, databases: tuple[str, ...], tier: str) -> tuple[tuple[Backup, ...], list[Entry]]:
    """(backups in that folder, its ledger). Blocking. Raises OSError."""
    try:
        found = layout.look_local(folder, databases, tier)
    except FileNotFoundError:
        return (), []
    return found.backups, ledger.read(folder)


def delete(path: Path) -> int:
    """First its name goes, so that what is half deleted is no backup; then the rest, and the list of
    SHA-256s beside it. The bytes. Blocking. Raises ActionFailed."""
    going = path.with_name(f".{path.name}{_GONE}")
    try:
        count = path.stat().st_size if path.is_file() else sum(layout.sizes(path).values())
        path.rename(going)
        _remove(going)
        sums.path_beside(path).unlink(missing_ok=True)
    except OSError as error:
        raise ActionFailed(
            f"{path} could not be deleted: {error.filename or path}: {error.strerror}. No other was deleted "
            "after it.",
            next="Look at who owns it, then fetch again: deleting goes on there.",
        ) from error
    return count


def clear(folder: Path) -> None:
    """What an interrupted deletion left. Blocking. Raises OSError."""
    for one in folder.glob(f".*{_GONE}"):
        _remove(one)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def words(found: Surplus) -> str:
    names = ", ".join(Path(path).name for path in found.paths)
    return f"{names} ({size(found.bytes)})"
