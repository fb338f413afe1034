"""Every backup of every tier and place, with its last verification.

A place that cannot be looked at is told with the reason; the others are shown all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from runbook.backup import layout, ledger
from runbook.backup.layout import Backup, Found
from runbook.backup.ledger import Entry
from runbook.backup.manifest import NAME as MANIFEST
from runbook.backup.safeguards import seen
from runbook.context import Look
from runbook.errors import RunbookError
from runbook.hosts.base import Host
from runbook.together import together

#: looked: all of it was seen; absent: a further folder that is not there now, a drive for example
State = Literal["looked", "absent", "unknown"]
#: bad: there, but not as it should be; unknown: in an archive, which is not opened
ManifestState = Literal["there", "bad", "none", "unknown"]
#: how far a clock may be ahead before what it dated is not believed
AHEAD = timedelta(days=1)


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One backup in one place. ``made`` and ``verified`` are None where nothing tells."""

    id: str
    place: str  #: the place's name
    tier: str
    path: str
    made: datetime | None
    bytes: int
    files: int
    nodes: tuple[str, ...]
    archive: bool
    manifest: ManifestState
    complete: bool
    problems: tuple[str, ...]
    verified: Entry | None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """``problem``: why it could not be looked at; ``complaints``: what in it could not be read."""

    name: str  #: "backup VM", "this PC", "copy 1" …
    path: str
    state: State
    problem: str = ""
    complaints: tuple[str, ...] = ()


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    places: tuple[Place, ...]
    backups: tuple[Item, ...]  #: newest first


class _Seen(msgspec.Struct, frozen=True):
    place: Place
    backups: tuple[Backup, ...] = ()
    beside: tuple[Entry, ...] = ()  #: of the ledgers in that place


async def take(look: Look, *, vm: bool = True) -> Inventory:
    """Look everywhere, side by side; ``vm`` False: on this PC alone. Raises nothing for a place that cannot
    be looked at."""
    site, now = look.site.backup, look.clock.now()
    work = [_local("this PC", Path(site.local), "local", site.databases)]
    work += [
        _local(f"copy {number}", Path(path), "copy", site.databases)
        for number, path in enumerate(site.copies, 1)
    ]
    found = await together([*work, _remote(look)] if vm else work)
    here = found[: len(work)]
    reachable = {path: one.place.state != "absent" for path, one in zip(site.copies, here[1:], strict=True)}
    await asyncio.to_thread(seen.note, seen.state_folder(look), look.site.name, reachable, now)
    elsewhere = [entry for one in here for entry in one.beside]
    rows = {id(one): (place, one) for place in found for one in place.backups}
    ordered = [rows[id(one)] for one in layout.newest_first(one for _, one in rows.values())]
    return Inventory(
        at=now,
        places=tuple(one.place for one in (*found[len(work) :], *here)),
        backups=tuple(
            _item(place.place, one, last_verified(one, place.beside, elsewhere, now))
            for place, one in ordered
        ),
    )


def last_verified(
    backup: Backup, beside: Iterable[Entry], elsewhere: Iterable[Entry], now: datetime
) -> Entry | None:
    """The newest entry that is about this very copy: of the ledger beside it by its id (the drive may be
    mounted elsewhere now), of any other ledger by its path. What is dated in the future is not believed."""
    name = backup.path.rpartition("/")[2]
    own = [
        one
        for one in beside
        if one.path == backup.path or (one.id == backup.id and one.path.rpartition("/")[2] == name)
    ]
    own += [one for one in elsewhere if one.path == backup.path]
    return max(
        (one for one in own if one.at.tzinfo and one.at <= now + AHEAD), key=lambda one: one.at, default=None
    )


def _item(place: Place, backup: Backup, verified: Entry | None) -> Item:
    return Item(
        id=backup.id,
        place=place.name,
        tier=backup.tier,
        path=backup.path,
        made=backup.made,
        bytes=backup.bytes,
        files=len(backup.files),
        nodes=tuple(sorted(backup.nodes)),
        archive=backup.archive,
        manifest=_manifest(backup),
        complete=backup.complete,
        problems=backup.problems,
        verified=verified,
    )


def _manifest(backup: Backup) -> ManifestState:
    if backup.archive:
        return "unknown"
    if backup.manifest is not None:
        return "there"
    return "bad" if MANIFEST in backup.files else "none"


# ── the places ─────────────────────────────────────────────────────────────────────────────
async def _remote(look: Look) -> _Seen:
    site = look.site.backup
    name, path = "backup VM", site.remote
    try:
        (machine,) = look.hosts.select("backup")[:1]
        host = await look.hosts.open(machine.name)
        found = await layout.look_remote(host, site.remote, site.databases)
        entries, complaints = await _ledgers(host, found.ledgers)
    except RunbookError as error:
        return _Seen(Place(name=name, path=path, state="unknown", problem=str(error)))
    except ValueError:  # no such machine
        return _Seen(Place(name=name, path=path, state="unknown", problem="no backup VM is known"))
    return _Seen(_looked(name, path, found, complaints), found.backups, entries)


async def _ledgers(host: Host, paths: Sequence[str]) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Of each its end alone, however large it is."""
    entries: list[Entry] = []
    complaints: list[str] = []
    for path in paths:
        done = await host.run(
            ["tail", "-c", str(ledger.LARGEST), "--", path], timeout=60, limit=ledger.LARGEST
        )
        if done.ok:
            entries += ledger.parse(done.stdout)
        else:
            complaints.append(f"{path} cannot be read")
    return tuple(entries), tuple(complaints)


async def _local(name: str, folder: Path, tier: str, databases: tuple[str, ...]) -> _Seen:
    try:
        found = await asyncio.to_thread(layout.look_local, folder, databases, tier)
    except FileNotFoundError:
        if tier == "copy":
            return _Seen(Place(name=name, path=str(folder), state="absent"))
        return _Seen(_looked(name, str(folder), Found(backups=()), ()))  # none was fetched yet
    except OSError as error:
        problem = f"{folder} cannot be read: {error.strerror}"
        return _Seen(Place(name=name, path=str(folder), state="unknown", problem=problem))
    complaints: tuple[str, ...] = ()
    entries: list[Entry] = []
    try:
        entries = await asyncio.to_thread(ledger.read, folder.expanduser())
    except OSError as error:
        complaints = (f"{folder / ledger.NAME} cannot be read: {error.strerror}",)
    return _Seen(_looked(name, str(folder), found, complaints), found.backups, tuple(entries))


def _looked(name: str, path: str, found: Found, more: tuple[str, ...]) -> Place:
    return Place(name=name, path=path, state="looked", complaints=(*found.complaints, *more))
