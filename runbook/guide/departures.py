"""The boxes in which a guide says where it departs from the original.

A quotation that begins with ``**Departs from the original.**`` and has four lines, labelled
*The original says:*, *We do:*, *Why:* and *Evidence:*.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_BOX = re.compile(r"[*_]*departs from the original\b[.:]?[*_]*[.:]?", re.IGNORECASE)
_LABEL = re.compile(
    r"(?:[-*+]\s+)?[*_]*(?P<label>the original says|we do|why|evidence)[*_]*\s*:[*_]*\s*(?P<text>.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Departure:
    """Where a guide departs from the original; a field that the box lacks is empty."""

    original: str = ""
    ours: str = ""
    why: str = ""
    evidence: str = ""
    file: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)


def departures(lines: list[str], file: str, line: int) -> list[Departure]:
    """The box in a quotation, if it is one."""
    texts = [text.strip().removeprefix(">").strip() for text in lines]
    opening = _BOX.match(texts[0])
    if not opening:
        return []
    found: dict[str, str] = {}
    label = ""
    for text in [texts[0][opening.end() :].strip(), *texts[1:]]:
        text = text.removesuffix("\\").strip()
        if match := _LABEL.fullmatch(text):
            label, text = match["label"].lower(), match["text"]
            found[label] = ""
        if label and text:
            found[label] = f"{found[label]} {text}".strip()
    return [
        Departure(
            original=found.get("the original says", ""),
            ours=found.get("we do", ""),
            why=found.get("why", ""),
            evidence=found.get("evidence", ""),
            file=file,
            line=line,
        )
    ]
