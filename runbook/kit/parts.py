"""What a kit is made of, and what one lacks."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import fill

import msgspec


class Lack(msgspec.Struct, frozen=True):
    """Something that should be in the kit and is not; ``next`` is what to do about it."""

    what: str
    next: str


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """``words``: what of it is in the kit. ``bring``: what belongs to it and is never in a kit."""

    name: str
    words: str
    lacks: tuple[Lack, ...] = ()
    bring: tuple[str, ...] = ()


def missing_text(parts: Iterable[Part]) -> str:
    """``MISSING.txt``."""
    parts = list(parts)
    lines = ["What this kit lacks, and what to do about it", ""]
    lacks = [(part.name, lack) for part in parts for lack in part.lacks]
    for name, lack in lacks:
        lines += [_item(f"- {name}: {lack.what}"), _item(f"  Do: {lack.next}")]
    if not lacks:
        lines.append("Nothing.")
    lines += ["", "Never in a kit; have it at hand", ""]
    lines += [_item(f"- {text}") for part in parts for text in part.bring]
    return "\n".join(lines) + "\n"


def _item(text: str) -> str:
    return fill(text, 78, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def counted(number: int, thing: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
