"""Progress of a long transfer on stderr: a line that is drawn again on a terminal, one a minute elsewhere."""

from __future__ import annotations

import sys
import time

from runbook import units
from runbook.lines import Lines

#: seconds between two states, on a terminal and in a log
_DRAWN, _SAID = 0.2, 60.0


class Progress:
    """Also says lines, above the one that is drawn. The rate is of what moved since it began, so that what
    was there before does not count."""

    def __init__(self) -> None:
        self._lines, self._terminal = Lines(sys.stderr), sys.stderr.isatty()
        self._what, self._begun, self._first, self._last, self._open = "", 0.0, 0, 0.0, False

    def tick(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._begun, self._first, self._last = what, now, done, now
            if not self._terminal:
                return
        if now - self._last < (_DRAWN if self._terminal else _SAID):
            return
        self._last = now
        text = f"{what}: {state(done, total, done - self._first, now - self._begun)}"
        if self._terminal:
            self._lines.raw(f"\r{text}\x1b[K")
            self._open = True
        else:
            self._lines.say(text)

    def say(self, text: str) -> None:
        self.close()
        self._lines.say(text)

    def close(self) -> None:
        """The line that is drawn goes."""
        if self._open:
            self._lines.raw("\r\x1b[K")
            self._open = False


def state(done: int, total: int, moved: int, seconds: float) -> str:
    """``1.2 GB of 3.4 GB, 350.1 MB/s, 6s left``"""
    rate = moved / max(seconds, 0.001)
    left = f", {units.duration((total - done) / rate)} left" if moved > 0 else ""
    return f"{units.size(done)} of {units.size(total)}, {units.size(rate)}/s{left}"
