"""Typed values out of a guide's TOML; what is wrong becomes a problem at its line."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from runbook.guide.calls import CheckCall, parse_call
from runbook.guide.file import Problem, Section
from runbook.units import parse_duration


class Keys:
    """Reads one table: a step's, or the front matter."""

    def __init__(self, data: Mapping[str, Any], section: Section, problems: list[Problem]) -> None:
        self.data, self.section, self.problems = data, section, problems

    def wrong(self, key: str, text: str, value: str = "") -> None:
        self.problems.append((*self.section.where(key, value), f"{key}: {text}"))

    def unknown(self, allowed: tuple[str, ...], what: str) -> None:
        for key in self.data:
            if key not in allowed:
                near = get_close_matches(key, allowed, 1)
                hint = f"did you mean {near[0]}?" if near else f"{what} has {', '.join(allowed)}"
                self.wrong(key, f"unknown key; {hint}")

    def text(self, key: str, quiet: bool = False) -> str:
        value = self.data.get(key, "")
        if isinstance(value, str):
            return value
        if not quiet:
            self.wrong(key, "must be text in quotes")
        return ""

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        value = self.data.get(key, list(default))
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.wrong(key, "must be a list of texts")
        return ()

    def duration(self, key: str) -> float | None:
        text = self.text(key)
        try:
            return parse_duration(text) if text else None
        except ValueError as error:
            self.wrong(key, str(error))
            return None

    def calls(self, key: str) -> tuple[CheckCall, ...]:
        found = []
        for text in self.texts(key):
            try:
                found.append(parse_call(text))
            except ValueError as error:
                self.wrong(key, str(error), text)
        return tuple(found)
