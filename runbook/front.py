"""The contract of a front end: terminal app, plain lines, notebook. It answers and it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from runbook.events import Asked, Live, Record
from runbook.secrets import Secret


@dataclass(frozen=True)
class Answer:
    """``id`` is that of the question it answers: one that comes too late answers no other question.
    ``value`` is an option's value or free text; for a secret it stays empty."""

    id: str
    value: str
    by: str
    via: str
    reason: str = ""
    secret: Secret | None = None


class FrontEnd(Protocol):
    async def answer(self, question: Asked) -> Answer:
        """Wait for a person. Raises WaitsForPerson when nobody can answer now. May be called again
        with the same question: the answer was refused then."""
        ...

    def record(self, record: Record) -> None:
        """A record that is in the journal. Called in order, in the event loop; must not block."""
        ...

    def live(self, live: Live) -> None:
        """What changes ten times a second; may be dropped."""
        ...


@runtime_checkable
class LendsTerminal(Protocol):
    """What a front end has besides when a person can be given its terminal, for a shell."""

    @property
    def can_lend(self) -> bool:
        """Is there a terminal, and a person at it?"""
        ...

    async def lend(self, host: str, argv: Sequence[str]) -> int:
        """Run ``argv``, a shell on ``host``, on the terminal until it ends; its exit status. Everything
        else of the program goes on. Raises RunbookError when it cannot be run."""
        ...
