"""A cluster of three stand-ins that lost a node, for the tests of couchdb.join."""

import msgspec
import pytest

from runbook.actions.couchdb.join import Join, JoinParams
from runbook.errors import ActionFailed
from runbook.hosts.base import Endpoint
from runbook.lab.couchdb import Network, StandIn
from runbook.platform import adapt
from tests.unit.couch import ADDRESSES, PASSWORD, clients, env, join
from tests.unit.couchdirect import fill
from tests.unit.doubles import FakeSecrets, ScriptedHost, make_context, make_look, make_site

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
