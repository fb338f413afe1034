"""A database: made, looked at, dropped; its security, limits and shards."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

from runbook.lab.couchdb import access, fabric, jsontext, shards, writing
from runbook.lab.couchdb.errors import HttpError, bad_request
from runbook.lab.couchdb.handlers import document
from runbook.lab.couchdb.shards import ShardMap
from runbook.lab.couchdb.users import Caller
from runbook.lab.couchdb.web import Reply, Request, ok, raw

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn

_NAME = re.compile(r"[a-z][a-z0-9_$()+/-]*")
_SYSTEM = {"_users", "_replicator", "_global_changes"}


def handle(node: StandIn, request: Request, caller: Caller) -> Reply:
    request.allow("GET", "PUT", "DELETE", "POST")
    name = request.path[0]
    if request.method == "PUT":
        access.need_admin(caller)
        return _put(node, request, name)
    found = node.disk.map(name)
    if request.method == "DELETE":
        access.need_admin(caller)
        node.network.publish(node, found.tombstone())
        return ok({"ok": True}, 200 if _majority(node) else 202)
    access.need_member(found, caller)
    if request.method == "POST":
        return document.post(node, request, caller, found)
    return ok(info(node, found))


def _put(node: StandIn, request: Request, name: str) -> Reply:
    if not _NAME.fullmatch(name) and name not in _SYSTEM:
        allowed = (
            "Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), +, -, and /"
        )
        reason = f"Name: '{name}'. {allowed} are allowed. Must begin with a letter."
        raise HttpError(400, "illegal_database_name", reason)
    if name in node.disk.names():
        reason = "The database could not be created, the file already exists."
        raise HttpError(412, "file_exists", reason)
    q, n = (request.number(key, node.config.number("cluster", key, 0)) for key in ("q", "n"))
    if not 0 < q <= 1024 or n < 1:
        raise bad_request("The `q` and `n` parameters should be integers greater than 0.")
    create(node, name, q=q, n=n, partitioned=request.flag("partitioned"))
    return ok({"ok": True}, 201 if _majority(node) else 202)


def create(
    node: StandIn, name: str, *, q: int | None = None, n: int | None = None, partitioned: bool = False
) -> ShardMap:
    """Make a database over the nodes known now; each of them that is connected gets its shard files."""
    props: dict[str, object] = {"partitioned": True} if partitioned else {}
    found = shards.placed(
        name,
        node.disk.nodes.names(),
        q=q or node.config.number("cluster", "q", 8),
        n=n or node.config.number("cluster", "n", 3),
        props=props,
        now=node.network.wall(),
        old=node.disk.dbs.get(name),
    )
    node.network.publish(node, found)
    if name == "_users":
        writing.make_auth_design(node, found)
    return found


def _majority(node: StandIn) -> bool:
    """Did enough members hear of a change of ``_dbs``?"""
    return len(node.network.connected(node)) > len(node.disk.nodes.names()) // 2


def info(node: StandIn, found: ShardMap) -> dict[str, object]:
    held = [each.copy for each in fabric.reading(node, found)]
    size = sum(len(state.winner.members) + 40 for copy in held for state in copy.docs.values())
    seq = sum(copy.update_seq for copy in held)
    quorum = found.n // 2 + 1
    return {
        "instance_start_time": str(int(found.created)),
        "db_name": found.name,
        "purge_seq": "0-g1AA",
        "update_seq": f"{seq}-{zlib.crc32(str([copy.update_seq for copy in held]).encode()):08x}",
        "sizes": {"file": 8350 * len(held) + size, "external": size, "active": size},
        "props": found.props,
        "doc_del_count": sum(copy.del_count for copy in held),
        "doc_count": sum(copy.doc_count for copy in held),
        "disk_format_version": 8,
        "compact_running": False,
        "cluster": {"q": len(found.by_range), "n": found.n, "w": quorum, "r": quorum},
    }


def security(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    request.allow("GET", "PUT")
    if request.method == "PUT":
        access.need_db_admin(found, caller)
        if not isinstance(jsontext.value(request.body), dict):
            raise bad_request("Request body must be a JSON object")
        found.settings.security = jsontext.compact(request.body.strip())
        return ok({"ok": True})
    return raw(found.settings.security)


def revs_limit(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    request.allow("GET", "PUT")
    if request.method == "PUT":
        access.need_db_admin(found, caller)
        limit = jsontext.value(request.body)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise bad_request("`revs_limit` must be an integer greater than 0")
        found.settings.revs_limit = limit
        return ok({"ok": True})
    return ok(found.settings.revs_limit)


def shard_map(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    request.allow("GET")
    if len(request.path) == 2:
        return ok({"shards": {range_: found.nodes(range_) for range_ in found.by_range}})
    range_ = found.range_of("/".join(request.path[2:]))
    return ok({"range": range_, "nodes": found.nodes(range_)})


def sync_shards(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    request.allow("POST")
    access.need_admin(caller)
    node.network.sync(node, found.name)
    return ok({"ok": True}, 202)


def full_commit(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    request.allow("POST")
    return ok({"ok": True, "instance_start_time": str(int(found.created))}, 201)


def compact(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    request.allow("POST")
    access.need_db_admin(found, caller)
    return ok({"ok": True}, 202)


def revs_diff(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    """Which of the given revisions are not here."""
    request.allow("POST")
    missing: dict[str, dict[str, list[str]]] = {}
    for doc_id, revs in request.fields().items():
        state = fabric.state(node, found, doc_id)
        lacking = [rev for rev in revs if state is None or not document.holds(state, rev)]
        if lacking:
            missing[doc_id] = {"missing": lacking}
    if request.path[1] == "_missing_revs":
        return ok({"missing_revs": {doc_id: each["missing"] for doc_id, each in missing.items()}})
    return ok(missing)
