"""Is the lost node really off? It must not come back beside its successor.

Nothing here is assumed: each piece of evidence says what was seen. What cannot be seen from here
is for a person to say.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from runbook.context import Look
from runbook.couch.client import Client
from runbook.couch.cluster import each
from runbook.couch.joining.precheck import Facts, uptime
from runbook.errors import CouldNotLook, RunbookError
from runbook.hosts.base import Host, Machine

#: two looks at one node's uptime may lie this far apart, in seconds
_SAME_START = 10.0
_SSH_LIMIT = 15.0


class Evidence(msgspec.Struct, frozen=True):
    """``off`` and ``alive`` are proofs; ``open`` says what could not be seen."""

    says: Literal["off", "alive", "open"]
    text: str


async def connected(
    clients: Mapping[str, Client], others: Sequence[Facts], name: str, fresh: Facts | None
) -> list[Evidence]:
    """Whom are the others connected to under the lost node's name? ``fresh``: its successor, None
    while that does not run."""

    async def one(other: Facts) -> Evidence:
        if name not in other.member.connected:
            return Evidence("off", f"{other.machine} is connected to no {name}")
        if fresh is not None:
            client = clients[other.machine]
            try:
                theirs, ours = await uptime(client, name), await uptime(clients[fresh.machine], "_local")
            except RunbookError as error:
                return Evidence("open", f"{other.machine} cannot be asked about {name}: {error.what}")
            if abs(theirs - ours) <= _SAME_START:
                return Evidence("off", f"{name} on {other.machine} was started when its successor was")
        return Evidence(
            "alive",
            f"{other.machine} is connected to {name}, which is not the one on its successor: the lost node "
            "is still alive",
        )

    return await each(one, others)


def former_address(look: Look, machine: Machine, given: str = "") -> str:
    """The lost machine's public address: as given, else as a step saved it before the machine got
    another one; empty when neither is known."""
    if given:
        return given
    output = look.site.machines.production_output
    for values in look.saved.values():
        found = values.get(output)
        if isinstance(found, list | tuple) and len(found) >= machine.index > 0:
            address = str(found[machine.index - 1])
            if address != machine.address:
                return address
    return ""


async def address(look: Look, machine: Machine, former: str, others: Iterable[Machine]) -> Evidence:
    """Does anything answer at its former public address?"""
    if not former:
        return Evidence("open", "its former public address is not known, so nobody could look there")
    if former in (machine.address, machine.internal):
        return Evidence("off", f"its former address {former} is its successor's now")
    places = [await look.hosts.open("operator")]
    if not look.site.couchdb.urls:
        places += await each(lambda one: look.hosts.open(one.name), others)
    port = look.site.couchdb.port
    if answered := [name for name in await each(lambda host: _answered(host, former, port), places) if name]:
        who = ", ".join(answered)
        return Evidence("alive", f"port {port} answers at its former address {former}, asked from {who}")
    return await _ssh(look, former)


async def _answered(host: Host, former: str, port: int) -> str:
    try:
        return host.name if await host.can_connect(former, port) else ""
    except CouldNotLook:
        return ""


async def _ssh(look: Look, former: str) -> Evidence:
    import asyncssh

    from runbook.hosts.keys import KnownHosts, fingerprint

    machines = look.site.machines
    known = KnownHosts(Path(machines.known_hosts or os.devnull).expanduser())
    config = [path for path in [Path(machines.ssh_config).expanduser()] if path.is_file()]
    try:
        async with asyncio.timeout(_SSH_LIMIT):
            offered = await asyncssh.get_server_host_key(
                former, config=config, server_host_key_algs=known.algorithms(former)
            )
    except (OSError, TimeoutError, asyncssh.Error, ValueError) as error:
        return Evidence("open", f"nobody answers at its former address {former} ({error or 'no answer'})")
    keys = known.match(former)[0]
    if offered is None or not keys:
        return Evidence("open", f"SSH answers at its former address {former}, with a key nobody knows")
    if offered in keys:
        return Evidence("alive", f"SSH answers at its former address {former} with the lost node's host key")
    text = f"its former address {former} belongs to another machine now ({fingerprint(offered)})"
    return Evidence("off", text)
