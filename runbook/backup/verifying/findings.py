"""What a verification found, by aspect, in words."""

from __future__ import annotations

from typing import Literal

import msgspec

#: proven: by a checksum or by reading all of it; good: nothing wrong was found; note: to be known, but no
#: doubt about the copy; unjudged: could not be known; doubt: usable, but look; wrong: do not rely on it
State = Literal["proven", "good", "note", "unjudged", "doubt", "wrong"]
_ORDER: tuple[State, ...] = ("proven", "good", "note", "unjudged", "doubt", "wrong")
Aspect = Literal[
    "manifest",
    "checksum",
    "SHA-256",
    "dumps",
    "archives",
    "copies",
    "uploads",
    "settings",
    "logs",
    "relations",
    "earlier one",
    "age",
]


class Finding(msgspec.Struct, frozen=True):
    aspect: Aspect
    state: State
    text: str


class Findings:
    def __init__(self) -> None:
        self.all: list[Finding] = []

    def add(self, aspect: Aspect, state: State, text: str) -> None:
        self.all.append(Finding(aspect, state, text))

    def unjudged(self) -> tuple[str, ...]:
        """Without the list of ours, which is there for whoever wants one."""
        return tuple(one.text for one in self.all if one.state == "unjudged" and one.aspect != "SHA-256")

    def texts(self, *states: State) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.text for one in self.all if one.state in states))


def worst(found: list[Finding]) -> State:
    return max((one.state for one in found), key=_ORDER.index)
