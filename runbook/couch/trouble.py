"""A request that was not answered with success: is the server busy, the line bad, or a document wrong?"""

from __future__ import annotations

from math import ceil, log
from typing import Literal

from runbook.couch.client import RequestRefused, Silent
from runbook.errors import HostError, LoginRefused, RunbookError, TimedOut

#: denied: no right to write · gone: no such database there · busy: later · lost: no answer · odd: the
#: server failed, or said something unknown · document: the request holds what it does not take
Kind = Literal["denied", "gone", "busy", "lost", "odd", "document"]

_BUSY = frozenset({429, 502, 503, 504})
#: a document is refused for failures that would be less probable than this if they were mere chance;
#: several are looked at one by one earlier, which costs a few requests only
_CHANCE, _CHANCE_OF_SEVERAL = 1e-5, 1e-2
_FEWEST, _MOST = 3, 40


def kind(error: RunbookError) -> Kind:
    """What a failed write means."""
    if isinstance(error, LoginRefused):
        return "denied"
    if isinstance(error, TimedOut):
        return "busy"
    if isinstance(error, HostError):
        return "lost"
    if not isinstance(error, RequestRefused):
        return "odd"
    if error.status in _BUSY or error.error == "nodedown":
        return "busy"
    if error.status >= 500:
        return "odd"
    return {401: "denied", 403: "denied", 404: "gone"}.get(error.status, "document")  # type: ignore[return-value]


def words(error: RunbookError) -> str:
    """In a few words, for a line in the record."""
    if isinstance(error, RequestRefused):
        return f"it answered {error.status} {error.error}: {error.reason}"
    return error.what.rstrip(".")


class Health:
    """How many of all requests fail whatever they carry: the share among the last fifty or so. The
    first ones count for more: a line that was bad from the start must not be taken for a document."""

    def __init__(self) -> None:
        self.failing = 0.02
        self._seen = 0

    def saw(self, failed: bool) -> None:
        """How a request went at first."""
        self._seen += 1
        self.failing += (failed - self.failing) * max(0.02, 1 / (self._seen + 10))

    def failures_to_blame(self, documents: int) -> int:
        """So many in a row are no chance any longer."""
        chance = _CHANCE_OF_SEVERAL if documents > 1 else _CHANCE
        least = 2 if documents > 1 else _FEWEST
        return max(least, min(_MOST, ceil(log(chance) / log(min(max(self.failing, 1e-6), 0.99)))))


class Doubt:
    """Grows with each failure of one request, until its documents are to be looked at one by one."""

    def __init__(self, documents: int, now: float, successes: int) -> None:
        """``successes``: requests of any kind that were answered until ``now``."""
        self._documents, self._since, self._successes = documents, now, successes
        self.failures = 0

    def add(self, error: RunbookError) -> None:
        # nothing was sent, or it was too much for now: that cannot be the documents
        self.failures += kind(error) in ("odd", "lost") and not isinstance(error, Silent)

    def often(self, health: Health) -> bool:
        """It failed so often that mere chance is out of the question."""
        return self.failures >= health.failures_to_blame(self._documents)

    def alone(self, successes: int) -> bool:
        """Nothing else was answered meanwhile: it may be the server."""
        return successes == self._successes

    def enough(
        self, error: RunbookError, health: Health, now: float, successes: int, patience: float
    ) -> bool:
        """Whether ``error``, the last one, is blamed on the documents: they are refused, or they fail
        again and again while others pass. Several are looked at one by one in any case: that shows
        whether others pass."""
        if kind(error) == "document":
            return True
        others_pass = not self.alone(successes)
        if self.often(health):
            return others_pass or self._documents > 1
        return others_pass and now - self._since > patience
