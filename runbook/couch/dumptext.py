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
from typing import cast

#: bytes read at once: few enough that what is made of them stays in the processor's cache
PIECE = 1 << 18
_GZIP = b"\x1f\x8b"


class DamagedGzip(OSError):
    """``ended``: the file is too short; otherwise its content is not what was compressed."""

    def __init__(self, why: str, *, ended: bool) -> None:
        super().__init__(why)
        self.ended = ended


class Text:
    """``data`` is what was read and not dropped yet; ``offset`` is where it stands in the text;
    from ``wide`` on, all of it is ASCII."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.data = bytearray()
        self.offset = self.wide = 0
        self.damage: DamagedGzip | None = None

    def more(self, size: int = 1) -> bool:
        """Read on, ``size`` bytes or what comes at once; False at the end, and where ``damage`` lets no
        more be read. Raises what the stream does."""
        before = len(self.data)
        while len(self.data) < before + size and (piece := self._piece()):
            self.data += piece
            if not piece.isascii():
                self.wide = self.offset + len(self.data)
        return len(self.data) > before

    def _piece(self) -> bytes:
        try:
            return b"" if self.damage else self._read(PIECE)
        except DamagedGzip as damage:
            self.damage = damage
            return b""

    def drop(self, size: int) -> None:
        """The first ``size`` bytes are of no more use."""
        del self.data[:size]
        self.offset += size


def opened(path: Path) -> tuple[AbstractContextManager[object], Callable[[int], bytes]]:
    """A file and how to read its text. Whether it is compressed is seen from its first bytes; one whose
    name says so may have been unpacked under it. Raises OSError."""
    file = cast("io.BufferedReader", path.open("rb", buffering=PIECE))
    head = file.peek(2)[:2]
    named = path.suffix == ".gz" and head and head[:1] not in b"{ \t\r\n\xef"
    if head == _GZIP or named:
        return file, _unzipping(gzip.GzipFile(fileobj=file))
    return file, file.read


def _unzipping(file: gzip.GzipFile) -> Callable[[int], bytes]:
    def read(size: int) -> bytes:
        try:
            return file.read1(size)  # what could be read before the damage is given first
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
