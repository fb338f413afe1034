"""References in a step's parameters: ``${site.tofu.workspace}``, ``${steps.deploy.backup_ip}``.

A text that is one reference becomes the value itself, with its type; within other text the value
is written out. ``$${`` stands for a plain ``${``. Secrets cannot be reached: a reference ends at
plain values of the settings, and the settings hold secrets only by reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect as kinds

from runbook.errors import UseError
from runbook.site.model import SecretRef, Site

FORM = "a reference is ${site.TABLE.KEY} or ${steps.STEP.NAME}; for a plain ${ write $${"
_PIECE = re.compile(r"\$\$\{|\$\{(?P<body>[^{}\n]*)\}|\$\{")
_PART = re.compile(r"[A-Za-z_][\w-]*")


def references(value: Any) -> Iterator[tuple[str, ...]]:
    """The references in a value, as their parts. Raises ValueError at one that is none."""
    if isinstance(value, str):
        for match in _PIECE.finditer(value):
            if match[0] != "$${":
                yield parts(match)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def parts(match: re.Match[str]) -> tuple[str, ...]:
    found = tuple((match["body"] or "").split("."))
    length = {"site": len(found) > 1, "steps": len(found) == 3}.get(found[0], False)
    if not length or not all(_PART.fullmatch(part) for part in found):
        raise ValueError(f"{match[0]!r}: {FORM}")
    return found


def whole(value: Any) -> tuple[str, ...] | None:
    """The parts, when ``value`` is one reference and nothing else."""
    match = _PIECE.fullmatch(value) if isinstance(value, str) else None
    return parts(match) if match and match[0] != "$${" else None


@cache
def site_kind(path: tuple[str, ...]) -> kinds.Type:
    """What ``${site.…}`` stands for (``path`` begins with "site"). Raises ValueError when the
    settings have no such key, or it is no plain value."""
    kind: kinds.Type = kinds.type_info(Site)
    for at, name in enumerate(path[1:], 1):
        here = ".".join(path[:at])
        if isinstance(kind, kinds.DictType):
            kind = kind.value_type
            continue
        if _holds_secret(kind):
            break
        if not isinstance(kind, kinds.StructType):
            raise ValueError(f"${{{'.'.join(path)}}}: {here} has no parts")
        fields = {field.name: field.type for field in kind.fields}
        if name not in fields:
            near = get_close_matches(name, fields, 3) or sorted(fields)
            raise ValueError(f"${{{'.'.join(path)}}}: {here} has no {name!r}; it has {', '.join(near)}")
        kind = _not_none(fields[name])
    if _holds_secret(kind):
        raise ValueError(f"${{{'.'.join(path)}}}: secrets are not reachable by reference")
    if isinstance(kind, kinds.StructType):
        raise ValueError(f"${{{'.'.join(path)}}} is a table; name one of its keys")
    return kind


def _not_none(kind: kinds.Type) -> kinds.Type:
    if isinstance(kind, kinds.UnionType):
        rest = [part for part in kind.types if not isinstance(part, kinds.NoneType)]
        return rest[0] if len(rest) == 1 else kind
    return kind


def _holds_secret(kind: kinds.Type) -> bool:
    match kind:
        case kinds.StructType():
            # a table is refused anyway; only one that is the secret itself needs its own words
            return kind.cls is SecretRef
        case kinds.UnionType():
            return any(map(_holds_secret, kind.types))
        case kinds.DictType():
            return _holds_secret(kind.value_type)
        case kinds.VarTupleType():
            return _holds_secret(kind.item_type)
    return False


def substitute(
    with_: Mapping[str, Any], site: Site, saved: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """``with_`` with every reference replaced. Raises UseError naming the reference that has no
    value (yet)."""
    return {name: _replace(value, site, saved) for name, value in with_.items()}


def _replace(value: Any, site: Site, saved: Mapping[str, Mapping[str, Any]]) -> Any:
    if isinstance(value, Mapping):
        return {name: _replace(item, site, saved) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace(item, site, saved) for item in value]
    if not isinstance(value, str):
        return value
    try:
        if reference := whole(value):
            return _value(reference, site, saved)

        def written(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            return _text(match[0], _value(parts(match), site, saved))

        return _PIECE.sub(written, value)
    except ValueError as error:
        raise UseError(f"A parameter cannot be filled in: {error}.", next="Nothing was run.") from None


def _text(reference: str, value: Any) -> str:
    """A value within other text; a list as ``a, b, c``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return ", ".join(_text(reference, item) for item in value)
    raise ValueError(f"{reference} is a table and cannot stand within other text")


def _value(path: tuple[str, ...], site: Site, saved: Mapping[str, Mapping[str, Any]]) -> Any:
    if path[0] == "steps":
        _, step, name = path
        if name not in saved.get(step, {}):
            raise ValueError(f"${{{'.'.join(path)}}}: step {step} has saved no {name!r} in this run")
        return saved[step][name]
    site_kind(path)
    found: Any = site
    for name in path[1:]:
        found = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
    if found is None:
        raise ValueError(f"${{{'.'.join(path)}}} is not set in the site's settings")
    return msgspec.to_builtins(list(found) if isinstance(found, tuple) else found)
