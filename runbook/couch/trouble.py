"""A request that was not answered with success: is the server busy, the line bad, or a document wrong?"""

from __future__ import annotations

from typing import Literal

from runbook.couch.client import RequestRefused, Silent
from runbook.errors import HostError, LoginRefused, RunbookError, TimedOut

#: denied: no right to write · gone: no such database there · busy: later · lost: no answer · odd: the
#: server failed, or said something unknown · document: the request holds what it does not take
Kind = Literal["denied", "gone", "busy", "lost", "odd", "document"]

_BUSY = frozenset({429, 502, 503, 504})
#: how strongly a failure points at the documents of the request: after ``ENOUGH`` they are looked at one
#: by one. 500 means that as often as not; a lost connection rarely
_WEIGHT: dict[Kind, int] = {"odd": 6, "lost": 3}
ENOUGH = 12


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


class Doubt:
    """Grows with each failure of one request, until its documents are to be looked at one by one."""

    def __init__(self, documents: int, now: float, successes: int) -> None:
        """``successes``: requests of any kind that were answered until ``now``."""
        self._enough = ENOUGH if documents > 1 else 2 * ENOUGH
        self._since, self._successes = now, successes
        self._weight = 0

    def add(self, error: RunbookError) -> None:
        if not isinstance(error, Silent):  # nothing was sent: it cannot be the documents
            self._weight += _WEIGHT.get(kind(error), 0)

    def enough(self, error: RunbookError, now: float, successes: int, patience: float) -> bool:
        """Whether ``error``, the last one, is blamed on the documents."""
        found = kind(error)
        others_pass = successes > self._successes
        if found == "document" or (found == "odd" and self._weight >= self._enough):
            return True
        return others_pass and (self._weight >= self._enough or now - self._since > patience)
