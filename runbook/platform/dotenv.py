"""Reads ``.env`` files the way docker-compose does. Values are data: nothing is expanded."""

from __future__ import annotations

import re

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*)")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def parse(text: str) -> dict[str, str]:
    """Names and values; of a name given twice the last counts, lines of other forms are passed
    over. ``# remarks`` need a space before them after an unquoted value."""
    found: dict[str, str] = {}
    for line in text.lstrip("\ufeff").splitlines():
        if match := _LINE.fullmatch(line):
            found[match[1]] = _value(match[2].strip())
    return found


def _value(text: str) -> str:
    if match := _DOUBLE.fullmatch(text):
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), match[1])
    if match := _SINGLE.fullmatch(text):
        return match[1]
    return re.split(r"(?:^|\s+)#", text, maxsplit=1)[0].rstrip()
