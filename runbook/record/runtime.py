"""Where a run's time went: people, the program being away, and the rest, which is the machines'.

All three count in the recovery time; they are told apart so that a reader sees what to improve.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


def seconds_between(earlier: str, later: str) -> float:
    """Between two times as the journal writes them; 0 when one is missing or none (a damaged
    journal is reported all the same), or when the clock went back."""
    try:
        between = datetime.fromisoformat(later) - datetime.fromisoformat(earlier)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(between.total_seconds(), 0.0)


@dataclass
class Times:
    """Intervals are (from, to). Questions that overlap count once."""

    started_at: str = ""
    ended_at: str = ""
    #: a question was open
    waiting: list[tuple[str, str]] = field(default_factory=list)
    #: the program did not run: stopped or killed, until it was resumed
    away: list[tuple[str, str]] = field(default_factory=list)
    _open: set[str] = field(default_factory=set)
    _since: str = ""

    def start(self, at: str) -> None:
        self.started_at = at

    def asked(self, id: str, at: str) -> None:
        if not self._open:
            self._since = at
        self._open.add(id)

    def answered(self, id: str, at: str) -> None:
        if id in self._open:
            self._open.discard(id)
            if not self._open:
                self.waiting.append((self._since, at))

    def resumed(self, last: str, at: str) -> None:
        """``last``: the time of the last record before."""
        self._close(last)
        self.away.append((last, at))
        self.ended_at = ""

    def end(self, at: str) -> None:
        self._close(at)
        self.ended_at = at

    def _close(self, at: str) -> None:
        if self._open:
            self.waiting.append((self._since, at))
            self._open.clear()

    # ── sums, in seconds, up to ``now`` (a time as the journal writes it) ───────────────────
    def elapsed(self, now: str) -> float:
        return seconds_between(self.started_at, self.ended_at or now)

    def waited(self, now: str) -> float:
        """For people, so far."""
        running = seconds_between(self._since, now) if self._open else 0.0
        return running + sum(seconds_between(*interval) for interval in self.waiting)

    def gone(self) -> float:
        return sum(seconds_between(*interval) for interval in self.away)

    def machine(self, now: str) -> float:
        """What is left: probing, acting, checking."""
        return max(self.elapsed(now) - self.waited(now) - self.gone(), 0.0)
