"""CouchDB's settings as the files on each VM hold them: .env, the compose override, CouchDB's own.

The nodes must agree on some of them. Secrets are compared by hash and never leave this module.
"""

from __future__ import annotations

import configparser
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping

import msgspec
import yaml

from runbook.context import Look
from runbook.errors import CouldNotLook
from runbook.hosts.base import Machine
from runbook.platform import adapt, compose, dotenv

#: Erlang's public default, with which CouchDB refuses to start
DEFAULT_COOKIE = "monster"
#: what has to be alike on all nodes
SHARED = ("cookie", "secret", "admin hash", "uuid", "document limit")
_SECRET = ("cookie", "secret", "admin hash")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one VM's files say. ``shared``: setting -> hash of its value; ``problems`` in words."""

    machine: str
    problems: tuple[str, ...] = ()
    shared: dict[str, str] = {}
    default_cookie: bool = False


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def monster(machine: str) -> str:
    return f"{machine} has the cookie `{DEFAULT_COOKIE}`: CouchDB refuses to start"


def different(shared: Mapping[str, Mapping[str, str]], keys: Iterable[str]) -> list[str]:
    """Where machines do not agree (machine -> setting -> hash), in words. The value that most of
    them have, the first ones when it is a tie, is taken for the right one."""
    problems = []
    for key in keys:
        values = [one[key] for one in shared.values() if one.get(key)]
        missing = [machine for machine, one in shared.items() if not one.get(key)]
        if missing:
            problems.append(f"{', '.join(missing)}: no {key}")
        right = max(values, key=values.count, default="")
        others = [machine for machine, one in shared.items() if one.get(key, right) != right]
        if others:
            example = next(machine for machine, one in shared.items() if one.get(key) == right)
            problems.append(f"the {key} of {', '.join(others)} is not that of {example}")
    return problems


async def read(look: Look, machine: Machine) -> Settings:
    """Raises HostError when the machine or a file cannot be read."""
    host = await look.hosts.open(machine.name)
    try:
        folder, files = await compose.find_files(dataclasses.replace(look, host=host))
    except CouldNotLook as error:  # no compose file there: that is an answer to this question
        return Settings(machine=machine.name, problems=(error.what,))
    override = files[1] if len(files) > 1 else adapt.OVERRIDE
    texts, problems = {}, []
    for name in (".env", override, adapt.INI):
        data = await host.read_bytes(f"{folder}/{name}")
        if data is None:
            problems.append(f"{machine.name} has no {folder}/{name}")
        texts[name] = (data or b"").decode("utf-8", "replace")
    env = dotenv.parse(texts[".env"])
    environment, sections = _environment(texts[override]), _ini(texts[adapt.INI])
    if environment is None or sections is None:
        problems.append(f"{machine.name}: the override or CouchDB's settings file cannot be read")
    environment, sections = environment or {}, sections or {}
    # the image makes the name couchdb@$NODENAME
    if texts[override] and environment.get("NODENAME") != machine.internal:
        has = environment.get("NODENAME", "none")
        problems.append(f"{machine.name} has NODENAME {has}, not {machine.internal}")
    cookie = environment.get("COUCHDB_ERLANG_COOKIE", "")
    cookie = env.get("COUCHDB_COOKIE", "") if cookie in ("${COUCHDB_COOKIE}", "$COUCHDB_COOKIE") else cookie
    couchdb, admins = sections.get("couchdb", {}), sections.get("admins", {})
    values = {
        "cookie": cookie,
        "secret": sections.get("chttpd_auth", {}).get("secret", ""),
        "admin hash": admins.get(look.site.couchdb.user, ""),
        "uuid": couchdb.get("uuid", ""),
        "document limit": couchdb.get("max_document_size", ""),
    }
    if cookie == DEFAULT_COOKIE:
        problems.append(monster(machine.name))
    for key in _SECRET:
        if values[key] and values[key] != DEFAULT_COOKIE:  # that one is public, and has to be named
            look.secrets.learn(values[key], f"couchdb {key} of {machine.name}")
    if values["admin hash"] and not values["admin hash"].startswith("-pbkdf2"):
        problems.append(
            f"{machine.name}: the admin's password is not hashed, so each node would make its own hash"
        )
    return Settings(
        machine=machine.name,
        problems=tuple(problems),
        shared={key: digest(text) for key, text in values.items() if text},
        default_cookie=cookie == DEFAULT_COOKIE,
    )


def _environment(text: str) -> dict[str, str] | None:
    """The couchdb service's environment in a compose file, in either of its forms."""
    try:
        found = ((yaml.safe_load(text) or {}).get("services") or {}).get("couchdb") or {}
        given = found.get("environment") or {}
        if isinstance(given, dict):
            return {str(key): str(value) for key, value in given.items()}
        return dict(str(item).partition("=")[::2] for item in given)
    except (yaml.YAMLError, AttributeError, TypeError):
        return None


def _ini(text: str) -> dict[str, dict[str, str]] | None:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=(";",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error:
        return None
    return {section: dict(parser.items(section)) for section in parser.sections()}
