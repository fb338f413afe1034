"""The cluster that ``COUCHDB_URL`` lends to the tests: its addresses, and what its nodes say of themselves.
Nothing here changes anything."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.real.documents import CouchServer, Url
from tests.real.vms import NETWORK


class Unfit(Exception):
    """What was set cannot be used, and why."""


def urls(text: str, user: str = "", password: str = "", *, ci: bool = False) -> tuple[Url, ...]:
    """The addresses in ``COUCHDB_URL``. Raises Unfit; what it says holds no password."""
    found = []
    for number, one in enumerate(text.split(","), 1):
        where = f"COUCHDB_URL, address {number}"
        try:
            parts = urlsplit(one.strip())
            host, port = parts.hostname or "", parts.port or 5984
        except ValueError:
            raise Unfit(f"{where} is no address.") from None
        if parts.scheme != "http" or not host or parts.path.strip("/") or parts.query:
            raise Unfit(f"{where}: http://HOST:PORT is wanted, without a path.")
        if not _near(host, ci=ci):
            only = "" if ci else f" or {NETWORK}.0/24"
            raise Unfit(f"{where}: {host} is not loopback{only}; these tests talk to no other machine.")
        login = (unquote(parts.username or user), unquote(parts.password or "") or password)
        if not all(login):
            raise Unfit(f"{where}: the admin's login is missing (COUCHDB_USER, COUCHDB_PASSWORD).")
        found.append(Url(host, port, *login))
    if len({(one.host, one.port) for one in found}) < len(found):
        raise Unfit("COUCHDB_URL names a node twice.")
    if len({(one.user, one.password) for one in found}) > 1:
        raise Unfit("COUCHDB_URL: the nodes of one cluster have one login.")
    return tuple(found)


def _near(host: str, *, ci: bool) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or (not ci and address in ip_network(f"{NETWORK}.0/24"))


@dataclass(frozen=True)
class Seen:
    """What a node says of itself."""

    url: Url
    version: str
    name: str
    listed: frozenset[str]
    databases: frozenset[str]
    document_limit: int


def look(url: Url) -> Seen:
    """Asks, and changes nothing. Raises Unfit."""
    server = CouchServer(url)

    def ask(path: str) -> Any:
        try:
            reply = server.call("GET", path)
            if reply.status == 200:
                return json.loads(reply.body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unfit(f"COUCHDB_URL: {url} does not answer like CouchDB: {error}") from None
        raise Unfit(f"COUCHDB_URL: {url} answers {path} with {reply.status}: {reply.body[:200]!r}")

    try:
        return Seen(
            url=url,
            version=str(ask("/")["version"]),
            name=str(ask("/_node/_local")["name"]),
            listed=frozenset(ask("/_membership")["cluster_nodes"]),
            databases=frozenset(ask("/_all_dbs")),
            document_limit=int(ask("/_node/_local/_config/couchdb/max_document_size")),
        )
    except (KeyError, TypeError, ValueError):
        raise Unfit(f"COUCHDB_URL: {url} does not answer like CouchDB.") from None
