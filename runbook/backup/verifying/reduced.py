"""A reduced look at a backup on a VM that cannot run the worker: manifest, md5sum and gzip -t there.

What the dumps hold is not read; no verdict is given and nothing goes on record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec

from runbook.backup import layout, manifest
from runbook.errors import EXIT_FAILED, EXIT_OK, CouldNotLook
from runbook.hosts.base import Host
from runbook.platform.lastwords import last_words
from runbook.text import printable

_LONG = 4 * 3600.0
_SUMS = r"""cd -- "$1" && exec find . -type f -exec md5sum -z -- {} +"""
_GZIP = r"""cd -- "$1" && find . -type f -name "*.gz" -exec sh -c '
  for file do gzip -t -- "$file" 2>/dev/null || printf "%s\0" "$file"; done' sh {} +"""


class Reduced(msgspec.Struct, frozen=True, kw_only=True):
    machine: str
    path: str
    files: int
    way: str | None
    problems: tuple[str, ...]


async def look(host: Host, path: str, roots: Iterable[str], expected: Iterable[str] = ()) -> Reduced:
    """``roots``, ``expected``: as of verify. Raises HostError, CouldNotLook."""
    path = path.rstrip("/")
    raw = await host.read_bytes(f"{path}/{manifest.NAME}", limit=manifest.LARGEST)
    hashed = await _names(host, _SUMS, path)
    hashes = {entry[34:].removeprefix("./"): entry[:32] for entry in hashed}
    broken = await _names(host, _GZIP, path)
    problems = [f"{name.removeprefix('./')} is damaged: gzip -t refuses it" for name in broken]
    way = None
    id = path.rpartition("/")[2]
    sizes = dict.fromkeys(hashes, 1) | {name: 0 for name, sum in hashes.items() if sum == manifest.EMPTY_MD5}
    backup = layout.describe(id, "backup", "daily", path, sizes, raw, expected)
    problems += backup.problems
    if backup.manifest:
        match = manifest.check(backup.manifest, hashes, id=id, here=path, roots=roots)
        way = match.way
        if way is None:
            problems.append(f"its checksum matches in none of the {match.tried} ways it can have been made")
    return Reduced(machine=host.name, path=path, files=len(hashes), way=way, problems=tuple(problems))


async def _names(host: Host, script: str, path: str) -> list[str]:
    done = await host.run(["sh", "-c", script, "look", path], timeout=_LONG, limit=64_000_000)
    if not done.ok or done.truncated:
        raise CouldNotLook(f"{path} on {host.name} could not be read: {last_words(done)}")
    return [entry for entry in done.stdout.decode(errors="surrogateescape").split("\0") if entry]


def show(found: Reduced, as_json: bool) -> int:
    if as_json:
        print(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        print(f"REDUCED look at {printable(found.path)} on {found.machine}: {found.files} files hashed.")
        print(f"checksum: {printable(found.way)}" if found.way else "checksum: no match")
        for text in found.problems:
            print(f"! {printable(text)}")
        print(
            "Not looked at: what the dumps hold, the members of the archives, the nodes' copies, uploads.\n"
            "Not a verification: nothing went on record. Fetch it and verify it here for that."
        )
    return EXIT_FAILED if found.problems else EXIT_OK
