"""Check calls as guides write them: ``hosts.disk_free(min='2GB', within='5m')``.

The text is parsed, never evaluated: a dotted name and keyword arguments that are literals.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from runbook.units import parse_duration

Literal = str | int | float | bool

LONGEST = 1000
FORM = "write it like hosts.reachable or hosts.disk_free(min='2GB', within='5m')"
#: steps and checks run there; besides these, ``host:NAME``
TARGETS = ("operator", "first production", "each production", "each machine", "backup")
#: where a check may look; besides these, the targets of a step
CHECK_TARGETS = ("once", "step", "production", "machines", "backup")
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?")
_HOST = re.compile(r"host:[A-Za-z0-9][A-Za-z0-9-]*")


@dataclass(frozen=True)
class CheckCall:
    """One check to run. ``on``, ``required`` and ``within`` (seconds) are the engine's; ``args``
    go to the check's function. ``text`` is the call as the guide has it."""

    text: str
    name: str
    args: Mapping[str, Literal]
    on: str | None = None
    required: bool = True
    within: float | None = None


def is_target(text: str) -> bool:
    """Is it a place a step may run on?"""
    return text in TARGETS or _HOST.fullmatch(text) is not None


def parse_call(text: str) -> CheckCall:
    """The call in ``text``. Raises ValueError saying what is wrong and what is allowed."""
    text = text.strip()
    if len(text) > LONGEST:
        raise ValueError(f"a check call may have {LONGEST} characters; this one has {len(text)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the Python in it, such as '\d': it is only read
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{_short(text)} is not a check call: {FORM}") from None
    if not isinstance(tree, ast.Call):
        return CheckCall(text, _name(tree, text), {})
    name = _name(tree.func, text)
    if tree.args:
        raise ValueError(f"{name}: arguments need names: {FORM}")
    args: dict[str, Literal] = {}
    for keyword in tree.keywords:
        if keyword.arg is None:
            raise ValueError(f"{name}: ** is not allowed: {FORM}")
        if keyword.arg in args:
            raise ValueError(f"{name}: {keyword.arg} is given twice")
        args[keyword.arg] = _literal(name, keyword.arg, keyword.value)
    return CheckCall(
        text,
        name,
        on=_on(name, args.pop("on", None)),
        required=_required(name, args.pop("required", True)),
        within=_within(name, args.pop("within", None)),
        args=args,
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _name(node: ast.expr, text: str) -> str:
    name = ""
    if isinstance(node, ast.Name):
        name = node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        name = f"{node.value.id}.{node.attr}"
    if not _NAME.fullmatch(name):
        raise ValueError(f"{_short(text)} is not a check call: {FORM}")
    return name


def _literal(name: str, key: str, node: ast.expr) -> Literal:
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
        value = node.value
        if isinstance(value, str):
            if sign == 1 and "${" not in value:
                return value
        elif sign == 1:
            return value
        elif not isinstance(value, bool):
            return -value
    raise ValueError(f"{name}: {key} must be plain text, a number, True or False (no references, no code)")


def _on(name: str, value: Literal | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and (value in CHECK_TARGETS or is_target(value)):
        return value
    allowed = ", ".join(dict.fromkeys(CHECK_TARGETS + TARGETS))
    raise ValueError(f"{name}: on must be one of {allowed} or host:NAME")


def _required(name: str, value: Literal) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: required must be True or False")
    return value


def _within(name: str, value: Literal | None) -> float | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name}: within must be a duration such as '5m'")
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ValueError(f"{name}: within: {error}") from None
