"""The forms that values of runbook.toml must have, key by key.

A rule takes the value and raises ValueError with the expected form. In a key, ``[]`` stands for
any entry of a list. No message repeats a value that could be a secret by mistake.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from runbook.units import parse_duration

Rule = Callable[[Any], object]

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})+")


def _matching(pattern: str, form: str) -> Rule:
    compiled = re.compile(pattern)

    def rule(value: str) -> None:
        if not compiled.fullmatch(value):
            raise ValueError(f"{value!r}: expected {form}")

    return rule


def _within(low: int, high: int, form: str) -> Rule:
    def rule(value: int) -> None:
        if not low <= value <= high:
            raise ValueError(f"{value}: expected {form} from {low} to {high}")

    return rule


def _optional(inner: Rule) -> Rule:
    return lambda value: value == "" or inner(value)


def domain(value: str) -> None:
    if len(value) > 253 or not _DOMAIN.fullmatch(value):
        raise ValueError(f"{value!r}: expected a domain such as openedx.example.org (no https://, no path)")


def ip(value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r}: expected an IP address such as 10.0.1.10") from None


def ipv4(value: str) -> None:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError(f"{value!r}: expected an IPv4 address such as 10.0.1.10") from None


def address(value: str) -> None:
    """An IP address or a host name."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        numbers_only = re.fullmatch(r"[\d.]+", value)  # a broken IPv4 address, no name
        if numbers_only or len(value) > 253 or not _HOSTNAME.fullmatch(value):
            raise ValueError(f"{value!r}: expected an IP address or a host name") from None


def address_port(value: str) -> None:
    """``address``, ``address:port`` or ``[IPv6]:port``."""
    host, port = value, "53"
    if match := re.fullmatch(r"\[(.+)\]:(\d+)|([^:]+):(\d+)", value):
        host, port = match[1] or match[3], match[2] or match[4]
    try:
        address(host)
    except ValueError:
        raise ValueError(f"{value!r}: expected address or address:port, such as 192.0.2.53:53") from None
    if not 1 <= int(port[:6]) <= 65535:
        raise ValueError(f"{value!r}: the port must be from 1 to 65535")


def _remote_folder(value: str) -> None:
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or value.startswith("~"):
        raise ValueError(f"{value!r}: expected a folder below the user's home, such as openedx-ha")


def _request_path(value: str) -> None:
    if not value.startswith("/") or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError(f"{value!r}: expected a path such as /courses/ID/about, without spaces")


_port = _within(1, 65535, "a port")
_user = _matching(r"[A-Za-z_][A-Za-z0-9._-]*", "a user's name such as openedx")
_text = _matching(r"(?s).*\S.*", "some text")
_output = _matching(r"[A-Za-z_][\w-]*", "the name of an OpenTofu output")

RULES: dict[str, Rule] = {
    "name": _matching(r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*", "a name on one line"),
    "objectives.rto": parse_duration,
    "objectives.rpo": parse_duration,
    "contacts[].name": _text,
    "machines.user": _user,
    "machines.backup_user": _user,
    "machines.production[].address": address,
    "machines.production[].internal": _optional(ip),
    "machines.backup.address": address,
    "machines.backup.internal": _optional(ip),
    "machines.production_output": _output,
    "machines.backup_output": _output,
    "machines.count": _within(1, 99, "a number of machines"),
    "machines.internal_base": ipv4,
    "machines.backup_internal": ip,
    "platform.folder": _remote_folder,
    "platform.project": _optional(_matching(r"[a-z0-9][a-z0-9_-]*", "a compose project (a-z, 0-9, _ and -)")),
    "platform.domain": domain,
    "platform.public_through": _matching("direct|ssh", "direct or ssh"),
    "platform.lms_port": _port,
    "platform.cms_port": _port,
    "platform.caddy_port": _port,
    "tofu.folder": _text,
    "tofu.workspace": _matching(r"[A-Za-z0-9][\w.-]*", "a workspace's name"),
    "couchdb.user": _matching(r"[^\s:\x00-\x1f]+", "a user's name without colon or space"),
    "couchdb.port": _port,
    "couchdb.q": _within(1, 1024, "a number of shards"),
    "couchdb.n": _within(1, 99, "a number of copies"),
    "couchdb.max_document_size": _within(1, 4_294_967_296, "bytes"),
    "couchdb.node_prefix": _matching(r"[A-Za-z0-9_-]+", "the part before @ of the node names"),
    "couchdb.urls[]": _matching(
        r"https?://[^\s@/?#]+/?", "an address such as http://10.0.1.10:5984, without a login"
    ),
    "backup.remote": _text,
    "backup.local": _text,
    "backup.id": _optional(_matching(r"[A-Za-z0-9][\w.-]*", "a backup's folder name such as 20261101")),
    "backup.databases[]": _matching(r"[a-z_][a-z0-9_$()+/-]*", "a CouchDB database's name"),
    "backup.schedule": _text,
    "backup.keep": _within(1, 9999, "a number of backups"),
    "backup.copies[]": _text,
    "dns.servers[]": address_port,
    "dns.names[]": domain,
}
for _request in ("admin_login", "course", "user", "upload"):
    RULES |= {
        f"requests.{_request}.path": _request_path,
        f"requests.{_request}.method": _matching("[A-Z]+", "a method such as GET or POST"),
        f"requests.{_request}.status": _within(100, 599, "an HTTP status"),
    }

#: entries of these tables whose names speak of a secret are refused as plain text
_SECRET_NAME = re.compile(r"(pass(word|wd|phrase)?|secret|token|api[-_]?key)$", re.IGNORECASE)
_SECRET_FIELD = re.compile(r"(pass(word|wd|phrase)?|secret)$", re.IGNORECASE)
_SECRET_HEADER = re.compile(r"((proxy-)?authorization|x-api-key)$", re.IGNORECASE)


def speaks_of_secret(table: str, name: str) -> bool:
    """Would plain text under this name in that table be a secret in the settings?"""
    if table == "tofu.variables":
        return _SECRET_NAME.search(name) is not None
    if table.endswith(".form"):
        return _SECRET_FIELD.search(name) is not None
    return table.endswith(".headers") and _SECRET_HEADER.search(name) is not None
