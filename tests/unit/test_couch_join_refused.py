"""couchdb.join refuses: each time with the cause, what to do, and nothing changed."""

import asyncio

import msgspec
import pytest

from runbook.actions.couchdb import join as action
from runbook.actions.couchdb.join import Join
from runbook.couch import cluster
from runbook.couch.cluster import Member
from runbook.couch.copies import ShardMap
from runbook.couch.joining import join as steps
from runbook.couch.joining import precheck
from runbook.errors import ActionFailed
from runbook.lab.couchdb.errors import BootFailed
from runbook.platform import adapt
from tests.unit.couch import PASSWORD, clients, doc
from tests.unit.couchdirect import complete, fill
from tests.unit.couchworld import INI, ONE, PLACE, SIZES, THREE, TWO, World
from tests.unit.doubles import make_site


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


async def test_a_wrong_password(world):
    ini = {**INI, "admins": {"admin": adapt.admin_hash("different", "salt")}}
    world.replace(ini)
    await world.refused("CouchDB on vm3 refused the login as 'admin'", "couchdb.password")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nonode@nohost", "calls itself nonode@nohost: no other node can reach it"),
        ("couchdb@127.0.0.1", "calls itself couchdb@127.0.0.1: no other node"),
        ("couchdb@10.0.1.15", "calls itself couchdb@10.0.1.15, but the others wait for couchdb@10.0.1.12"),
    ],
)
async def test_a_wrong_name(world, name, said):
    world.replace(NODENAME=name)
    error = await world.refused(said)
    assert "NODENAME" in error.next
    if "10.0.1.15" in name:
        assert "A node under a new name gets nothing by itself" in error.what
        assert "shard maps of all 5 databases" in error.next and "_sync_shards" in error.next


async def test_a_new_machine_with_a_new_name(world):
    """The settings know the new address; the cluster still waits for the old name."""
    world.replace(address="10.0.1.15")
    machines = [
        msgspec.structs.replace(one, internal="10.0.1.15") if one.internal == THREE else one
        for one in world.site.machines.production
    ]
    world.site = make_site(machines=msgspec.structs.replace(world.site.machines, production=tuple(machines)))
    world.hosts[2].machine = type(world.hosts[2].machine)("vm3", "production", "203.0.113.13", "10.0.1.15", 3)
    await world.refused("but the others wait for couchdb@10.0.1.12", "lost one's address 10.0.1.12")


@pytest.mark.parametrize("database", ["openedx_3", "_users"])
async def test_databases_of_its_own(world, database):
    world.network.isolate(THREE)
    world.replace()
    with clients(world.nodes[2:]) as (fresh,):
        assert fresh.put(database).ok
    await world.refused(f"vm3 is not blank: it has databases of its own ({database})", "can hide data")


async def test_joining_while_it_is_looked_at_is_no_database_of_its_own(world, monkeypatch):
    world.network.isolate(THREE)
    world.replace()

    async def setting(client, section, key, real=cluster.setting):
        world.network.reopen(THREE)
        return await real(client, section, key)

    monkeypatch.setattr(cluster, "setting", setting)
    assert await world.plan()


async def test_databases_of_its_own_that_met_the_clusters_when_it_joined(world):
    """Of two maps for one name one wins, by chance: either way somebody's documents are hidden."""
    world.network.isolate(THREE)
    world.replace()
    with clients(world.nodes[2:]) as (fresh,):
        fill(fresh, dict.fromkeys(SIZES, 1), q=1, n=1)
    world.network.reopen(THREE)
    error = await world.refused("vm3")
    assert all(name in error.what for name in SIZES)


def test_whose_map_won_is_told():
    def facts(machine, name, *databases):
        member = Member(name=name, listed=frozenset({"a", "c"}), connected=frozenset({"a", "c"}))
        return precheck.Facts(machine=machine, member=member, databases=databases)

    old, fresh = facts("vm1", "a", "x"), facts("vm3", "c", "x")
    theirs, own = "shards/00000000-ffffffff/x.1", "shards/00000000-ffffffff/x.2"
    disks = {"vm1": [theirs], "vm3": [own]}
    clusters = ShardMap("x", ".1", {"00000000-ffffffff": ("a",)})
    freshs = ShardMap("x", ".2", {"00000000-ffffffff": ("c",)})
    (lost,) = precheck.blank(fresh, [old], disks, [clusters])
    assert f"vm3 is not blank: it has databases of its own ({own})" in lost.what
    (won,) = precheck.blank(fresh, [old], disks, [freshs])
    assert "x of CouchDB on vm3 hides the cluster's x: its documents lie on vm1" in won.what
    assert "_dbs/x?conflicts=true" in won.next
    alone = ShardMap("x", ".2", {"00000000-ffffffff": ("c",)})
    assert precheck.blank(fresh, [old], {"vm1": [], "vm3": [own]}, [alone]) == [], "the lost one's own"
    leftover = {"vm1": ["shards/00000000-ffffffff/gone.7", theirs], "vm3": []}
    assert precheck.blank(fresh, [old], leftover, [clusters]) == []


async def test_another_version(world):
    world.replace(version="3.2.3")
    await world.refused("CouchDB on vm3 is 3.2.3, older than 3.3.2 on vm1", "Start version 3.3.2 there")
    world.replace(version="3.5.0")
    await world.refused("CouchDB on vm3 is 3.5.0, newer than 3.3.2 on vm1")
    world.replace(version="3.3.9")
    await world.plan()


@pytest.mark.parametrize(
    ("ini", "more", "said"),
    [
        ({**INI, "couchdb": {"uuid": "b" * 32}}, {}, "the uuid of vm3 is not that of vm1"),
        (INI, {"COUCHDB_SECRET": "0ther-secret"}, "the secret of vm3 is not that of vm1"),
        ({**INI, "admins": {"admin": adapt.admin_hash(PASSWORD, "pepper")}}, {}, "the admin hash of vm3"),
    ],
)
async def test_settings_that_are_not_alike(world, ini, more, said):
    world.replace(ini, **more)
    error = await world.refused(said, "logins fail at random")
    for secret in ("0ther-secret", "h4sh-salt", "-pbkdf2", "b" * 32):
        assert secret not in str(error)


async def test_what_is_compared_is_known_to_the_redactor(world):
    here = world.look()
    await Join().plan(here, world.params())
    known = {secret.reveal() for secret in here.secrets.learned}
    assert {"h4sh-salt", INI["admins"]["admin"], "c00kie-jar"} <= known


async def test_another_cookie_in_the_settings(world):
    world.hosts[2].files[f"{PLACE}/.env"] = b"COUCHDB_COOKIE=other\n"
    await world.refused("the cookie of vm3 is not that of vm1", "COUCHDB_COOKIE")


async def test_the_default_cookie(world):
    world.hosts[2].files[f"{PLACE}/.env"] = b"COUCHDB_COOKIE=monster\n"
    with pytest.raises(BootFailed):
        world.replace(COUCHDB_ERLANG_COOKIE="monster")
    await world.refused("vm3 has the cookie `monster`", "CouchDB on vm3 does not answer")


async def test_another_cookie_that_no_file_tells(world, monkeypatch):
    """Listed, but not connected; what was held stays held."""
    monkeypatch.setattr(action, "_CONNECT", 0.5)
    world.replace(COUCHDB_ERLANG_COOKIE="other")
    with pytest.raises(ActionFailed, match="not connected: check the cookie, ports 4369 and 9100") as caught:
        await world.act()
    assert "stays in maintenance mode" in str(caught.value) and world.fresh.maintenance
    world.replace()
    await world.act()
    assert complete(world.network)


async def test_closed_ports_both_ways(world):
    world.hosts[0].open_ports.discard((THREE, 4369))
    world.hosts[2].open_ports.discard((TWO, 9100))
    await world.refused("vm1 cannot reach 10.0.1.12:4369 (vm3)", "vm3 cannot reach 10.0.1.11:9100 (vm2)")


async def test_a_cluster_of_two(tmp_path):
    world = World(tmp_path, count=2)
    try:
        await world.refused("has 2 copies of its data; none is meant for couchdb@10.0.1.12", "made anew")
    finally:
        world.close()


async def test_a_member_that_has_no_place_in_any_map(tmp_path):
    world = World(tmp_path, count=2)
    try:
        login = {"username": "admin", "password": PASSWORD, "port": 5984}
        with clients(world.nodes[:1]) as (one,):
            assert one.post("_cluster_setup", body={"action": "add_node", "host": THREE} | login).ok
        world.replace()
        await world.refused("none is meant for couchdb@10.0.1.12")
    finally:
        world.close()


async def test_a_stranger(world):
    with clients(world.nodes[:1]) as (one,):
        assert one.put("_node", "_local", "_nodes", "couchdb@10.9.9.9", body={}).ok
    await world.refused("couchdb@10.9.9.9 is listed, but is no machine of this site")


async def test_survivors_that_do_not_see_each_other(world):
    world.network.cut(ONE, TWO)
    await world.refused("vm1 is not connected to couchdb@10.0.1.11", "have to be one cluster")


async def test_nobody_is_left(world):
    for node in world.nodes[:2]:
        node.kill()
    await world.refused("No other node is in service", "from a backup")
    assert (await world.probe()).satisfied is None


async def test_maintenance_of_others_is_no_service(world):
    with clients(world.nodes[:1]) as (one,):
        await steps.hold(one)
    plan = await world.plan()
    assert "from vm2," in plan.summary and any(item.startswith("vm1 takes no part") for item in plan.items)


async def test_writes_on_the_way_arrive_as_well(tmp_path):
    """LMS goes on writing on the others."""
    world = World(tmp_path, replication_delay=0.5)
    try:
        plan, here = await world.plan(), world.context()
        running = asyncio.create_task(Join().act(here, world.params(), plan))
        with clients(world.nodes[:1]) as (one,):
            for number in range(20):
                await asyncio.to_thread(one.bulk, "openedx_1", [msgspec.json.encode(doc(f"late{number}"))])
        await running
        assert complete(world.network)
        assert here.voice.progressed[-1][1] == 149
    finally:
        world.close()
