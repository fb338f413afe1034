"""The injected clock: tests freeze it. Stored time is UTC with its offset."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds for measuring; never goes back."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def stamp(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, as the journal writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
