"""What belongs to a database as a whole and stands beside our dumps: ``_security``, ``_revs_limit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runbook.couch.client import Client, RequestRefused
from runbook.couch.reading import beside
from runbook.couch.reading.beside import Meta
from runbook.couch.reading.selection import Selection


def known(one: Selection) -> Meta | None:
    """The first that any of the chosen dumps has beside it. Raises DumpDamaged, OSError."""
    return next((meta for source in one.sources if (meta := beside.load(Path(source.path)))), None)


def put(one: Selection, client: Client) -> list[str]:
    """Set them where they differ and look at them afterwards; what is not as it should be then, in
    words. May be repeated. Raises RequestRefused and the Client's errors."""
    meta, wanted = known(one), dict[str, Any]()
    if meta is not None and meta.security is not None:
        wanted["_security"] = meta.security
    if meta is not None and meta.revs_limit:
        wanted["_revs_limit"] = meta.revs_limit
    return [problem for name, value in wanted.items() if (problem := _set(client, one.target, name, value))]


def _set(client: Client, database: str, name: str, value: Any) -> str:
    if client.need(database, name) == value:
        return ""
    reply = client.put(database, name, body=value)
    if reply.status == 403:  # of _users, unless the node's settings allow it
        return f"{name} of {database} may not be set: {reply.error}"
    if not reply.ok:
        raise RequestRefused(client.node, f"set {name} of {database}", reply)
    found = client.need(database, name)
    return "" if found == value else f"{name} of {database} was set, and is still {found!r}"
