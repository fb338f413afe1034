"""Holding the blank node back, knowing who it is, and letting it into service."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress

from runbook.couch import cluster
from runbook.couch.client import Client
from runbook.couch.session import Reply
from runbook.errors import ActionFailed, RunbookError

#: a setting of our own on the fresh node, there only while it is looked who it is
_PLACE = ("_config", "runbook", "join")
#: what is said whenever the fresh node is not taken into service
HELD = "It stays in maintenance mode, so nothing is read from it; a retry goes on from here."


async def hold(client: Client) -> None:
    """Into maintenance mode: it takes what the others push, and serves nothing. Raises ActionFailed."""
    await _mode(client, "true")
    up = await client.aget("_up")
    if up.status != 404:
        raise ActionFailed(f"CouchDB on {client.node} does not go into maintenance mode: {_said(up)}.")


async def release(client: Client, limit: float) -> None:
    """Out of maintenance mode, and until ``_up`` says ok. Raises ActionFailed."""
    await _mode(client, "false")

    async def down() -> list[str]:
        up = await client.aget("_up")
        return [] if up.ok and up.body.get("status") == "ok" else [_said(up)]

    if said := await cluster.until(limit, down):
        raise ActionFailed(f"CouchDB on {client.node} is out of maintenance mode, but not up: {said[0]}.")


async def _mode(client: Client, value: str) -> None:
    reply = await client.aput("_node", "_local", "_config", "couchdb", "maintenance_mode", body=value)
    if not reply.ok or await cluster.setting(client, "couchdb", "maintenance_mode") != value:
        raise ActionFailed(f"maintenance_mode on {client.node} could not be set to {value}: {_said(reply)}.")


def _said(reply: Reply) -> str:
    return reply.error or f"{reply.status} {reply.body}"


async def unknown(clients: Mapping[str, Client], fresh: str, name: str, others: Iterable[str]) -> list[str]:
    """Is the machine that is held here the one whom all others call ``name``? A word is written
    into its settings and read through each of them, then taken out. Who is not connected to it, in
    words. Raises ActionFailed when somebody else has the name."""
    word, client = secrets.token_hex(16), clients[fresh]
    wrote = await client.aput("_node", "_local", *_PLACE, body=word)
    if not wrote.ok:
        raise ActionFailed(f"CouchDB on {fresh} takes no settings: {_said(wrote)}.")
    problems = []
    try:
        for other in others:
            reply = await clients[other].aget("_node", name, *_PLACE)
            if reply.ok and reply.body == word:
                continue
            if reply.ok or reply.body.get("reason") == "unknown_config_value":
                raise ActionFailed(
                    f"Whom {other} calls {name} is not the CouchDB on {fresh}: the lost node is still alive. "
                    f"{HELD}",
                    next="Power the lost machine off for good, then retry.",
                )
            problems.append(
                f"{other} lists {name}, but it is not connected: check the cookie, ports 4369 and 9100, and "
                "its name."
            )
    finally:
        with suppress(RunbookError):  # what stays is harmless, and gone with the container
            await asyncio.shield(asyncio.to_thread(client.delete, "_node", "_local", *_PLACE))
    return problems
