"""couchdb.join: a lost node's blank successor, on stand-ins; each of the three is lost in turn."""

import asyncio
import time

import msgspec
import pytest

from checks import couchdb as checks
from runbook.actions.couchdb.join import Join, JoinParams
from runbook.couch.joining import join as steps
from runbook.errors import ActionFailed, CouldNotLook, UseError, WaitsForPerson
from runbook.lab.couchdb import Network, StandIn, Timing
from tests.unit.couch import ADDRESSES, clients, doc, env
from tests.unit.couchdirect import complete, fill
from tests.unit.couchworld import INI, PLACE, THREE, World
from tests.unit.doubles import make_look, make_site
from tests.unit.sshserver import ADDRESS, SshServer


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


# ── it joins ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_each_of_the_three_can_be_replaced(tmp_path, monkeypatch, lost):
    world = World(tmp_path, lost=lost, replication_delay=0.3)
    released = []

    async def release(client, limit, real=steps.release):
        released.append((client.node, complete(world.network), world.fresh.maintenance))
        await real(client, limit)

    monkeypatch.setattr(steps, "release", release)
    try:
        assert (await world.probe()).satisfied is False
        plan = await world.plan()
        assert plan.summary.startswith(f"fill couchdb@{ADDRESSES[lost]} on {world.machine} from vm")
        assert any("it is blank" in item for item in plan.items)
        assert any(item.startswith("ask: Is the machine of the lost") for item in plan.items)
        outcome, voice = await world.act()
        assert released == [(world.machine, True, True)], "held until it was complete"
        assert complete(world.network) and not world.fresh.maintenance
        assert f"{world.machine} is in service" in outcome.summary and "129 documents" in outcome.summary
        assert voice.progressed[-1] == (f"copies on {world.machine}", 129, 129, "documents")
        assert {data["kind"] for _, data in voice.notes} == {"attested", "join"}
        assert "openedx_1: its copies are equal" in voice.said
        found = await world.probe()
        assert found.satisfied and "in service" in found.summary
        assert (await checks.cluster_formed(world.look())).verdict == "pass"
        others = [f"vm{number}" for number in (1, 2, 3) if number != lost + 1]
        assert (
            f"whom {', '.join(others)} call {world.fresh.name} is the CouchDB on {world.machine}"
            in voice.said
        )
        assert not any("_cluster_setup" in line and "POST" in line for line in world.fresh.log)
        assert "runbook" not in world.fresh.config.sections() or not world.fresh.config.section("runbook")
    finally:
        world.close()


async def test_again_at_any_point(world):
    """Killed while it copies: the node stays held; the next run sees what is done and asks nothing twice."""
    slow = World(world.run_dir, timing=Timing(0.2, 0.1, 0.2, 0, rate=40))
    try:
        plan = await slow.plan()
        here = slow.context()
        running = asyncio.create_task(Join().act(here, slow.params(), plan))
        async with asyncio.timeout(30):
            while not here.voice.progressed:
                await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert slow.fresh.maintenance and not complete(slow.network)
        found = await slow.probe()
        assert found.satisfied is False
        outcome, voice = await slow.act(answers={})
        assert voice.asked == [] and complete(slow.network) and not slow.fresh.maintenance
        again, voice = await slow.act(answers={})
        assert again.summary == outcome.summary
    finally:
        slow.close()


async def test_the_plan_stays_the_same_while_it_is_filled(world):
    """A plan that was confirmed late is made again and compared."""
    world.replace()
    with clients(world.nodes[:1]) as (one,):
        before = await world.plan()
        one.bulk("openedx_1", [msgspec.json.encode(doc("more"))])
        assert (await world.plan()).digest() == before.digest()
    assert any(item == "have the others fill its 22 copies of 5 databases" for item in before.items)


async def test_a_node_in_service_whose_copies_lack_documents_is_not_done(world):
    await world.act()
    world.fresh.lose_documents("openedx_1", ["d00007"])
    found = await world.probe()
    assert found.satisfied is False and "1 databases differ" in found.summary
    assert "119" not in found.summary and "has 128 of 129 documents" in found.summary


async def test_at_addresses_alone(world):
    """No SSH: cookie and ports cannot be looked at, names are taken from the nodes."""
    urls = tuple(f"http://127.0.0.1:{node.port}" for node in world.nodes)
    world.site = make_site(couchdb=msgspec.structs.replace(world.site.couchdb, urls=urls))
    for host in world.hosts:
        host.down = AssertionError("no machine is needed")
    world.machine = urls[2].removeprefix("http://")
    world.hosts[0].down = None  # it stands for where the question is asked
    outcome, _ = await world.act()
    assert "129 documents" in outcome.summary and complete(world.network)
    assert (await world.probe()).satisfied
    with pytest.raises(UseError, match="no production machine 'vm3'"):
        await Join().plan(world.look(), JoinParams(node="vm3"))


async def test_what_is_left_when_two_were_lost(world):
    """vm2 is still to come: it takes no part, and vm3 is filled from vm1 alone."""
    world.nodes[1].kill()
    plan = await world.plan()
    assert any(item.startswith("vm2 takes no part: CouchDB on vm2 does not answer") for item in plan.items)
    outcome, _ = await world.act()
    assert "129 documents" in outcome.summary


async def test_documents_that_only_the_lost_node_had_are_asked_about(tmp_path):
    world = World(tmp_path)
    try:
        with clients(world.nodes[:1]) as (one,):
            fill(one, {"alone": 10}, q=3, n=1)
        world.replace()
        plan = await world.plan()
        assert any("No node in service has a copy of parts of alone" in item for item in plan.items)
        assert any(item == "alone has 1 of 3 copies, and keeps that" for item in plan.items)
        with pytest.raises(ActionFailed, match=r"Not confirmed: .* alone"):
            await world.act(answers=["yes", "stop"])
        assert not world.fresh.maintenance
        await world.act()
    finally:
        world.close()


# ── the lost node must be off ──────────────────────────────────────────────────────────────
async def test_nobody_assumes_that_it_is_off(world):
    with pytest.raises(WaitsForPerson):
        await world.act(answers={})
    with pytest.raises(ActionFailed, match="Not confirmed: Is the machine of the lost"):
        await world.act(answers={"choice": "stop"})
    assert not world.fresh.maintenance, "nothing was changed"
    _, voice = await world.act()
    attested = [data for _, data in voice.notes if data["kind"] == "attested"]
    assert "its former public address is not known" in attested[0]["claim"]
    _, voice = await world.act(answers={})
    assert voice.asked == [], "asked once a run"


async def test_the_old_node_still_in_the_cluster_is_seen_by_its_age(world):
    """Its successor runs on a network of its own: whom the others call vm3 is the old one."""
    apart = Network(wall=lambda: time.time() + 3600)
    old = StandIn(world.network, THREE, **world.options)
    old.boot(env(THREE), INI)
    world.nodes[2] = StandIn(apart, THREE, **world.options)
    world.nodes[2].boot(env(THREE), INI)
    world.nodes[2].booted_at -= 3600
    try:
        await world.refused("vm1 is connected to couchdb@10.0.1.12", "the lost node is still alive")
    finally:
        world.nodes[2].kill()


async def test_the_old_node_of_the_same_age_is_seen_by_a_word(world):
    old = StandIn(world.network, THREE, **world.options)
    old.boot(env(THREE), INI)
    world.nodes[2] = StandIn(Network(), THREE, **world.options)
    world.nodes[2].boot(env(THREE), INI)
    try:
        with pytest.raises(ActionFailed, match=r"Whom vm1 calls couchdb@10\.0\.1\.12 is not the CouchDB"):
            await world.act()
        assert world.nodes[2].maintenance, "nothing is read from it"
    finally:
        world.nodes[2].kill()


async def test_the_old_node_while_its_successor_is_not_started(world):
    old = StandIn(world.network, THREE, **world.options)
    old.boot(env(THREE), INI)
    world.nodes[2] = StandIn(Network(), THREE, **world.options)
    error = await world.refused("CouchDB on vm3 does not answer", "vm2 is connected to couchdb@10.0.1.12")
    assert "Power the lost machine off" in error.next


async def test_couchdb_answers_at_its_former_address(world):
    world.hosts[1].open_ports.add(("203.0.113.77", 5984))
    await world.refused(
        "port 5984 answers at its former address 203.0.113.77, asked from vm2", former="203.0.113.77"
    )


async def test_a_former_address_that_the_successor_has_now(world):
    _, voice = await world.act(answers={}, former=world.hosts[2].machine.address)
    assert voice.asked == [], "nothing is left to be asked"


async def test_the_check_before_its_successor_is_started(world):
    world.fresh.kill()
    found = await checks.lost_node_off(world.look(), node="vm3")
    assert found.verdict == "warn" and "is not known" in found.observed and "will be asked" in found.evidence
    found = await checks.lost_node_off(world.look(), node="vm3", former=world.hosts[2].machine.address)
    assert found.verdict == "pass" and "vm2 is connected to no couchdb@10.0.1.12" in found.observed
    old = StandIn(world.network, THREE, **world.options)
    old.boot(env(THREE), INI)
    found = await checks.lost_node_off(world.look(), node="vm3")
    assert found.verdict == "fail" and "the lost node is still alive" in found.observed
    old.kill()
    for node in world.nodes:
        node.kill()
    with pytest.raises(CouldNotLook):
        await checks.lost_node_off(world.look(), node="vm3")


async def test_the_check_of_all_copies_needs_no_backup(world):
    world.fresh.kill()
    found = await checks.in_sync(world.look())
    assert found.verdict == "fail" and "CouchDB on vm3 does not answer" in found.observed
    world.replace()
    await world.act()
    found = await checks.in_sync(world.look())
    assert found.verdict == "pass" and found.observed.startswith("5 databases: 66 copies")
    with clients(world.nodes[2:]) as (fresh,):
        await steps.hold(fresh)
        found = await checks.in_sync(world.look())
        assert found.verdict == "fail" and "vm3 is in maintenance mode" in found.observed
        await steps.release(fresh, 5)
    world.nodes[1].lose_documents("openedx_1", ["d00001"])
    found = await checks.in_sync(world.look())
    assert found.verdict == "fail" and "on couchdb@10.0.1.11 has" in found.observed


@pytest.fixture
async def ssh(tmp_path, world):
    server = SshServer(tmp_path / "ssh")
    await server.start()
    machines = msgspec.structs.replace(
        world.site.machines, ssh_config=str(server.ssh_config), known_hosts=str(server.known_hosts.path)
    )
    world.site = make_site(machines=machines)
    yield server
    await server.stop()


async def test_ssh_at_its_former_address(world, ssh):
    """Its own key: it is alive. Another than its own: the address is somebody else's by now. A key
    that nobody knows, or no answer: a person is asked."""
    plan = await world.plan(former=ADDRESS)
    assert any("with a key nobody knows" in item for item in plan.items)
    ssh.trust()
    await world.refused("with the lost node's host key", former=ADDRESS)
    await ssh.stop()
    plan = await world.plan(former=ADDRESS)
    assert any(f"nobody answers at its former address {ADDRESS}" in item for item in plan.items)
    import asyncssh

    await ssh.start([asyncssh.generate_private_key("ssh-ed25519")])
    plan = await world.plan(former=ADDRESS)
    assert any("belongs to another machine now (SHA256:" in item for item in plan.items)
    assert not any(item.startswith("ask:") for item in plan.items)


async def test_the_former_address_that_an_earlier_step_saved(world):
    saved = {
        "before": {"production_ips": ["203.0.113.11", "203.0.113.12", "203.0.113.99"]},
        "deploy": {"production_ips": ["203.0.113.11", "203.0.113.12", "203.0.113.13"]},
        "unpack": {"compose_dir": PLACE},
    }
    world.hosts[0].open_ports.add(("203.0.113.99", 5984))
    here = make_look(*world.hosts, **world.parts(saved=saved))
    with pytest.raises(ActionFailed, match=r"answers at its former address 203\.0\.113\.99, asked from vm1"):
        await Join().plan(here, world.params())
