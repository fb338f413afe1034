"""A lost node's replacement, before it joins: what is true on every node, and why it must not.

It has to have the lost node's name. The survivors list that name already, connect to whoever has
it, and push everything; a node under a new name gets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from runbook.couch import cluster, copies
from runbook.couch.client import Client
from runbook.couch.cluster import Member
from runbook.couch.copies import ShardMap
from runbook.couch.joining import precheck
from runbook.couch.joining.precheck import Facts, Learn, Refusal


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What is true on every node. ``fresh``: the replacement; ``name``: the one it has to have;
    ``others``: survivors in service; ``aside``: nodes that take no part; ``strangers``: listed names
    that belong to none of these; ``maps``: the cluster's; ``disks``: machine -> shard files on it."""

    fresh: Facts
    name: str
    others: tuple[Facts, ...]
    aside: tuple[Facts, ...]
    strangers: tuple[str, ...] = ()
    maps: tuple[ShardMap, ...] = ()
    disks: dict[str, list[str]] = {}

    @property
    def machines(self) -> list[str]:
        """Those that take part: the survivors, and last the fresh one."""
        return [*(one.machine for one in self.others), self.fresh.machine]

    @property
    def listed(self) -> frozenset[str]:
        return frozenset().union(*(one.member.listed for one in self.others))

    @property
    def joined(self) -> bool:
        """All survivors are connected to whoever has the name, and the fresh node is one of them."""
        return self.fresh.name == self.name and all(
            self.name in one.member.connected and one.name in self.fresh.member.connected
            for one in self.others
        )


async def scene(
    clients: Mapping[str, Client],
    fresh: str,
    expected: Mapping[str, str],
    learn: Learn,
    silent: Mapping[str, str] | None = None,
) -> Scene:
    """Look at every node. ``expected``: machine -> the name its node has to have; a machine that is
    not in it may have any, and the fresh one that which the others list and nobody has. ``silent``:
    machines that cannot be reached, with the reason."""
    found = await cluster.each(lambda client: precheck.facts(client, learn), clients.values())
    found += [Facts(machine=name, member=Member(problem=text)) for name, text in (silent or {}).items()]
    mine = next(one for one in found if one.machine == fresh)
    others = tuple(one for one in found if one is not mine and one.member.serves)
    aside = tuple(one for one in found if one is not mine and one not in others)
    listed = frozenset().union(*(one.member.listed for one in others))
    taken = {one.name for one in (*others, *aside)}
    taken |= {name for machine, name in expected.items() if machine != fresh}
    free = sorted(listed - taken)
    wanted = expected.get(fresh, "")
    name = next((name for name in (wanted, mine.name, *free) if name in free), wanted)
    # who is aside and does not answer may be one of those that are left
    unknown = sum(not one.name and one.machine not in expected for one in aside)
    strangers = [node for node in free if node != name]
    best = cluster.veteran({one.machine: one.member for one in others}) if others else ""
    # before the maps: what is made in between is in both
    disks = {one.machine: await precheck.disk(clients[one.machine]) for one in found if not one.problem}
    return Scene(
        fresh=mine,
        name=name,
        others=others,
        aside=aside,
        strangers=tuple(strangers) if len(strangers) > unknown else (),
        maps=tuple(await copies.maps(clients[best])) if best else (),
        disks=disks,
    )


def refusals(found: Scene) -> list[Refusal]:
    """Why the fresh node must not join; what must be known first is judged first."""
    fresh, others = found.fresh, found.others
    if fresh.problem:
        next = "CouchDB has to run there, alone; docker logs couchdb says why it does not answer."
        return [Refusal(fresh.problem, "" if "refused the login" in fresh.problem else next)]
    if not others:
        what = "No other node is in service, so nobody could fill this one."
        next = "When no copy is left on any node, the data has to come from a backup: use that guide."
        return [Refusal(what, next)]
    return _misnamed(found) or [
        *_strangers(found),
        *_apart(others),
        *precheck.versions(fresh, others),
        *precheck.alike(fresh, others),
        *precheck.blank(fresh, others, found.disks, found.maps),
    ]


def _misnamed(found: Scene) -> list[Refusal]:
    own, machine, name = found.fresh.name, found.fresh.machine, found.name
    host = name.rpartition("@")[2] or "its internal address"
    if own == name and own in found.listed:
        meant = any(own in nodes for one in found.maps for nodes in one.ranges.values())
        return [] if meant or not found.maps else [_no_place(found)]
    if cluster.unreachable_name(own):
        what = f"CouchDB on {machine} calls itself {own}: no other node can reach it under that name."
        return [Refusal(what, f"Set NODENAME there to {host}, recreate the container, then retry.")]
    if name not in found.listed:
        return [_no_place(found)]
    what = f"CouchDB on {machine} calls itself {own}, but the others wait for {name}."
    next = (
        f"Give it the lost one's address {host} and NODENAME, and recreate the container with an empty "
        f"volume: the others then fill it by themselves. To keep the name {own}, the shard maps of all "
        f"{len(found.maps)} databases have to be edited by hand (PUT /_node/_local/_dbs/DATABASE, {own} in "
        f"place of {name} in by_node, by_range and changelog), then POST /DATABASE/_sync_shards for each."
    )
    return [Refusal(f"{what} A node under a new name gets nothing by itself.", next)]


def _no_place(found: Scene) -> Refusal:
    n = max((len(nodes) for one in found.maps for nodes in one.ranges.values()), default=0)
    return Refusal(
        f"The cluster knows {', '.join(sorted(found.listed))} and has {n} copies of its data; none is meant "
        f"for {found.fresh.name}, so it would get nothing.",
        "A replacement takes the place of a lost member. For more copies than now, the databases have to be "
        "made anew in the larger cluster: dump them, couchdb.setup_cluster, create them, restore them.",
    )


def _strangers(found: Scene) -> list[Refusal]:
    next = (
        "Find out what it is. A member that is gone for good and that no shard map needs is taken out of the "
        "list with DELETE /_node/_local/_nodes/NAME?rev=…"
    )
    return [Refusal(f"{node} is listed, but is no machine of this site.", next) for node in found.strangers]


def _apart(others: Sequence[Facts]) -> list[Refusal]:
    """Survivors that do not see each other."""
    return [
        Refusal(
            f"{one.machine} is not connected to {other.name}: check the cookie, ports 4369 and 9100.",
            "The others have to be one cluster before a node can join it.",
        )
        for one in others
        for other in others
        if other.name not in one.member.connected
    ]


def poor(found: Scene, n: int) -> list[str]:
    """Databases that have fewer than ``n`` copies by their maps, which no replacement changes."""
    few = {one.database: min(map(len, one.ranges.values())) for one in found.maps if one.ranges}
    return [f"{name} has {count} of {n} copies, and keeps that" for name, count in few.items() if count < n]


def orphans(found: Scene) -> list[str]:
    """Databases of which no survivor has every range: the rest was on the lost node alone."""
    there = {one.name for one in found.others}
    return [
        one.database
        for one in found.maps
        if not all(there.intersection(nodes) for nodes in one.ranges.values())
    ]
