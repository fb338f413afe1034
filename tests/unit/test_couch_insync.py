"""Is a replaced node in sync: on simulated time, against the truth on the disks."""

import asyncio
import random
from itertools import pairwise

import pytest

from runbook.couch import copies
from runbook.couch.joining import insync, join
from runbook.errors import ActionFailed
from runbook.lab.couchdb import Network, StandIn, Timing
from tests.lab.standin_client import Clock
from tests.unit.couch import ADDRESSES, env
from tests.unit.couch import clients as connected
from tests.unit.couchdirect import blank, complete, direct, fill

STEADY = Timing(reconnect=5, discover=1, backlog=8, late_write=0, rate=10)
SIZES = {"openedx_1": 150, "edxapp_files": 7, "_users": 0, "empty": 0}


def formed(network, timing):
    """A cluster of three, filled, a while ago."""
    nodes = [StandIn(network, address, timing=timing, finish_wait=0) for address in ADDRESSES]
    for node in nodes:
        node.boot(env(node.address), {})
    clients = direct(nodes)
    for node in nodes[1:]:
        with network.lock:
            nodes[0].disk.nodes.add(node.name)
            network.changed(eager=nodes[0], at_once=True)
    network.clock.now += 1000
    network.advance()
    fill(clients["vm1"], SIZES)
    network.clock.now += 1000
    assert complete(network)
    return nodes, clients


async def test_it_is_in_sync_at_the_right_moment_and_never_earlier():
    """A hundred kinds of luck: each node lost in turn, another order and speed of replication, the
    backlog told sooner or later."""
    false_zeros = 0
    for seed in range(100):
        luck = random.Random(seed)
        clock = Clock()
        network = Network(clock=clock, chance=luck)
        timing = Timing(
            reconnect=luck.uniform(0, 46),
            discover=luck.uniform(0, 3),
            backlog=luck.uniform(0, 15),
            late_write=0,
            rate=luck.uniform(1, 40),
        )
        nodes, clients = formed(network, timing)
        lost = luck.randrange(3)
        blank(nodes[lost])
        await join.hold(clients[f"vm{lost + 1}"])
        truth, levels = [], []

        def tell(now, network=network, truth=truth, levels=levels):
            levels.append(now)
            truth.append(complete(network))

        async def sleep(seconds, clock=clock, luck=luck):
            clock.now += seconds * luck.uniform(0.5, 5)

        now = await insync.caught_up(clients, f"vm{lost + 1}", 10_000, tell, clock=clock, sleep=sleep)
        rest = [whole and not level.busy for whole, level in zip(truth, levels, strict=True)]
        pairs = [one and other for one, other in pairwise(rest)]
        assert pairs[-1] and not any(pairs[:-1]), f"seed {seed}: declared at the wrong moment"
        assert now.done == now.total == sum(SIZES.values()) + 1, "the design document of _users counts"
        assert set(now.databases) == set(SIZES) and now.ranges == 2 * len(SIZES)
        false_zeros += any(
            not level.busy and not whole and 0 < level.done < level.total / 2
            for whole, level in zip(truth, levels, strict=True)
        )
        shown = [level.done for level in levels if level.databases]
        assert shown == sorted(shown), "progress does not go back"
    assert false_zeros >= 20, "the trap is in the test: no backlog, less than half is there"


class Waiter:
    """Simulated seconds; ``then`` happens at the given look."""

    def __init__(self, clock, then=None, at=0):
        self.clock, self.then, self.at, self.looks, self.levels = clock, then, at, 0, []

    def tell(self, now):
        self.levels.append(now)

    async def sleep(self, seconds):
        self.clock.now += seconds
        self.looks += 1
        if self.then and self.looks == self.at:
            self.then()

    async def caught_up(self, clients, limit=10_000, machine="vm3"):
        return await insync.caught_up(clients, machine, limit, self.tell, clock=self.clock, sleep=self.sleep)


@pytest.fixture
def network():
    return Network(clock=Clock())


async def test_replication_that_was_forgotten_is_asked_for_again(network):
    nodes, clients = formed(network, STEADY)
    blank(nodes[2])
    waiter = Waiter(network.clock, lambda: network.forget("openedx_1"), at=15)
    await waiter.caught_up(clients)
    assert complete(network)
    counts = [level.done for level in waiter.levels]
    assert max(map(counts.count, counts[15:-5])) > 15, "it stood still for a while"
    assert any(level.behind and not level.busy for level in waiter.levels[20:])


async def test_a_node_made_anew_on_the_way_is_held_again(network):
    nodes, clients = formed(network, STEADY)
    blank(nodes[2])
    await join.hold(clients["vm3"])
    waiter = Waiter(network.clock, lambda: blank(nodes[2], TZ="UTC"), at=12)
    await waiter.caught_up(clients)
    assert complete(network) and nodes[2].maintenance
    assert any(level.serving for level in waiter.levels), "it was seen in service"
    assert waiter.levels[11].done > waiter.levels[12].done == 0, "and began anew"


async def test_a_node_that_is_down_for_a_while_is_waited_for(network):
    nodes, clients = formed(network, STEADY)
    blank(nodes[2])
    waiter = Waiter(network.clock, nodes[2].kill, at=10)
    waiter.sleep = _with(
        waiter.sleep, lambda: waiter.looks == 30, lambda: nodes[2].boot(env(ADDRESSES[2]), {})
    )
    await waiter.caught_up(clients)
    assert complete(network)
    assert any("CouchDB on vm3 does not answer" in level.words() for level in waiter.levels)


def _with(sleep, when, then):
    async def both(seconds):
        await sleep(seconds)
        if when():
            then()

    return both


async def test_a_limit_that_passes_says_how_far_it_came(network):
    nodes, clients = formed(network, STEADY)
    blank(nodes[2])
    await join.hold(clients["vm3"])
    with pytest.raises(ActionFailed, match=r"not in sync: \d+ of 158 documents are there") as caught:
        await Waiter(network.clock).caught_up(clients, limit=12)
    assert "openedx_1: Replica 00000000-7fffffff on couchdb@10.0.1.12 has" in caught.value.what
    assert "stays in maintenance mode" in caught.value.what and nodes[2].maintenance
    assert not complete(network)


async def test_a_copy_that_is_not_there_is_no_equal_copy(network):
    nodes, clients = formed(network, STEADY)
    blank(nodes[2])
    now = await insync.level(clients, "vm3")
    assert now.done == 0 and not now.busy and not now.equal
    assert now.behind["empty"][0] == "There is no copy of 00000000-7fffffff on couchdb@10.0.1.12."
    assert set(now.behind) == set(SIZES), "also the databases without documents"


async def test_deletions_count_as_well(network):
    nodes, clients = formed(network, STEADY)
    nodes[2].kill()
    rev = clients["vm1"].get("openedx_1", "d00003").body["_rev"]
    assert clients["vm1"].delete("openedx_1", "d00003", rev=rev).ok
    nodes[2].boot(env(ADDRESSES[2]), {})
    now = await insync.level(clients, "vm3")
    assert "openedx_1" in now.behind
    await Waiter(network.clock).caught_up(clients)
    assert complete(network)


async def test_a_survivor_that_lost_documents_is_told(network):
    nodes, clients = formed(network, STEADY)
    nodes[0].lose_documents("openedx_1", ["d00001"])
    now = await insync.settled(clients, "vm3", pause=0)
    assert "on couchdb@10.0.1.10 has" in now.words() and not now.equal


# ── the copies of many databases ───────────────────────────────────────────────────────────
async def test_each_node_is_asked_for_its_own_copies(network):
    nodes, clients = formed(network, STEADY)
    before = [node.requests for node in nodes]
    found = await copies.look(clients)
    asked = [node.requests - old for node, old in zip(nodes, before, strict=True)]
    assert {name: len(rows) for name, rows in found.items()} == dict.fromkeys(SIZES, 6)
    assert min(asked) >= 2 * len(SIZES) and max(asked) <= 2 * len(SIZES) + 10
    assert copies.count("openedx_1", found["openedx_1"]) == copies.Copies("openedx_1", 2, 3, 150, True)


async def test_copies_of_a_node_that_is_down_are_told_as_that(network):
    nodes, clients = formed(network, STEADY)
    nodes[2].kill()
    found = (await copies.look(clients, ["openedx_1"]))["openedx_1"]
    assert copies.unequal(found) == ["couchdb@10.0.1.12: 412 nodedown: couchdb@10.0.1.12 is down"]
    assert len(copies.misplaced(found, {node.name for node in nodes}, 3)) == 2


async def test_looking_can_be_cancelled():
    network = Network()
    node = StandIn(network, ADDRESSES[0], replication_delay=0)
    node.boot(env(ADDRESSES[0]), {})
    try:
        with connected([node]) as (one,):
            fill(one, {f"db{number}": 0 for number in range(20)}, n=1)
            node.delay(0.2)
            looking = asyncio.create_task(copies.look({"vm1": one}))
            await asyncio.sleep(0.5)
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking
            node.delay(0)
    finally:
        node.kill()
