"""Values as TOML text (the standard library only reads TOML)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def quote(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, save that TOML wants DEL escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def key(name: str) -> str:
    return name if _BARE.fullmatch(name) else quote(name)


def value(item: Any) -> str:
    """On one line; tables inline."""
    if isinstance(item, str):
        return quote(item)
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int | float):
        return repr(item)
    if isinstance(item, Mapping):
        inner = ", ".join(f"{key(name)} = {value(part)}" for name, part in item.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(item, list | tuple):
        return f"[{', '.join(map(value, item))}]"
    return str(item.isoformat())  # dates and times: all else that TOML has


def table(data: Mapping[str, Any]) -> str:
    """Lines ``key = value``, the tables in it as ``[key]`` after them."""
    lines = [f"{key(k)} = {value(v)}" for k, v in data.items() if not isinstance(v, Mapping)]
    for name, inner in data.items():
        if isinstance(inner, Mapping):
            lines.append(f"[{key(name)}]")
            lines += [f"{key(k)} = {value(v)}" for k, v in inner.items()]
    return "\n".join(lines)
