"""The contract of a front end: terminal app, plain lines, notebook. It answers and it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from runbook.events import Asked, Live, Record
from runbook.secrets import Secret


@dataclass(frozen=True)
class Answer:
    """``value`` is an option's value or free text; for a secret it stays empty."""

    value: str
    by: str
    via: str
    reason: str = ""
    secret: Secret | None = None


class FrontEnd(Protocol):
    async def answer(self, question: Asked) -> Answer:
        """Wait for a person. Raises WaitsForPerson when nobody can answer now."""
        ...

    def record(self, record: Record) -> None:
        """A record that is in the journal. Called in order, in the event loop; must not block."""
        ...

    def live(self, live: Live) -> None:
        """What changes ten times a second; may be dropped."""
        ...
