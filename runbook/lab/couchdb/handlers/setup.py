"""``/_cluster_setup``: how nodes are made one cluster. Takes the lock itself, for it may wait."""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING, Any

from runbook.lab.couchdb import access
from runbook.lab.couchdb.errors import HttpError, bad_request
from runbook.lab.couchdb.handlers import database
from runbook.lab.couchdb.users import Caller
from runbook.lab.couchdb.web import Reply, Request, ok

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn

#: what finish_cluster makes
SYSTEM_DATABASES = ("_users", "_replicator")
#: what finish_cluster pushes onto the others, besides all of [admins]
_PUSHED = (("couchdb", "uuid"), ("chttpd_auth", "secret"))


def handle(node: StandIn, request: Request, caller: Caller) -> Reply:
    request.allow("GET", "POST")
    access.need_admin(caller)
    if request.method == "GET":
        with node.network.lock:
            return ok({"state": "cluster_finished" if _finished(node) else "cluster_enabled"})
    fields = request.fields()
    action = fields.get("action")
    if action == "enable_cluster":  # there is an admin and an open address, always so in the image
        raise bad_request("Cluster is already enabled")
    if action == "add_node":
        return _add_node(node, fields)
    if action == "finish_cluster":
        return _finish(node)
    if action == "receive_cookie":
        with node.network.lock:
            node.cookie = str(fields.get("cookie", ""))  # in memory only: lost at a restart
            node.network.changed()
        return ok({"ok": True}, 201)
    raise bad_request("Invalid Action'")


def _finished(node: StandIn) -> bool:
    held = node.disk.names()
    return all(name in held for name in SYSTEM_DATABASES)


def _add_node(node: StandIn, fields: dict[str, Any]) -> Reply:
    """The other server is given our cookie; when it refuses the login, we say ok all the same."""
    host = str(fields.get("host", ""))
    with node.network.lock:
        peer = node.network.http_peer(node.address, host)
        if peer is None:
            raise _connection_failed("ehostunreach" if _is_address(host) else "nxdomain")
        if not peer.running:
            raise _connection_failed("econnrefused")
        try:
            peer.logins.login(str(fields.get("username", "")), str(fields.get("password", "")))
        except HttpError:
            return ok({"ok": True}, 201)
        peer.cookie = node.cookie
        node.disk.nodes.add(f"{fields.get('name', 'couchdb')}@{host}")
        node.note("notice", f"added couchdb@{host}")
        node.network.changed(eager=node, at_once=True)
        return ok({"ok": True}, 201)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _connection_failed(why: str) -> HttpError:
    return HttpError(500, "invalid_ejson", f"{{conn_failed,{{error,{why}}}}}", ref=1851508952)


def _finish(node: StandIn) -> Reply:
    _wait_connected(node)
    with node.network.lock:
        for other in node.network.connected(node):
            if other is node:
                continue
            for section, key in _PUSHED:
                other.config.set(section, key, node.config.get(section, key))
            for name, stored in node.config.section("admins").items():
                other.config.set("admins", name, stored)
        if _finished(node):
            raise bad_request("Cluster is already finished")
        for name in SYSTEM_DATABASES:
            if name not in node.disk.names():
                database.create(node, name)
        return ok({"ok": True}, 201)


def _wait_connected(node: StandIn) -> None:
    limit = time.monotonic() + node.finish_wait
    while True:
        with node.network.lock:
            there = {each.name for each in node.network.connected(node)}
            if all(name in there for name in node.disk.nodes.names()):
                return
        if time.monotonic() >= limit:
            raise HttpError(500, "setup_error", "Cluster setup timed out waiting for nodes to connect")
        time.sleep(0.02)
