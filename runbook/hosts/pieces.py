"""Many small files of a machine as one stream through one channel: their contents one after another,
cut here by the sizes that were listed. At a distance a file by itself takes as long as a round trip.

Nothing in the stream names a file or a place, so nothing in it has to be refused; one whose size
changed meanwhile moves the cuts, and then SHA-256s do not agree.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.errors import HostError
from runbook.hosts.channel import complaint
from runbook.hosts.transfer import Differs, moving

if TYPE_CHECKING:
    from runbook.hosts.ssh import SshHost

#: receives the number of bytes that were moved just now
Count = Callable[[int], None]
_SEND = 'cd -- "$1" && exec xargs -0 cat --'
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


async def get(
    host: SshHost, source: str, sizes: Mapping[str, int], folder: Path, count: Count
) -> dict[str, str]:
    """Files of ``source`` there, into ``folder``, which holds their folders already; the SHA-256s of what
    came. Raises HostError, OutcomeUnknown, OSError, Differs; what came whole stays."""
    cutter = await asyncio.to_thread(_Cutter, folder, sizes)
    if not any(sizes.values()):
        return cutter.sums
    argv = ["env", "LC_ALL=C", "sh", "-c", _SEND, "runbook", source]
    try:
        async with host.command(argv) as channel:
            channel.go(b"".join(os.fsencode(f"./{name}") + b"\0" for name in sizes))
            while data := await moving(host, channel.read()):
                await asyncio.to_thread(cutter.feed, data)
                count(len(data))
    finally:
        cutter.close()
    if channel.exit_status is None:
        raise host.lost(argv)
    if channel.exit_status != 0:
        why = complaint(host.name, channel.errors.completed(channel.exit_status))
        raise HostError(host.name, f"{host.name}: {source}: {why}. The target was not made.")
    if cutter.left():
        raise Differs(f"the files of {source} have other sizes than they were listed with; {source} differs")
    return cutter.sums


class _Cutter:
    """Writes each file anew: nothing is ever written through a link."""

    def __init__(self, folder: Path, sizes: Mapping[str, int]) -> None:
        self._root = str(folder)
        self._names = iter(sizes.items())
        self._name = ""
        self._file = -1
        self._missing = 0  # of the open file
        self._too_much = False
        self._digest = hashlib.sha256()
        self.sums: dict[str, str] = {}
        self._next()

    def feed(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._file >= 0:
            piece = view[: self._missing]
            self._digest.update(piece)
            at = 0
            while at < len(piece):
                at += os.write(self._file, piece[at:])
            self._missing -= len(piece)
            view = view[len(piece) :]
            if not self._missing:
                self._next()
        self._too_much = self._too_much or bool(view)

    def left(self) -> bool:
        return self._file >= 0 or self._too_much

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def _next(self) -> None:
        """To the next file that is not empty."""
        while True:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
                self.sums[self._name] = self._digest.hexdigest()
            found = next(self._names, None)
            if found is None:
                return
            self._name, self._missing = found
            self._digest = hashlib.sha256()
            path = f"{self._root}/{self._name}"
            try:
                self._file = os.open(path, _FLAGS, 0o600)
            except FileExistsError:  # cut off before
                os.unlink(path)  # noqa: PTH108
                self._file = os.open(path, _FLAGS, 0o600)
            if self._missing:
                return
