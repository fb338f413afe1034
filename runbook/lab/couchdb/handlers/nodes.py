"""``/_node/…``: one node's settings, state, and what lies on its own disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook.lab.couchdb import access, jsontext, shards
from runbook.lab.couchdb.errors import HttpError, bad_request, conflict, not_found, unsupported
from runbook.lab.couchdb.users import Caller
from runbook.lab.couchdb.web import Reply, Request, ok

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn

_STRING_ONLY = "The value must be a JSON string"


def handle(node: StandIn, request: Request, caller: Caller) -> Reply:
    access.need_admin(caller)
    if len(request.path) < 2:
        raise not_found()
    target = _target(node, request.path[1])
    rest = request.path[2:]
    if not rest:
        request.allow("GET")
        return ok({"name": target.name})
    if rest[0] == "_config":
        return _config(target, request, rest[1:])
    if rest[0] == "_nodes":
        return _nodes(target, request, rest[1:])
    if rest[0] == "_dbs":
        return _dbs(target, request, rest[1:])
    if rest == ["_all_dbs"]:  # what lies on its disk
        return ok(["_dbs", "_nodes", *sorted(target.disk.copies)])
    if rest[0] == "_system":
        return _system(target, request)
    if rest[0] == "_stats":
        return ok({"couchdb": {"httpd": {"requests": {"value": target.requests, "type": "counter"}}}})
    if rest[0].startswith("shards/"):
        return _shard(target, request, rest)
    raise unsupported("/_node/…/" + rest[0])


def _target(node: StandIn, name: str) -> StandIn:
    """The node meant. Raises HttpError 404 for a stranger, 412 for a member that is not connected."""
    if name in ("_local", node.name):
        return node
    for each in node.network.connected(node):
        if each.name == name:
            return each
    if name in node.disk.nodes:
        raise HttpError(412, "nodedown", f"{name} is down")
    raise not_found(f"no such node: {name}")


def _config(target: StandIn, request: Request, rest: list[str]) -> Reply:
    request.allow("GET", "PUT", "DELETE", "POST")
    config = target.config
    if not rest:
        return ok(config.sections())
    if rest == ["_reload"]:
        return ok({"ok": True})
    if len(rest) == 1:
        return ok(config.section(rest[0]))
    section, key = rest[0], rest[1]
    if request.method == "PUT":
        value = jsontext.value(request.body)
        if not isinstance(value, str):
            raise bad_request(_STRING_ONLY)
        target.note("notice", f"config: [{section}] {key} set")
        return ok(config.set(section, key, value))
    if not config.has(section, key):
        raise not_found("unknown_config_value")
    if request.method == "DELETE":
        return ok(config.delete(section, key))
    return ok(config.get(section, key))


def _nodes(target: StandIn, request: Request, rest: list[str]) -> Reply:
    request.allow("GET", "PUT", "DELETE")
    members = target.disk.nodes
    if rest == ["_all_docs"]:
        rows = [{"id": n, "key": n, "value": {"rev": members.get(n).rev}} for n in members.names()]
        return ok({"total_rows": len(rows), "offset": 0, "rows": rows})
    if len(rest) != 1:
        raise not_found()
    name = rest[0]
    if request.method == "GET":
        return ok({"_id": name, "_rev": members.get(name).rev})
    if request.method == "PUT":
        entry, status = members.add(name), 201
    else:
        entry, status = members.remove(name, request.query.get("rev", "")), 200
    target.network.gossip()
    target.network.changed(eager=target, at_once=True)
    return ok({"ok": True, "id": name, "rev": entry.rev}, status)


def _dbs(target: StandIn, request: Request, rest: list[str]) -> Reply:
    request.allow("GET", "PUT")
    if rest == ["_all_docs"]:
        rows: list[dict[str, Any]] = []
        for name in target.disk.names():
            printed = target.disk.map(name).printed()
            row: dict[str, Any] = {"id": name, "key": name, "value": {"rev": printed["_rev"]}}
            rows.append(row | ({"doc": printed} if request.flag("include_docs") else {}))
        return ok({"total_rows": len(rows), "offset": 0, "rows": rows})
    found = target.disk.dbs.get("/".join(rest))
    if found is None or found.deleted:
        raise not_found()
    if request.method == "GET":
        return ok(found.printed())
    fields = jsontext.value(request.body)
    if not isinstance(fields, dict) or fields.get("_rev") != found.printed()["_rev"]:
        raise conflict()
    changed = shards.edited(found, fields)
    target.network.publish(target, changed)
    return ok({"ok": True, "id": changed.name, "rev": changed.printed()["_rev"]}, 201)


def _shard(target: StandIn, request: Request, rest: list[str]) -> Reply:
    request.allow("GET")
    copy = target.disk.copies.get(rest[0])
    if copy is None:
        raise not_found("no_db_file")
    if len(rest) == 1:
        return ok(copy.info())
    raise unsupported("reading documents from one shard copy")


def _system(target: StandIn, request: Request) -> Reply:
    request.allow("GET")
    uptime = int(target.network.wall() - target.booted_at)
    found: dict[str, Any] = {
        "uptime": uptime,
        "memory": {"other": 0, "atom": 0, "processes": 0, "binary": 0, "code": 0, "ets": 0},
        "run_queue": 0,
        "process_count": 0,
        "process_limit": 262144,
        "message_queues": {},
        "internal_replication_jobs": target.network.backlog(target),
        "distribution": {},
    }
    return ok(found)
