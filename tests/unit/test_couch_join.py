"""couchdb.join: a lost node's blank successor, on stand-ins; each of the three is lost in turn."""

import asyncio
import time

import msgspec
import pytest

from checks import couchdb as checks
from runbook import adapt
from runbook.actions.couchdb import join as action
from runbook.actions.couchdb.join import Join, JoinParams
from runbook.couch import cluster, precheck
from runbook.couch import join as steps
from runbook.couch.cluster import Member
from runbook.couch.copies import ShardMap
from runbook.errors import ActionFailed, CouldNotLook, UseError, WaitsForPerson
from runbook.hosts.base import Endpoint
from runbook.lab.couchdb import Network, StandIn, Timing
from runbook.lab.couchdb.errors import BootFailed
from tests.unit.couch import ADDRESSES, PASSWORD, clients, doc, env, join
from tests.unit.couchdirect import complete, fill
from tests.unit.doubles import FakeSecrets, ScriptedHost, make_context, make_look, make_site
from tests.unit.sshserver import ADDRESS, SshServer

ONE, TWO, THREE = ADDRESSES
PLACE = "openedx-ha/docker"
INI = {
    "couchdb": {"uuid": "a" * 32, "max_document_size": "200000000"},
    "admins": {"admin": adapt.admin_hash(PASSWORD, "salt")},
}
SIZES = {"openedx_1": 120, "edxapp_files": 5, "openedx/two": 3}
OFF = {"choice": "yes"}


class World:
    """A cluster of three that lost one of its nodes; its successor runs, blank."""

    def __init__(self, tmp_path, lost=2, count=3, **options):
        self.network = Network()
        self.options = {"replication_delay": 0, "finish_wait": 0.2} | options
        self.nodes = [StandIn(self.network, address, **self.options) for address in ADDRESSES]
        for node in self.nodes:
            node.boot(env(node.address), INI)
        join(self.nodes[:count])
        with clients(self.nodes[:1]) as (one,):
            fill(one, SIZES)
        self.hosts = [self._host(number) for number in (1, 2, 3)]
        self.lost, self.run_dir, self.site = lost, tmp_path, make_site()
        self.machine = f"vm{lost + 1}"
        self.replace()

    def _host(self, number):
        host = ScriptedHost(f"vm{number}").on(
            "ls -1A --", "docker-compose.yml\ndocker-compose.override.yml\n"
        )
        host.files[f"{PLACE}/.env"] = b"COUCHDB_COOKIE=c00kie-jar\n"
        host.files[f"{PLACE}/docker-compose.override.yml"] = (
            f"services:\n  couchdb:\n    environment:\n      NODENAME: {ADDRESSES[number - 1]}\n"
            "      COUCHDB_ERLANG_COOKIE: ${COUCHDB_COOKIE}\n"
        ).encode()
        host.files[f"{PLACE}/runbook-couchdb.ini"] = b"[couchdb]\n"
        host.open_ports = {(address, port) for address in ADDRESSES for port in (4369, 9100)}
        return host

    @property
    def fresh(self):
        return self.nodes[self.lost]

    def replace(self, ini=INI, network=None, address="", version="3.3.2", **more):
        """The lost machine's successor: another StandIn, so nothing of the old one is left."""
        self.fresh.kill()
        address = address or ADDRESSES[self.lost]
        made = StandIn(network or self.network, address, version=version, **self.options)
        self.nodes[self.lost] = made
        made.boot(env(address) | more, ini)

    def parts(self, **more):
        for host, node in zip(self.hosts, self.nodes, strict=True):
            host.forwards["127.0.0.1", 5984] = Endpoint("127.0.0.1", node.port or 1)
        secrets = FakeSecrets({"COUCHDB_PASSWORD": PASSWORD})
        return {"secrets": secrets, "run_dir": self.run_dir, "site": self.site} | more

    def look(self, **more):
        return make_look(*self.hosts, **self.parts(outputs={"compose_dir": PLACE}, **more))

    def context(self, answers=OFF, **more):
        parts = self.parts(outputs={"compose_dir": PLACE}, **more)
        return make_context(*self.hosts, answers=answers, **parts)

    def params(self, **more):
        return JoinParams(**({"node": self.machine} | more))

    async def plan(self, **more):
        plan = await Join().plan(self.look(), self.params(**more))
        return msgspec.json.decode(msgspec.json.encode(plan), type=type(plan))

    async def act(self, answers=OFF, **more):
        plan, here = await self.plan(**more), self.context(answers)
        return await Join().act(here, self.params(**more), plan), here.voice

    async def probe(self):
        return await Join().probe(self.look(), self.params())

    def state(self):
        """All that a refusal must leave as it is."""
        return [
            (node.running, node.config.sections(), node.disk.nodes.names(), sorted(node.disk.copies))
            for node in self.nodes
        ]

    async def refused(self, *said, **more):
        """The plan is refused with all of these words, and nothing was changed."""
        before = self.state()
        with pytest.raises(ActionFailed) as caught:
            await self.plan(**more)
        for words in said:
            assert words in str(caught.value)
        assert "Nothing was changed" in caught.value.what and caught.value.next
        assert self.state() == before
        assert not any(
            "POST" in line for node in self.nodes[1:] for line in node.log if "_cluster_setup" in line
        )
        return caught.value

    def close(self):
        for node in [*self.nodes, *self.network.standins.values()]:
            node.kill()


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


# ── refusals, each with its cause ──────────────────────────────────────────────────────────
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
