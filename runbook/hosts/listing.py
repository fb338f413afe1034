"""What is below a folder, on a machine over SSH and on this PC: names, kinds, sizes, SHA-256s.

Names may hold anything but NUL: they come and go ended by it, apart from what is said about them, so
that no name can be taken for anything else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from runbook.errors import HostError
from runbook.hosts.channel import complaint
from runbook.hosts.files import SUM, find_sum, script

if TYPE_CHECKING:
    from runbook.hosts.ssh import SshHost

Kind = Literal["file", "folder", "link", "other"]
_LONG = 4 * 3600.0
_LIMIT = 256_000_000
#: for each batch the names, an empty name, what is said of them as lines, NUL
_LIST = r"""
cd -- "$1" && exec find . ! -name . -exec sh -c '
  printf "%s\0" "$@"; printf "\0"; stat -c "%f %s" -- "$@"; printf "\0"' runbook {} +
"""
_SUMS = r"""
cd -- "$1" && exec xargs -0 sh -c '
  printf "%s\0" "$@"; printf "\0"
  if command -v sha256sum >/dev/null 2>&1; then sha256sum -- "$@"; else openssl dgst -sha256 -r -- "$@"; fi |
    cut -c1-65
  printf "\0"' runbook
"""
#: a process a file, with the fastest program there is
_SUM_OF_EACH = r"""
cd -- "$1" && exec xargs -0 -n 1 sh -c "$2" runbook
"""
_EACH = SUM + r"""printf "%s\0" "$1"; printf "\0"; sum < "$1"; printf "\0" """


class Entry(NamedTuple):
    kind: Kind
    size: int  #: of a file, in bytes; 0 of others


async def there(host: SshHost, folder: str) -> dict[str, Entry]:
    """Everything below ``folder`` on that machine, by its path from it. Raises HostError, also for what
    cannot be read: a part must not pass for the whole."""
    done = await script(host, _LIST, folder, timeout=_LONG, limit=_LIMIT)
    if not done.ok or done.truncated:
        raise HostError(
            host.name, f"{host.name}: {folder} is no folder that can be read: {complaint(host.name, done)}."
        )
    try:
        found = {name: _entry(line) for name, line in pairs(done.stdout)}
    except ValueError as error:
        raise HostError(host.name, f"{host.name}: {folder} could not be listed: {error}.") from error
    if bad := next((name for name in found if name.startswith("/") or ".." in name.split("/")), None):
        raise HostError(
            host.name, f"{host.name}: {folder} was listed with {bad!r}, which lies outside of it."
        )
    return found


def here(folder: Path) -> dict[str, Entry]:
    """The same on this PC. Blocking. Raises OSError."""
    found: dict[str, Entry] = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(folder / below) as entries:
            for one in entries:
                name = f"{below}/{one.name}" if below else one.name
                status = one.stat(follow_symlinks=False)
                found[name] = _of(status.st_mode, status.st_size)
                if found[name].kind == "folder":
                    waiting.append(name)
    return found


async def sums(host: SshHost, folder: str, names: Iterable[str], *, large: bool = False) -> dict[str, str]:
    """SHA-256 of those files below ``folder`` there. ``large``: few and long ones. Raises HostError."""
    given = b"".join(os.fsencode(f"./{name}") + b"\0" for name in names)
    if not given:
        return {}
    text, args = (_SUM_OF_EACH, (_EACH,)) if large else (_SUMS, ())
    done = await script(host, text, folder, *args, stdin=given, timeout=_LONG, limit=_LIMIT)
    try:
        found = parse_sums(done.stdout)
        if not done.ok or done.truncated:
            raise ValueError("not all of its files could be read")
    except ValueError as error:
        why = f"{error}; {complaint(host.name, done)}" if done.stderr else str(error)
        raise HostError(host.name, f"{host.name}: {folder} could not be compared: {why}.") from error
    return found


def parse_sums(raw: bytes) -> dict[str, str]:
    """Raises ValueError when names and sums do not go together one by one."""
    found = {name: find_sum(line) for name, line in pairs(raw)}
    if not all(found.values()):
        raise ValueError("a file changed or could not be read")
    return found


def pairs(raw: bytes) -> list[tuple[str, bytes]]:
    """(name, line about it) of every batch. Raises ValueError when there is not a line for each."""
    found: list[tuple[str, bytes]] = []
    names: list[bytes] = []
    pieces = iter(raw.split(b"\0"))
    for piece in pieces:
        if piece:
            names.append(piece)
        elif names:
            lines = next(pieces, b"").splitlines()
            if len(lines) != len(names):
                raise ValueError("a file changed or could not be read")
            found += [
                (os.fsdecode(name.removeprefix(b"./")), line) for name, line in zip(names, lines, strict=True)
            ]
            names = []
    if names:
        raise ValueError("the list of files is cut off")
    return found


def first_change(before: Mapping[str, Entry], now: Mapping[str, Entry]) -> str:
    """In words, what was changed first between two looks; empty when nothing was."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            return (
                f"{name!r} was {'added' if name not in before else 'changed' if name in now else 'removed'}"
            )
    return ""


def _entry(line: bytes) -> Entry:
    mode, _, size = line.partition(b" ")
    return _of(int(mode, 16), int(size))


def _of(mode: int, size: int) -> Entry:
    if stat.S_ISREG(mode):
        # what gains rights when it is run belongs into no copy
        return Entry("file", size) if not mode & 0o6000 else Entry("other", 0)
    return Entry("folder" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "other", 0)
