"""Who may do what with a database."""

from __future__ import annotations

from typing import Any

from runbook.lab.couchdb import jsontext
from runbook.lab.couchdb.errors import HttpError
from runbook.lab.couchdb.shards import ShardMap
from runbook.lab.couchdb.users import PREFIX, Caller


def need_admin(caller: Caller) -> None:
    """Raises HttpError 401."""
    if not caller.admin:
        raise HttpError(401, "unauthorized", "You are not a server admin.")


def need_member(found: ShardMap, caller: Caller, doc_id: str | None = None) -> None:
    """Raises HttpError 401, 403. A user may reach his own document in ``_users``."""
    if caller.admin:
        return
    if found.name == "_users" and doc_id is not None and caller.name and doc_id == PREFIX + caller.name:
        return
    security = jsontext.value(found.settings.security)
    members = security.get("members") or {}
    if not members.get("names") and not members.get("roles"):
        return
    if _among(members, caller) or _among(security.get("admins") or {}, caller):
        return
    if caller.name is None:
        raise HttpError(401, "unauthorized", "You are not authorized to access this db.")
    raise HttpError(403, "forbidden", "You are not allowed to access this db.")


def need_db_admin(found: ShardMap, caller: Caller) -> None:
    """Raises HttpError 401, 403."""
    need_member(found, caller)
    security = jsontext.value(found.settings.security)
    if not caller.admin and not _among(security.get("admins") or {}, caller):
        raise HttpError(401, "unauthorized", "You are not a db or server admin.")


def _among(group: dict[str, Any], caller: Caller) -> bool:
    names, roles = group.get("names") or [], group.get("roles") or []
    return caller.name in names or any(role in roles for role in caller.roles)
