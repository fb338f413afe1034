"""The text of a dump, read forward only: a file, one compressed with gzip, a body from a server.

Only what is still of use is in memory: a piece at a time, or as much as the document needs that is
being read.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

#: bytes read at once: few enough that what is made of them stays in the processor's cache
PIECE = 1 << 18
#: fills a piece of memory; how many bytes of it, 0 at the end
Read = Callable[[memoryview], int]
_GZIP = b"\x1f\x8b"


class DamagedGzip(OSError):
    """``ended``: the file is too short; otherwise its content is not what was compressed."""

    def __init__(self, why: str, *, ended: bool) -> None:
        super().__init__(why)
        self.ended = ended


class Text:
    """``data`` from ``start`` to ``end`` is what was read and not dropped yet; ``offset`` is where
    ``data`` begins in the whole text. Places in ``data`` stay as they are until something is dropped."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.data = bytearray(2 * PIECE)
        self.start = self.end = self.offset = 0
        self.damage: DamagedGzip | None = None

    def more(self, size: int = 1) -> bool:
        """Read on, ``size`` bytes or what comes at once; False at the end, and where ``damage`` lets no
        more be read. Raises what the stream does."""
        before = self.end
        while self.end < before + size and (count := self._piece()):
            self.end += count
        return self.end > before

    def _piece(self) -> int:
        if len(self.data) < self.end + PIECE:
            self.data.extend(bytes(PIECE))
        if self.damage:
            return 0
        try:
            return self._read(memoryview(self.data)[self.end : self.end + PIECE])
        except DamagedGzip as damage:
            # a new one: the traceback of this one refers to ``data``, which could not grow any more
            self.damage = DamagedGzip(str(damage), ended=damage.ended)
            return 0

    def drop(self, place: int) -> None:
        """What stands before ``place`` is of no more use."""
        left = self.end - place
        if left > place:  # moved to the front only when that is little beside what was dropped
            self.start = place
            return
        data = memoryview(self.data)
        data[:left] = data[place : self.end]
        del data
        self.offset += place
        self.start, self.end = 0, left
        if left < PIECE and len(self.data) > 8 * PIECE:  # a large document is over
            del self.data[2 * PIECE :]


def opened(path: Path) -> tuple[AbstractContextManager[object], Read]:
    """A file and how to read its text. Whether it is compressed is seen from its first bytes; one whose
    name says so may have been unpacked under it. Raises OSError."""
    file = path.open("rb")
    return file, reading(file, path.name)


def reading(file: io.BufferedReader, name: str) -> Read:
    """The same for a file that is open."""
    head = file.peek(2)[:2]
    named = name.endswith(".gz") and head and head[:1] not in b"{ \t\r\n\xef"
    if head == _GZIP or named:
        return _unzipping(gzip.GzipFile(fileobj=file))
    return file.readinto1


def _unzipping(file: gzip.GzipFile) -> Read:
    def read(piece: memoryview) -> int:
        try:
            return file.readinto1(piece)  # what could be read before the damage is given first
        except EOFError:
            raise DamagedGzip("its gzip file ends too early", ended=True) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DamagedGzip(f"its gzip file is not sound: {_words(str(error))}", ended=False) from None

    return read


def _words(said: str) -> str:
    if said.startswith("CRC check failed"):
        return "the checksum of its content is another"
    if said.startswith("Incorrect length"):
        return "its content has another length than its trailer says"
    if said.startswith("Not a gzipped file"):
        return "something else stands where gzip should go on"
    return said
