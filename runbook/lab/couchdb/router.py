"""Which handler answers an address."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from runbook.lab.couchdb import access
from runbook.lab.couchdb.errors import Dropped, unsupported
from runbook.lab.couchdb.handlers import bulk, database, document, listing, nodes, root, setup
from runbook.lab.couchdb.shards import ShardMap
from runbook.lab.couchdb.users import Caller
from runbook.lab.couchdb.web import Reply, Request

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn

    ServerHandler = Callable[[StandIn, Request, Caller], Reply]
    DatabaseHandler = Callable[[StandIn, Request, Caller, ShardMap], Reply]

_SERVER: dict[str, ServerHandler] = {
    "_up": root.up,
    "_membership": root.membership,
    "_all_dbs": root.all_dbs,
    "_dbs_info": root.dbs_info,
    "_session": root.session,
    "_uuids": root.uuids,
    "_active_tasks": root.active_tasks,
    "_node": nodes.handle,
}

_DATABASE: dict[str, DatabaseHandler] = {
    "_bulk_docs": bulk.docs,
    "_bulk_get": bulk.get,
    "_all_docs": listing.all_docs,
    "_changes": listing.changes,
    "_security": database.security,
    "_revs_limit": database.revs_limit,
    "_shards": database.shard_map,
    "_sync_shards": database.sync_shards,
    "_ensure_full_commit": database.full_commit,
    "_compact": database.compact,
    "_revs_diff": database.revs_diff,
    "_missing_revs": database.revs_diff,
}

_NAMES = {"_users", "_replicator", "_global_changes"}


def route(node: StandIn, request: Request) -> Reply:
    """Answer one request. Raises HttpError, Dropped."""
    with node.network.lock:
        if not node.running:
            raise Dropped
        node.network.advance()
        caller = node.logins.caller(request)
        first = request.path[0] if request.path else ""
        if first != "_cluster_setup":
            return _locked(node, request, caller, first)
    return setup.handle(node, request, caller)


def _locked(node: StandIn, request: Request, caller: Caller, first: str) -> Reply:
    if not first:
        return root.welcome(node, request, caller)
    if first in _SERVER:
        return _SERVER[first](node, request, caller)
    if first[0] == "_" and first not in _NAMES:
        access.need_admin(caller)
        if request.method != "PUT" or len(request.path) > 1:
            raise unsupported("/" + first)
    if len(request.path) == 1:
        return database.handle(node, request, caller)
    found, rest = node.disk.map(first), request.path[1:]
    handler = _DATABASE.get(rest[0])
    if handler is None:
        if rest[0][0] == "_" and rest[0] not in ("_design", "_local") and "/" not in rest[0]:
            raise unsupported("/{db}/" + rest[0])
        return document.handle(node, request, caller, found, rest)
    access.need_member(found, caller)
    return handler(node, request, caller, found)
