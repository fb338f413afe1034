"""Forming the cluster: from whoever knows it best, after a kill at any point, on real replies."""

import asyncio

import msgspec
import pytest

from runbook.actions.couchdb import setup_cluster
from runbook.actions.couchdb.setup_cluster import SetupCluster, SetupParams
from runbook.couch import cluster
from runbook.couch.cluster import Member
from runbook.errors import ActionFailed, CouldNotLook
from runbook.hosts.base import Endpoint
from runbook.lab.couchdb import Timing
from tests.unit.couch import ADDRESSES, PASSWORD, client, clients, env, join, standins
from tests.unit.doubles import FakeSecrets, ScriptedHost, make_context, make_look, make_site

ONE, TWO, THREE = ADDRESSES
NAMES = {f"vm{number}": f"couchdb@{address}" for number, address in enumerate(ADDRESSES, 1)}
QUICK = SetupParams(within="3s")
LOGIN = {"username": "admin", "password": PASSWORD, "port": 5984}


def parts(nodes):
    made = []
    for number, node in enumerate(nodes, start=1):
        host = ScriptedHost(f"vm{number}")
        host.forwards["127.0.0.1", 5984] = Endpoint("127.0.0.1", node.port or 1)
        made.append(host)
    return made, FakeSecrets({"COUCHDB_PASSWORD": PASSWORD})


def look(nodes, **more):
    hosts, secrets = parts(nodes)
    return make_look(*hosts, secrets=secrets, **more)


def context(nodes, **more):
    hosts, secrets = parts(nodes)
    return make_context(*hosts, secrets=secrets, **more)


async def formed(nodes, params=QUICK, **more):
    plan = await SetupCluster().plan(look(nodes, **more), params)
    plan = msgspec.json.decode(msgspec.json.encode(plan), type=type(plan))
    outcome = await SetupCluster().act(context(nodes, **more), params, plan)
    assert (await SetupCluster().probe(look(nodes, **more), params)).satisfied
    return plan, outcome


def asked(node, what):
    return sum(what in line for line in node.log)


@pytest.fixture
def nodes():
    with standins() as found:
        yield found


@pytest.mark.parametrize("half", [(1, 2), (2, 1), (0, 2), (0, 1)])
async def test_a_half_formed_cluster_goes_on(nodes, half):
    """Two of three are one already, whoever began: the third is added from one of them, and the
    set-up is finished there, never from the blank one."""
    join([nodes[place] for place in half])
    blank = next(place for place in range(3) if place not in half)
    plan, outcome = await formed(nodes)
    assert plan.data["joining"] == [f"vm{blank + 1}"]
    assert plan.data["first"] in {f"vm{place + 1}" for place in half}
    assert "3 nodes are one cluster" in outcome.summary
    with clients(nodes) as made:
        found = await cluster.members({one.node: one for one in made})
        assert cluster.unjoined(found, NAMES) == []


@pytest.mark.parametrize("done", ["nothing", "enabled", "one added", "two added", "finished"])
async def test_killed_in_between_and_run_again(nodes, done):
    with clients(nodes[:1]) as (one,):
        if done != "nothing":
            await cluster.setup(one, "enable_cluster", bind_address="0.0.0.0", node_count=3, **LOGIN)
        for address in {"one added": [TWO], "nothing": [], "enabled": []}.get(done, [TWO, THREE]):
            await cluster.setup(one, "add_node", host=address, **LOGIN)
        if done == "finished":
            assert await cluster.finish(one) == []
    await formed(nodes)
    await formed(nodes)
    hashes = {node.config.get("admins", "admin") for node in nodes}
    assert len(hashes) == len({node.config.get("couchdb", "uuid") for node in nodes}) == 1


async def test_each_step_done_before_is_success(nodes):
    with clients(nodes[:1]) as (one,):
        for _ in range(2):
            await cluster.setup(one, "enable_cluster", bind_address="0.0.0.0", node_count=3, **LOGIN)
            await cluster.setup(one, "add_node", host=TWO, **LOGIN)
            assert await cluster.finish(one) == []
        with pytest.raises(
            ActionFailed, match=r"refused add_node 10\.9\.9\.9: 500 invalid_ejson.*ehostunreach"
        ):
            await cluster.setup(one, "add_node", host="10.9.9.9", **LOGIN)


async def test_a_wrong_password_that_the_server_calls_ok(nodes, monkeypatch):
    monkeypatch.setattr(setup_cluster, "_LISTED", 0.2)
    with clients(nodes[:1]) as (one,):
        with pytest.raises(ActionFailed, match=r"said ok, but couchdb@10\.0\.1\.11 did not join") as caught:
            await setup_cluster._add(one, NAMES["vm2"], LOGIN | {"password": "nope"})
        assert "Check its password" in caught.value.next
        assert (await cluster.member(one)).listed == {NAMES["vm1"]}


async def test_finishing_is_asked_again_while_nodes_connect(nodes):
    """finish_cluster gives up after its own wait, here 0.2 s; the nodes see each other later."""
    nodes[0].network.isolate(THREE)
    with clients(nodes[:1]) as (one,):
        await cluster.setup(one, "add_node", host=TWO, **LOGIN)
        await cluster.setup(one, "add_node", host=THREE, **LOGIN)
        assert "timed out waiting for nodes to connect" in (await cluster.finish(one))[0]
        waiting = asyncio.create_task(cluster.until(20, lambda: cluster.finish(one), 0.05))
        async with asyncio.timeout(20):
            while asked(nodes[0], "POST /_cluster_setup 500") < 3:
                await asyncio.sleep(0.01)
        assert not waiting.done()
        nodes[0].network.reopen(THREE)
        assert await waiting == []
        assert await cluster.setup_state(one) == cluster.FINISHED


async def test_nodes_that_take_their_time_are_waited_for(nodes):
    for node in nodes:
        node.timing = Timing(reconnect=1.0, discover=0.2, backlog=0, late_write=0, rate=1000)
    join(nodes[:2])
    nodes[2].kill()
    nodes[2].boot(env(THREE), {})
    await formed(nodes, SetupParams(within="20s"))


async def test_nobody_connects_within_the_limit(nodes):
    nodes[0].network.isolate(THREE)
    with pytest.raises(ActionFailed, match=r"vm1 lists couchdb@10\.0\.1\.12, but it is not connected: check"):
        await formed(nodes, SetupParams(within="0.3s"))
    nodes[0].network.reopen(THREE)
    await formed(nodes)


async def test_two_clusters_are_not_made_one(nodes):
    nodes[2].network.isolate(THREE)
    join([nodes[0], nodes[1]])
    with clients(nodes[2:]) as (third,):
        third.put("_node", "_local", "_nodes", NAMES["vm2"], body={})
    with pytest.raises(ActionFailed, match="vm3 belongs to another cluster, with couchdb@10"):
        await SetupCluster().plan(look(nodes), QUICK)


async def test_a_name_from_before_is_explained(nodes):
    with clients(nodes[:1]) as (one,):
        one.put("_node", "_local", "_nodes", "nonode@nohost", body={})
    with pytest.raises(ActionFailed, match="nonode@nohost is listed, but is no machine") as caught:
        await SetupCluster().plan(look(nodes), QUICK)
    assert "DELETE /_node/_local/_nodes/NAME" in caught.value.next


async def test_databases_made_before_are_said(nodes):
    with clients(nodes[:1]) as (one,):
        one.put("early")
    plan = await SetupCluster().plan(look(nodes), QUICK)
    assert plan.items[-1] == "keep the few copies of what is on vm1 already: early"


async def test_at_addresses_the_nodes_names_are_their_own(nodes):
    urls = tuple(f"http://127.0.0.1:{node.port}" for node in nodes)
    site = make_site(couchdb=msgspec.structs.replace(make_site().couchdb, urls=urls))
    plan, _ = await formed(nodes, site=site)
    assert sorted(plan.data["names"].values()) == sorted(NAMES.values())
    nameless = env(TWO)
    del nameless["NODENAME"]
    nodes[1].wipe()
    nodes[1].boot(nameless, {})
    urls = tuple(f"http://127.0.0.1:{node.port}" for node in nodes)
    site = make_site(couchdb=msgspec.structs.replace(site.couchdb, urls=urls))
    with pytest.raises(ActionFailed, match="calls itself nonode@nohost"):
        await SetupCluster().plan(look(nodes, site=site), QUICK)


# ── who is asked ───────────────────────────────────────────────────────────────────────────
def test_the_veteran_is_the_one_in_service_that_knows_the_most():
    whole = frozenset({"a", "b", "c"})
    blank = Member(name="a", listed=frozenset({"a"}), connected=frozenset({"a"}))
    held = Member(name="b", listed=whole, connected=whole, mode="true")
    apart = Member(name="c", listed=whole, connected=frozenset({"c"}))
    down = Member(problem="CouchDB on vm4 does not answer.")
    assert cluster.veteran({"vm1": blank, "vm2": held, "vm3": apart, "vm4": down}) == "vm3"
    assert cluster.veteran({"vm1": blank, "vm2": held}) == "vm1"
    assert cluster.veteran({"vm4": down, "vm2": held}) == "vm2"
    with pytest.raises(CouldNotLook, match="vm4 does not answer"):
        cluster.veteran({"vm4": down})


@pytest.mark.parametrize(
    ("name", "reachable"),
    [
        ("couchdb@10.0.1.10", True),
        ("couchdb@vm1.example.org", True),
        ("couchdb@127.0.0.1", False),
        ("nonode@nohost", False),
        ("couchdb@localhost", False),
        ("couchdb@", False),
    ],
)
def test_names_that_others_can_reach(name, reachable):
    assert cluster.unreachable_name(name) is not reachable


async def test_a_member_says_why_it_cannot_be_asked(nodes):
    wrong = client(nodes[0], password="wrong")
    assert "refused the login" in (await cluster.member(wrong)).problem
    wrong.close()
