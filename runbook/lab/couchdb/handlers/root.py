"""The server as a whole: welcome, health, members, databases, sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook.lab.couchdb import access
from runbook.lab.couchdb.errors import HttpError, bad_request
from runbook.lab.couchdb.handlers import database
from runbook.lab.couchdb.users import Caller
from runbook.lab.couchdb.web import Reply, Request, ok

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn

_FEATURES = ["access-ready", "partitioned", "pluggable-storage-engines", "reshard", "scheduler"]
_BUILDS = {"3.3.2": "11a234070", "3.5.0-dirty": "11f0d36"}


def welcome(node: StandIn, request: Request, caller: Caller) -> Reply:
    request.allow("GET")
    modern = tuple(map(int, node.version.split(".")[:2])) >= (3, 4)
    return ok(
        {
            "couchdb": "Welcome",
            "version": node.version,
            "git_sha": _BUILDS.get(node.version, "0000000"),
            "uuid": node.config.get("couchdb", "uuid"),
            "features": ["quickjs", *_FEATURES] if modern else _FEATURES,
            "vendor": {"name": "The Apache Software Foundation"},
        }
    )


def up(node: StandIn, request: Request, caller: Caller) -> Reply:
    request.allow("GET")
    mode = node.config.get("couchdb", "maintenance_mode")
    if mode in ("true", "nolb"):
        return ok({"status": "maintenance_mode" if mode == "true" else "nolb"}, 404)
    return ok({"status": "ok", "seeds": {}})


def membership(node: StandIn, request: Request, caller: Caller) -> Reply:
    request.allow("GET")
    access.need_admin(caller)
    connected = sorted(each.name for each in node.network.connected(node))
    return ok({"all_nodes": connected, "cluster_nodes": node.disk.nodes.names()})


def all_dbs(node: StandIn, request: Request, caller: Caller) -> Reply:
    request.allow("GET")
    access.need_admin(caller)
    names = node.disk.names()
    start, end = request.json_param("startkey", "start_key"), request.json_param("endkey", "end_key")
    if request.flag("descending"):
        names.reverse()
        start, end = end, start
    names = [name for name in names if (start is None or name >= start) and (end is None or name <= end)]
    skip = request.number("skip", 0)
    return ok(names[skip : skip + request.number("limit", len(names))])


def dbs_info(node: StandIn, request: Request, caller: Caller) -> Reply:
    request.allow("GET", "POST")
    access.need_admin(caller)
    keys = node.disk.names()
    if request.method == "POST":
        given = request.fields().get("keys")
        if not isinstance(given, list):
            raise bad_request("`keys` member must exist.")
        keys = given
    found = []
    for key in keys:
        try:
            found.append({"key": key, "info": database.info(node, node.disk.map(key))})
        except HttpError as error:
            found.append({"key": key, "error": error.error})
    return ok(found)


def session(node: StandIn, request: Request, caller: Caller) -> Reply:
    request.allow("GET", "POST", "DELETE")
    if request.method == "DELETE":
        return ok({"ok": True}, Set_Cookie="AuthSession=; Version=1; Path=/; HttpOnly")
    if request.method == "POST":
        fields = _form(request)
        name = fields.get("name", fields.get("username", ""))
        known = node.logins.login(str(name), str(fields.get("password", "")))
        found = {"ok": True, "name": known.name, "roles": list(known.roles)}
        return ok(found, Set_Cookie=node.logins.cookie(known.name or ""))
    info: dict[str, object] = {"authentication_handlers": ["cookie", "default"]}
    if caller.by:
        info["authenticated"] = caller.by
    return ok({"ok": True, "userCtx": {"name": caller.name, "roles": list(caller.roles)}, "info": info})


def _form(request: Request) -> dict[str, object]:
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return dict(Request("POST", "/?" + request.body.decode("latin-1"), {}).query)
    return request.fields()


def uuids(node: StandIn, request: Request, caller: Caller) -> Reply:
    request.allow("GET")
    return ok({"uuids": [node.network.entropy(16) for _ in range(min(request.number("count", 1), 1000))]})


def active_tasks(node: StandIn, request: Request, caller: Caller) -> Reply:
    request.allow("GET")
    access.need_admin(caller)
    return ok([])
