"""A file that is hashed while it is read, so that it is read once."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import IO, Any

BLOCK = 1 << 18
#: hears of bytes that were read; may raise InterruptedError
Came = Callable[[int], None]


class Feed(io.RawIOBase):
    """Hashes whatever is read through it. ``came`` hears how many bytes that was."""

    def __init__(self, source: IO[bytes], came: Came | None = None) -> None:
        self._source, self._came = source, came
        self._md5, self._sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        count: int = self._source.readinto(target)  # type: ignore[attr-defined]
        if count:
            piece = memoryview(target)[:count]
            self._md5.update(piece)
            self._sha256.update(piece)
            self.size += count
            if self._came:
                self._came(count)
        return count

    def buffered(self) -> io.BufferedReader:
        """To read from; ``rest`` has to be called on it in the end."""
        return io.BufferedReader(self, BLOCK)

    @staticmethod
    def rest(file: io.BufferedReader) -> None:
        """Read what nobody wanted: it is hashed too."""
        piece = bytearray(BLOCK)
        while file.readinto(piece):
            pass

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()
