"""couchdb.dump as an action: what it plans, what it leaves behind, what it refuses."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import msgspec
import pytest

from runbook import catalog
from runbook.actions.couchdb.dump import Dump, DumpParams
from runbook.backup.verify import verify
from runbook.couch.reading import inspection
from runbook.errors import ActionFailed
from runbook.site.model import Backup, CouchDB, SecretRef
from tests.unit.couch import PASSWORD, doc, formed, standins
from tests.unit.couch import clients as opened
from tests.unit.doubles import FakeClock, make_site
from tests.unit.test_actions_couchdb import context, look

REV = "1-" + "a" * 32


@pytest.fixture
def site(tmp_path):
    return make_site(backup=Backup(local=str(tmp_path / "backups")))


def fill(client, database, count=20):
    assert client.put(database, q=2, n=3).ok
    docs = [json.dumps(doc(f"d{n:03}", REV, n=n)).encode() for n in range(count)]
    assert client.bulk(database, docs) == []


async def run(nodes, params=None, **more):
    """Plan, the digest's round trip as the engine does it, act."""
    params = params or DumpParams()
    plan = await Dump().plan(look(nodes, **more), params)
    plan = msgspec.json.decode(msgspec.json.encode(plan), type=type(plan))
    here = context(nodes, **more)
    return plan, await Dump().act(here, params, plan), here.voice


def test_the_catalog_finds_it():
    assert catalog.action("couchdb.dump").outputs == ("dump_path", "dumped")


async def test_a_backup_is_planned_taken_and_known_again(site, tmp_path):
    with formed() as (nodes, clients):
        fill(clients[0], "openedx_1")
        fill(clients[0], "a/b", 3)
        before = await Dump().probe(look(nodes, site=site), DumpParams())
        assert before.satisfied is False
        plan, outcome, voice = await run(nodes, site=site, clock=FakeClock())
        folder = tmp_path / "backups" / "20261124T030000Z"
        assert str(folder) in plan.summary and "openedx_1    20 documents, about" in "\n".join(plan.items)
        assert any("free in" in item for item in plan.items)
        assert any("_local documents" in item for item in plan.items)
        assert outcome.outputs["dump_path"] == str(folder)
        assert outcome.outputs["dumped"] == {"_replicator": 0, "_users": 1, "a/b": 3, "openedx_1": 20}
        assert verify(folder).problems == () and [path.name for path in folder.glob("node-*")] == [
            "node-10.0.1.10"
        ]
        assert any(data.get("kind") == "dump" for _, data in voice.notes)
        known = await Dump().probe(
            look(nodes, site=site, saved={"step": dict(outcome.outputs)}), DumpParams()
        )
        assert known.satisfied and known.outputs == outcome.outputs
        with pytest.raises(ActionFailed, match="already there"):
            await Dump().plan(look(nodes, site=site), DumpParams(folder=str(folder)))


async def test_only_some_databases_into_a_folder_of_ones_own(site, tmp_path):
    with formed() as (nodes, clients):
        for name in ("one", "two"):
            fill(clients[0], name)
        params = DumpParams(folder=str(tmp_path / "mine"), databases=("two",))
        _, outcome, _ = await run(nodes, params, site=site)
        assert outcome.outputs == {"dump_path": str(tmp_path / "mine"), "dumped": {"two": 20}}
        with pytest.raises(ActionFailed, match=r"no database three\. Nothing was dumped"):
            await Dump().plan(look(nodes, site=site), DumpParams(databases=("three",)))


async def test_what_was_begun_is_gone_on_with_by_the_next_call(site, tmp_path):
    with formed() as (nodes, clients):
        fill(clients[0], "openedx_1")
        plan = await Dump().plan(look(nodes, site=site, clock=FakeClock()), DumpParams())
        for node in nodes:
            node.fail_next(500, 401)
        with pytest.raises(Exception, match="vm"):
            await Dump().act(context(nodes, site=site), DumpParams(), plan)
        for node in nodes:
            node.fail_next(0, 401)
        (part,) = (tmp_path / "backups").iterdir()
        assert part.name == "20261124T030000Z.part"
        later = FakeClock()
        later.move(3600)
        plan, outcome, _ = await run(nodes, site=site, clock=later)
        assert any("goes on with" in item for item in plan.items)
        assert outcome.outputs["dump_path"] == str(part.with_suffix(""))


async def test_it_is_done_without_a_machine_that_is_gone(site):
    with formed() as (nodes, clients):
        fill(clients[0], "openedx_1")
        everyone = look(nodes, site=site)
        nodes[0].kill()
        plan = await Dump().plan(everyone, DumpParams())
        assert any(item.startswith("Done without: CouchDB on vm1 does not answer") for item in plan.items)
        _, outcome, voice = await run(nodes, site=site)
        assert outcome.outputs["dumped"]["openedx_1"] == 20
        assert Path(outcome.outputs["dump_path"], "node-10.0.1.11").is_dir()
        assert any("vm1" in text for text, data in voice.notes if data.get("kind") == "dump_remark")


async def test_nodes_that_are_no_cluster_are_dumped_one_by_one_or_not_at_all(site):
    with standins() as nodes:
        with opened(nodes) as clients:
            for number, client in enumerate(clients, start=1):
                assert client.put("shared", q=1, n=1).ok
                docs = [json.dumps(doc(f"vm{number}-{n}", REV)).encode() for n in range(number)]
                assert client.bulk("shared", docs) == []
        with pytest.raises(ActionFailed, match="not one cluster") as caught:
            await Dump().plan(look(nodes, site=site), DumpParams())
        assert "Nothing was dumped" in caught.value.what
        _, outcome, _ = await run(nodes, DumpParams(each_node=True), site=site)
        counts = outcome.outputs["dumped"]
        assert {name: counts[name] for name in counts if "shared" in name} == {
            "10.0.1.10/shared": 1,
            "10.0.1.11/shared": 2,
            "10.0.1.12/shared": 3,
        }
        folder = Path(outcome.outputs["dump_path"])
        assert verify(folder).problems == ()
        ids = [row.id for row in inspection.rows(folder / "node-10.0.1.12" / "shared.json")]
        assert ids == ["vm3-0", "vm3-1", "vm3-2"]


async def test_what_cannot_fit_is_refused_before_anything_is_written(site, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**9, 10**9, 1000))
    with formed() as (nodes, clients):
        fill(clients[0], "openedx_1", 200)
        with pytest.raises(ActionFailed, match=r"does not fit: 1\.0 kB free .* Nothing was dumped"):
            await Dump().plan(look(nodes, site=site), DumpParams())
    assert not (tmp_path / "backups").exists()


async def test_nodes_at_addresses_of_their_own(tmp_path):
    with formed() as (nodes, clients):
        fill(clients[0], "openedx_1")
        couchdb = CouchDB(
            password=SecretRef(env="COUCHDB_PASSWORD"),
            cookie=SecretRef(env="COUCHDB_COOKIE"),
            secret=SecretRef(env="COUCHDB_SECRET"),
            urls=tuple(client.base for client in clients),
        )
        site = make_site(backup=Backup(local=str(tmp_path)), couchdb=couchdb)
        _, outcome, _ = await run(nodes, site=site)
        assert outcome.outputs["dumped"]["openedx_1"] == 20
        # three nodes at one address are told apart by their ports
        assert Path(outcome.outputs["dump_path"], f"node-127.0.0.1:{nodes[0].port}").is_dir()
        assert PASSWORD not in str(outcome)
