"""What each node is, and whether a blank one fits into the cluster of the others.

Everything here is read only. Each reason against it names its cause and what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from runbook.context import Look
from runbook.couch import cluster, settings
from runbook.couch.client import Client
from runbook.couch.cluster import Member
from runbook.couch.copies import ShardMap
from runbook.errors import RunbookError
from runbook.hosts.base import Machine

#: Erlang's port mapper and the nodes' own traffic
PORTS = (4369, 9100)
#: where logins fail at random when the nodes differ: (what it is called, section, key)
_ALIKE = (("uuid", "couchdb", "uuid"), ("secret", "chttpd_auth", "secret"))
_ADMIN = "admin hash"

#: makes the redactor know a secret: (value, label)
Learn = Callable[[str, str], object]


class Refusal(NamedTuple):
    """Why not, and what to do."""

    what: str
    next: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One node, over HTTP. ``shared``: setting -> hash of its value."""

    machine: str
    member: Member
    version: str = ""
    shared: dict[str, str] = {}
    databases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def problem(self) -> str:
        return self.member.problem


async def facts(client: Client, learn: Learn) -> Facts:
    """Never raises for a node that cannot be asked: that is an answer too."""
    try:
        # before its members: who joins in between brings the cluster's databases along
        databases = tuple(sorted(map(str, await client.aneed("_all_dbs"))))
        shared = {}
        for what, section, key in (*_ALIKE, (_ADMIN, "admins", client.user)):
            if value := await cluster.setting(client, section, key):
                shared[what] = settings.digest(value)
                if section != "couchdb":
                    learn(value, f"couchdb {what} of {client.node}")
        return Facts(
            machine=client.node,
            member=await cluster.member(client),
            version=str((await client.aneed()).get("version", "")),
            shared=shared,
            databases=databases,
        )
    except RunbookError as error:
        return Facts(machine=client.node, member=Member(problem=str(error)))


async def uptime(client: Client, node: str) -> float:
    """Seconds since that node was started, as ``client``'s node sees it. Raises RequestRefused."""
    return float((await client.aneed("_node", node, "_system")).get("uptime", 0))


# ── reasons ────────────────────────────────────────────────────────────────────────────────
def versions(fresh: Facts, others: Sequence[Facts]) -> list[Refusal]:
    """Nodes of one cluster have the same major and minor version."""
    found = []
    for one in others:
        mine, theirs = _numbers(fresh.version), _numbers(one.version)
        if mine != theirs:
            word = "older" if mine < theirs else "newer"
            what = (
                f"CouchDB on {fresh.machine} is {fresh.version}, {word} than {one.version} on {one.machine}"
            )
            next = f"Start version {one.version} there (the image's tag in the compose file), then retry."
            found.append(Refusal(f"{what}.", next))
    return found[:1]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])


def alike(fresh: Facts, others: Sequence[Facts]) -> list[Refusal]:
    """uuid, secret and admin hash; compared by hash, where any node has one."""
    shared = {one.machine: one.shared for one in (*others, fresh)}
    keys = [key for key in ("uuid", "secret", _ADMIN) if any(key in one for one in shared.values())]
    next = (
        "Where these differ, logins fail at random. Write the others' into that VM's settings (the step that "
        "adapts its configuration does so) and recreate the container."
    )
    return [Refusal(f"CouchDB's settings: {text}.", next) for text in settings.different(shared, keys)]


def blank(
    fresh: Facts, others: Sequence[Facts], disks: Mapping[str, Sequence[str]], maps: Sequence[ShardMap]
) -> list[Refusal]:
    """A replacement brings nothing of its own. ``disks``: machine -> shard files on it; ``maps``:
    what the cluster has. Once a node has joined, the cluster's databases are there too, and of two
    maps for one name the one that lost is to be seen no more: but the files are."""
    if not fresh.member.listed & {one.name for one in others}:
        return _not_blank(fresh, fresh.databases)
    known = {one.database: {node for nodes in one.ranges.values() for node in nodes} for one in maps}
    meant = {one.file(range) for one in maps for range in one.ranges}
    own = [name for name in fresh.databases if name not in known]
    own += [file for file in disks.get(fresh.machine, ()) if file not in meant]
    hidden = {
        name
        for one in others
        for file in disks.get(one.machine, ())
        if file not in meant and known.get(name := _database(file)) == {fresh.name}
    }
    return [*_not_blank(fresh, own), *(_hides(fresh, others, name) for name in sorted(hidden))]


def _database(file: str) -> str:
    """``shards/00000000-7fffffff/openedx_1.1795448439`` -> ``openedx_1``"""
    return file.split("/", 2)[-1].rpartition(".")[0]


def _not_blank(fresh: Facts, own: Sequence[str]) -> list[Refusal]:
    if not own:
        return []
    shown = ", ".join(own[:5]) + (f" and {len(own) - 5} more" if len(own) > 5 else "")
    return [
        Refusal(
            f"CouchDB on {fresh.machine} is not blank: it has databases of its own ({shown}).",
            "A node that joins with databases of its own can hide data. Stop its container, look whether "
            "anybody needs them, give it an empty volume, then retry.",
        )
    ]


def _hides(fresh: Facts, others: Sequence[Facts], name: str) -> Refusal:
    return Refusal(
        f"{name} of CouchDB on {fresh.machine} hides the cluster's {name}: its documents lie on "
        f"{', '.join(one.machine for one in others)}, but the shard map there is {fresh.machine}'s.",
        f"Stop CouchDB on {fresh.machine}. The cluster's map is a losing revision: look on one of the others "
        f"at GET /_node/_local/_dbs/{name}?conflicts=true, delete the winning revision, look that the "
        f"documents are back; then give {fresh.machine} an empty volume and retry.",
    )


async def disk(client: Client) -> list[str]:
    """The shard files on that node, as far as it tells them."""
    reply = await client.aget("_node", "_local", "_all_dbs")
    names = reply.body if reply.ok and isinstance(reply.body, list) else []
    return [str(name) for name in names if str(name).startswith("shards/")]


# ── on the machines ────────────────────────────────────────────────────────────────────────
async def closed(look: Look, machine: Machine, others: Iterable[Machine]) -> list[str]:
    """Cluster ports of ``others`` that ``machine`` cannot reach, in words. Raises HostError."""
    host = await look.hosts.open(machine.name)
    places = [(other, port) for other in others for port in PORTS]

    async def one(place: tuple[Machine, int]) -> str:
        other, port = place
        if await host.can_connect(other.internal, port):
            return ""
        return f"{machine.name} cannot reach {other.internal}:{port} ({other.name})"

    return [text for text in await cluster.each(one, places) if text]


async def wires(look: Look, fresh: Machine, others: Sequence[Machine]) -> list[Refusal]:
    """Are 4369 and 9100 open, both ways?"""
    found = await closed(look, fresh, others)
    for other in others:
        found += await closed(look, other, [fresh])
    next = "Open them in the firewall between the VMs, and publish them from the container."
    return [Refusal(f"{text}.", next) for text in found]


async def cookies(look: Look, fresh: Machine, others: Sequence[Machine]) -> list[Refusal]:
    """From the files on the machines, where they can be read: no node tells its cookie."""
    written = await cluster.each(lambda one: settings.read(look, one), (*others, fresh))
    next = "Set COUCHDB_COOKIE there to the one of the cluster, and recreate the container."
    bad = [Refusal(f"{settings.monster(one.machine)}.", next) for one in written if one.default_cookie]
    shared: Mapping[str, Mapping[str, str]] = {
        one.machine: one.shared for one in written if one.shared.get("cookie")
    }
    return bad or [Refusal(f"{text}.", next) for text in settings.different(shared, ("cookie",))]
