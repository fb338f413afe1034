"""How far work on many documents is: documents, bytes, rate, time left."""

from __future__ import annotations

import threading
import time

from runbook import units


class Progress:
    """Counted by many threads. ``expected_bytes`` is an estimate, 0 for none. What is counted here
    counts in the work ``within`` which it is done, too."""

    def __init__(self, expected: int = 0, expected_bytes: int = 0, *, within: Progress | None = None) -> None:
        self.expected, self.expected_bytes, self._within = expected, expected_bytes, within
        self.documents = self.bytes = 0
        self._found = 0  #: bytes that were there before
        self._begun = time.monotonic()
        self._lock = threading.Lock()

    def came(self, documents: int, size: int) -> None:
        with self._lock:
            self.documents += documents
            self.bytes += size
        if self._within:
            self._within.came(documents, size)

    def found(self, documents: int, size: int) -> None:
        """They were there already: they count, but not for the rate."""
        with self._lock:
            self.documents += documents
            self.bytes += size
            self._found += size
        if self._within:
            self._within.found(documents, size)

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return (self.bytes - self._found) / max(time.monotonic() - self._begun, 0.001)

    def words(self) -> str:
        """``1200 of 5000 documents, 3.4 MB, 1.1 MB/s, 7s left``"""
        parts = [f"{self.documents} of {self.expected} documents", units.size(self.bytes)]
        rate = self.rate
        if rate:
            parts.append(f"{units.size(rate)}/s")
            left = self.expected_bytes - self.bytes
            if left > 0:
                parts.append(f"{units.duration(left / rate)} left")
        return ", ".join(parts)
