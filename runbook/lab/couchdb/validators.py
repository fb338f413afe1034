"""``validate_doc_update``, without a JavaScript engine.

Two functions are understood: the server's own ``_design/_auth`` (translated), and functions that are
one comparison: ``function(n,o,u){ if(n.FIELD==='VALUE') throw({forbidden:'REASON'}); }``. Any other
function lets everything pass; the server's log says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from runbook.lab.couchdb.auth_design import VALIDATE as AUTH_SOURCE
from runbook.lab.couchdb.errors import HttpError

Fields = dict[str, Any]
#: (new document, old document or None, the writer's name, the writer's roles)
Validator = Callable[[Fields, Fields | None, str | None, tuple[str, ...]], None]

_COMPARISON = re.compile(
    r"function\s*\w*\s*\(\s*(?P<new>\w+)\s*(?:,\s*\w+\s*)*\)\s*\{\s*if\s*\(\s*(?P=new)\.(?P<field>\w+)\s*===?\s*"
    r"(?P<q>['\"])(?P<value>[^'\"]*)(?P=q)\s*\)\s*\{?\s*throw\s*\(\s*\{\s*(?P<kind>forbidden|unauthorized)\s*:\s*"
    r"(?P<r>['\"])(?P<reason>[^'\"]*)(?P=r)\s*\}\s*\)\s*;?\s*\}?\s*\}\s*"
)


def understood(source: str) -> Validator | None:
    """The function behind a source text; None when it cannot be run here."""
    if source.strip() == AUTH_SOURCE.strip():
        return auth
    found = _COMPARISON.fullmatch(source.strip())
    if found is None:
        return None
    field, wanted = found["field"], found["value"]
    refusal = forbidden if found["kind"] == "forbidden" else unauthorized

    def compare(new: Fields, old: Fields | None, name: str | None, roles: tuple[str, ...]) -> None:
        if new.get(field) == wanted:
            raise refusal(found["reason"])

    return compare


def forbidden(reason: str) -> HttpError:
    return HttpError(403, "forbidden", reason)


def unauthorized(reason: str) -> HttpError:
    return HttpError(401, "unauthorized", reason)


def auth(new: Fields, old: Fields | None, name: str | None, roles: tuple[str, ...]) -> None:
    """What ``_design/_auth`` demands of documents in ``_users``."""
    admin = "_admin" in roles
    if new.get("_deleted") is True:
        if not admin and (old or {}).get("name") != name:
            raise forbidden("Only admins may delete other user docs.")
        return
    _shape(new, old)
    if not admin:
        _own(new, old, name)
    for role in new["roles"]:
        if role != "_metrics" and role[:1] == "_":
            raise forbidden("No system roles (starting with underscore) in users db.")
    if new["name"][0] == "_":
        raise forbidden("Username may not start with underscore.")
    if ":" in new["name"]:
        raise forbidden("Character `:` is not allowed in usernames.")


def _shape(new: Fields, old: Fields | None) -> None:
    if new.get("type") != "user":
        raise forbidden("doc.type must be user")
    if not isinstance(new.get("name"), str) or not new["name"]:
        raise forbidden("doc.name is required")
    roles = new.get("roles")
    if roles is None or roles is False or roles == "" or roles == 0:
        raise forbidden("doc.roles must exist")
    if not isinstance(roles, list):
        raise forbidden("doc.roles must be an array")
    if not all(isinstance(role, str) for role in roles):
        raise forbidden("doc.roles can only contain strings")
    if new["_id"] != "org.couchdb.user:" + new["name"]:
        raise forbidden("Doc ID must be of the form org.couchdb.user:name")
    if old is not None and old.get("name") != new["name"]:
        raise forbidden("Usernames can not be changed.")
    if new.get("password_sha") and not new.get("salt"):
        raise forbidden(
            "Users with password_sha must have a salt.See /_utils/script/couch.js for example code."
        )
    scheme = new.get("password_scheme")
    if scheme and scheme not in ("simple", "pbkdf2", "simple+pbkdf2"):
        raise forbidden(f"Password scheme `{scheme}` not supported.")
    if scheme == "pbkdf2":
        number = new.get("iterations")
        if not isinstance(number, int | float) or isinstance(number, bool):
            raise forbidden("iterations must be a number.")
        if not isinstance(new.get("derived_key"), str):
            raise forbidden("derived_key must be a string.")


def _own(new: Fields, old: Fields | None, name: str | None) -> None:
    if old is None:
        if new["roles"]:
            raise forbidden("Only _admin may set roles")
        return
    if name != new["name"]:
        raise forbidden("You may only update your own user document.")
    if sorted(old.get("roles") or []) != sorted(new["roles"]):
        raise forbidden("Only _admin may edit roles")
