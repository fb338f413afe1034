"""The one table of names: actions and checks, imported when first used.

``runbook`` never imports ``checks`` by itself: the engine is given this catalog. The table says
which subjects there are; inside a subject, names are found by looking.
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from typing import Any, cast

from runbook.action import Action
from runbook.check import Check

#: group of actions -> module
ACTIONS = {
    "tofu": "runbook.actions.tofu",
    "config": "runbook.actions.config",
    "compose": "runbook.actions.compose",
    "couchdb": "runbook.actions.couchdb",
    "backup": "runbook.actions.backup",
    "command": "runbook.actions.command",
    "manual": "runbook.actions.manual",
}
#: subject of checks -> module
CHECKS = {
    "hosts": "checks.hosts",
    "tofu": "checks.tofu",
    "compose": "checks.compose",
    "couchdb": "checks.couchdb",
    "openedx": "checks.openedx",
    "backup": "checks.backup",
    "safeguard": "checks.safeguard",
    "dns": "checks.dns",
    "tls": "checks.tls",
    "site": "checks.site",
}


def _class_name(action: str) -> str:
    return "".join(part.capitalize() for part in action.split("_"))


def _is_action(value: object, path: str) -> bool:
    """Made in that module, or in a file of that package."""
    return (
        inspect.isclass(value) and f"{value.__module__}.".startswith(f"{path}.") and hasattr(value, "scope")
    )


@cache
def action(name: str) -> Action:
    """The action of that name; ``command`` and ``manual`` are groups of one. KeyError if unknown."""
    group, _, rest = name.partition(".")
    module = import_module(ACTIONS[group])
    found: Any = vars(module).get(_class_name(rest or group))
    if not _is_action(found, module.__name__):
        raise KeyError(name)
    return cast(Action, found())


@cache
def check(name: str) -> Check:
    """The check of that name. KeyError if unknown."""
    subject, _, rest = name.partition(".")
    found = vars(import_module(CHECKS[subject])).get(rest)
    if not isinstance(found, Check):
        raise KeyError(name)
    return found


def action_names() -> list[str]:
    names = []
    for group, path in ACTIONS.items():
        for attribute, value in vars(import_module(path)).items():
            if _is_action(value, path):
                word = "".join(f"_{c.lower()}" if c.isupper() else c for c in attribute).lstrip("_")
                names.append(group if word == group else f"{group}.{word}")
    return sorted(names)


def check_names() -> list[str]:
    return sorted(
        value.name
        for path in CHECKS.values()
        for value in vars(import_module(path)).values()
        if isinstance(value, Check) and value.function.__module__ == path
    )
