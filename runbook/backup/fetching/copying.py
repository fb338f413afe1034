"""A second copy in a further folder, a mounted drive for example: compared after writing, kept alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec

from runbook.backup import ledger
from runbook.backup.fetching import comparing, keeping, room
from runbook.backup.fetching.hearing import Hearing
from runbook.backup.layout import sizes
from runbook.backup.ledger import Entry
from runbook.errors import ActionFailed, RunbookError
from runbook.hosts.base import Host
from runbook.units import size


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """``path``: of the copy; ``problem``: why there is none that is equal; ``absent``: the folder is not
    there now."""

    folder: str
    path: str = ""
    problem: str = ""
    absent: bool = False
    deleted: tuple[str, ...] = ()


async def copy(
    here: Host,
    source: Path,
    folder: Path,
    entry: Entry | None,
    keep: int,
    held: Mapping[str, str] | None,
    hearing: Hearing,
) -> Copied:
    """``entry``: the verification of ``source``; ``held`` None: nothing is deleted. The folder is never made:
    where a drive is not mounted, it would be the PC's own disk. Raises nothing but CancelledError."""
    if not await asyncio.to_thread(folder.is_dir):
        return Copied(folder=str(folder), absent=True)
    target = folder / source.name
    try:
        if await asyncio.to_thread(target.exists):
            if difference := await asyncio.to_thread(comparing.copies, source, target):
                problem = f"{target} is another one: {difference}. It was not touched."
                return Copied(folder=str(folder), problem=problem)
            hearing.say(f"{target} is there already, equal by SHA-256.")
        else:
            await _write(here, source, target, hearing)
        if entry is not None:
            await asyncio.to_thread(_record, folder, msgspec.structs.replace(entry, path=str(target)))
        gone = await _keep(folder, keep, held, hearing) if held is not None else ()
    except RunbookError as error:
        return Copied(folder=str(folder), problem=str(error))
    except OSError as error:
        problem = f"{error.filename or folder}: {error.strerror}."
        return Copied(folder=str(folder), problem=problem)
    return Copied(folder=str(folder), path=str(target), deleted=gone)


async def _write(here: Host, source: Path, target: Path, hearing: Hearing) -> None:
    total = source.stat().st_size if source.is_file() else sum(sizes(source).values())
    there = await asyncio.to_thread(room.free, target.parent)
    room.require(total, there, str(target.parent), "The second copy was not made.")
    hearing.say(f"Copying {size(total)} to {target}, compared by SHA-256 after writing.")
    tick = hearing.of("copying")
    if source.is_dir():
        await here.put_tree(source, str(target), tick=tick)
    else:
        await here.put_file(source, str(target), tick=tick)
    if not target.exists():
        raise ActionFailed(f"{target} is not there after the copy.")


def _record(folder: Path, entry: Entry) -> None:
    """Equal by SHA-256 to what was verified: so it is verified as well. Once."""
    if all(one.path != entry.path or one.at != entry.at for one in ledger.read(folder)):
        ledger.add(folder, entry)


async def _keep(folder: Path, keep: int, held: Mapping[str, str], hearing: Hearing) -> tuple[str, ...]:
    backups, entries = await asyncio.to_thread(keeping.look, folder, (), "copy")
    gone = []
    for path in keeping.surplus(backups, entries, keep, held).paths:
        count = await asyncio.to_thread(keeping.delete, Path(path))
        gone.append(path)
        hearing.say(f"Deleted {path} ({size(count)}): beyond the latest {keep}.")
    return tuple(gone)
