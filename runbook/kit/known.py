"""The secrets that this PC can look up without asking anybody, so that a copy of one is recognised
under whatever name it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from runbook.errors import SecretError
from runbook.kit.plain import Found
from runbook.redact import Redactor
from runbook.secrets import Secret, SecretStore
from runbook.site.model import SecretRef, Site

#: characters; a shorter one, such as ``admin``, stands in many a text without being a secret there
_SHORTEST = 8


def references(site: Site) -> Iterator[tuple[str, SecretRef]]:
    """Every reference in the settings, with its key."""

    def walk(value: Any, where: str) -> Iterator[tuple[str, SecretRef]]:
        if isinstance(value, SecretRef):
            yield where, value
        elif isinstance(value, msgspec.Struct):
            for name in value.__struct_fields__:
                yield from walk(getattr(value, name), f"{where}.{name}".lstrip("."))
        elif isinstance(value, dict):
            for name, one in value.items():
                yield from walk(one, f"{where}.{name}")

    return walk(site, "")


def secrets(site: Site) -> dict[str, str]:
    """Key in the settings -> value. Those that only a command or a person could tell are not asked for."""
    return asyncio.run(_secrets(site))


async def _secrets(site: Site) -> dict[str, str]:
    async def ask(text: str, label: str) -> Secret:
        raise SecretError(f"{label} is not asked for here.")

    store, found = SecretStore(learn=Redactor().learn, ask=ask), {}
    for where, ref in references(site):
        if ref.command or ref.ask:
            continue
        try:
            value = (await store.get(ref)).reveal()
        except SecretError:
            continue
        if len(value) >= _SHORTEST:
            found[where] = value
    return found


def find(text: str, known: Mapping[str, str]) -> list[Found]:
    """Where one of them stands in plain."""
    return [
        Found(number, f"the value of {where}")
        for number, line in enumerate(text.split("\n"), 1)
        for where, value in known.items()
        if value in line
    ]
