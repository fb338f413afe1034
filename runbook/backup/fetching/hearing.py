"""How a fetch is heard of while it goes on: by a terminal, a log, a run's journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _nothing(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Hearing:
    say: Callable[[str], None]
    #: what is being done, and (done, total) bytes of it
    tick: Callable[[str, int, int], None] = _nothing

    def of(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.tick(what, done, total)
