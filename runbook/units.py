"""Durations and sizes, as people write and read them.

Parameters of checks and actions that hold one are declared ``Duration`` or ``Size``: text, whose form
is looked at wherever a guide's values are checked or decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?")
_POWER = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4}


def parse_duration(text: str) -> float:
    """Seconds of ``"1h30m"``, ``"45s"``, ``"2d"``. Raises ValueError with the expected form."""
    match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()):
        raise ValueError(f"{text!r} is not a duration: write it like 90s, 30m, 1h30m or 2d")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def parse_size(text: str) -> int:
    """Bytes of ``"2GB"``, ``"500 MB"``, ``"10kB"`` (powers of 1000). Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size: write it like 500MB or 2GB")
    return int(float(match[1]) * 1000 ** _POWER[match[2]])


@dataclass(frozen=True)
class Form:
    """A text's form beyond its type; ``parse`` raises ValueError saying what is allowed."""

    parse: Callable[[str], object]


Duration = Annotated[str, Form(parse_duration)]
Size = Annotated[str, Form(parse_size)]


def check_form(value: Any, declared: Any) -> None:
    """ValueError when a value of the declared type has not the form that the declaration asks for."""
    for form in getattr(declared, "__metadata__", ()):
        if isinstance(form, Form):
            form.parse(value)


def duration(seconds: float) -> str:
    """``41s``, ``14m03``, ``4h02``, ``3d04h``: the same width for the same magnitude."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def size(count: float) -> str:
    """``812 B``, ``1.2 MB``: powers of 1000, one decimal from kB on."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
