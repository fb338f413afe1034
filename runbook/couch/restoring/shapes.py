"""How databases are made: shards, copies, partitioned; as they were where the backup tells it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from runbook.couch import copies
from runbook.couch.client import Client
from runbook.couch.reading import beside
from runbook.couch.reading.beside import Meta
from runbook.couch.reading.selection import find


class Shape(msgspec.Struct, frozen=True):
    q: int
    n: int
    partitioned: bool = False

    def words(self) -> str:
        return f"{self.q} shards in {self.n} copies" + (", partitioned" if self.partitioned else "")


def known(backup: Path) -> dict[str, Meta]:
    """Database -> what stands beside the first of its dumps that is one of ours. Raises DumpDamaged,
    OSError."""
    found: dict[str, Meta] = {}
    for name, dumps in find(backup).items():
        if meta := next((meta for path in dumps.values() if (meta := beside.load(path))), None):
            found[name] = meta
    return found


def shape(meta: Meta | None, q: int, n: int) -> Shape:
    """``q``: where the backup does not tell how many shards it had; ``n``: copies in this cluster."""
    if meta is None:
        return Shape(q, n)
    return Shape(meta.q or q, n, meta.partitioned)


async def make(client: Client, wanted: Mapping[str, Shape]) -> list[str]:
    """Make the databases that are not there: their names. Raises ActionFailed."""
    made = []
    for name, one in wanted.items():
        if await copies.create(client, name, q=one.q, n=one.n, partitioned=one.partitioned):
            made.append(name)
    return made


def plain(wanted: Mapping[str, Shape]) -> Any:
    """For a plan."""
    return msgspec.to_builtins(dict(wanted))


def read(data: Any) -> dict[str, Shape]:
    """Back from a plan."""
    return msgspec.convert(data, dict[str, Shape])
