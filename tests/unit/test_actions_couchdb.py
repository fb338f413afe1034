"""couchdb.setup_cluster, couchdb.create, couchdb.restore and the checks around them, on stand-ins."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from checks import couchdb as checks
from runbook import catalog
from runbook.actions.couchdb import Create, Restore, SetupCluster
from runbook.actions.couchdb.restore import RestoreParams
from runbook.actions.couchdb.setup_cluster import SetupParams
from runbook.couch.comparing.alldocs import held
from runbook.couch.reading.beside import Meta, meta_path
from runbook.errors import ActionFailed, CouldNotLook, LoginRefused, WaitsForPerson
from runbook.hosts.base import Endpoint
from tests.unit.couch import ADDRESSES, PASSWORD, backup, clients, doc, dump, env, formed, join, standins
from tests.unit.doubles import FakeSecrets, ScriptedHost, make_context, make_look, make_site

ONE, TWO, THREE = ADDRESSES
LIMIT = {"couchdb": {"max_document_size": "200000000"}}
QUICK = SetupParams(within="2s")
ALL = RestoreParams()


def hosts(nodes):
    made = []
    for number, node in enumerate(nodes, start=1):
        host = ScriptedHost(f"vm{number}").on("python3", 127)  # no Python: the restore works from here
        host.forwards["127.0.0.1", 5984] = Endpoint("127.0.0.1", node.port or 1)
        host.open_ports = {(address, port) for address in ADDRESSES for port in (4369, 9100)}
        made.append(host)
    return made


def look(nodes, **more):
    first, *others = hosts(nodes)
    return make_look(first, *others, secrets=FakeSecrets({"COUCHDB_PASSWORD": PASSWORD}), **more)


def context(nodes, **more):
    first, *others = hosts(nodes)
    return make_context(first, *others, secrets=FakeSecrets({"COUCHDB_PASSWORD": PASSWORD}), **more)


async def run(action, params, nodes, **more):
    """probe is skipped: plan, digest round trip as the engine does it, act."""
    plan = await action.plan(look(nodes, **more), params)
    plan = msgspec.json.decode(msgspec.json.encode(plan), type=type(plan))
    here = context(nodes, **more)
    return await action.act(here, params, plan), here.voice


def test_the_catalog_finds_them():
    assert isinstance(catalog.action("couchdb.setup_cluster"), SetupCluster)
    assert isinstance(catalog.action("couchdb.create"), Create)
    assert catalog.action("couchdb.restore").outputs == ("backup_path", "restored")
    names = "answers ports names empty settings_adapted cookie cluster_formed copies_placed contents_match"
    for name in (*names.split(), "copies_equal", "node_config"):
        assert catalog.check(f"couchdb.{name}").title


# ── the cluster ────────────────────────────────────────────────────────────────────────────
async def test_three_nodes_become_one_cluster():
    with standins() as nodes:
        before = await SetupCluster().probe(look(nodes), QUICK)
        assert before.satisfied is False and "no cluster" in before.summary
        assert (await checks.names(look(nodes))).verdict == "pass"
        assert (await checks.empty(look(nodes))).verdict == "pass"
        assert (await checks.cluster_formed(look(nodes))).verdict == "fail"
        outcome, _ = await run(SetupCluster(), QUICK, nodes)
        assert "3 nodes" in outcome.summary
        assert (await SetupCluster().probe(look(nodes), QUICK)).satisfied
        found = await checks.cluster_formed(look(nodes))
        assert found.verdict == "pass" and "vm3: connected" in found.evidence
        # again: harmless
        await run(SetupCluster(), QUICK, nodes)


async def test_a_node_without_a_name_is_refused_with_its_cause():
    with standins() as nodes:
        nodes[1].wipe()
        nameless = env(TWO)
        del nameless["NODENAME"]
        nodes[1].boot(nameless, {})
        with pytest.raises(ActionFailed, match="vm2 calls itself nonode@nohost") as caught:
            await SetupCluster().plan(look(nodes), QUICK)
        assert "NODENAME" in caught.value.next and "Nothing was changed" in str(caught.value)
        assert (await checks.names(look(nodes))).verdict == "fail"


async def test_a_dead_node_points_at_the_cookie():
    with standins() as nodes:
        everyone = look(nodes)
        nodes[2].kill()
        assert (await SetupCluster().probe(everyone, QUICK)).satisfied is None
        with pytest.raises(ActionFailed, match="CouchDB on vm3 does not answer") as caught:
            await SetupCluster().plan(everyone, QUICK)
        assert "monster" in caught.value.next
        found = await checks.answers(make_look(everyone.hosts.by_name["vm3"], secrets=everyone.secrets))
        assert found.verdict == "fail" and "does not answer" in found.observed


async def test_another_cookie_is_told_as_not_connected():
    """add_node hands the cookie over, until the next restart."""
    with standins() as nodes:
        other = env(THREE, COUCHDB_ERLANG_COOKIE="another")
        nodes[2].wipe()
        nodes[2].boot(other, {})
        await run(SetupCluster(), QUICK, nodes)
        nodes[2].kill()
        nodes[2].boot(other, {})
        found = await checks.cluster_formed(look(nodes))
        assert found.verdict == "fail"
        assert "not connected: check the cookie, ports 4369 and 9100" in found.observed
        with pytest.raises(ActionFailed, match="not connected"):
            await run(SetupCluster(), SetupParams(within="0.5s"), nodes)


async def test_another_password_on_one_node_is_refused_early():
    with standins() as nodes:
        nodes[1].wipe()
        nodes[1].boot(env(TWO, COUCHDB_PASSWORD="different"), {})
        with pytest.raises((ActionFailed, LoginRefused), match="vm2 refused the login"):
            await SetupCluster().plan(look(nodes), QUICK)


async def test_a_joining_node_with_databases_is_refused():
    with standins() as nodes:
        with clients(nodes[1:2]) as (second,):
            second.put("openedx_2")
        with pytest.raises(ActionFailed, match="vm2 has databases of its own: openedx_2"):
            await SetupCluster().plan(look(nodes), QUICK)
        found = await checks.empty(look(nodes))
        assert found.verdict == "fail" and "openedx_2" in found.observed


async def test_ports_are_asked_from_each_machine():
    with standins() as nodes:
        everyone = look(nodes)
        assert (await checks.ports(everyone)).verdict == "pass"
        everyone.host.open_ports.discard((THREE, 9100))
        found = await checks.ports(everyone)
        assert found.verdict == "fail" and f"vm1 cannot reach {THREE}:9100 (vm3)" in found.observed


# ── databases and documents ────────────────────────────────────────────────────────────────
def documents(count, rev="1-a"):
    return [doc(f"course-{n:03}", rev, n=n) for n in range(count)]


@pytest.fixture
def folder(tmp_path):
    files = [doc("logo.png", "2-b", content_type="image/png", data="aGVsbG8=")]
    users = [
        doc("_design/_auth", "1-old", language="javascript"),
        doc("org.couchdb.user:ana", "1-u", name="ana", roles=[], type="user"),
    ]
    whole = {
        "openedx_1": dump(documents(30)),
        "edxapp_files": dump(files),
        "_users": dump(users),
        "_replicator": dump([doc("r1", "1-r", source="a", target="b")]),
    }
    lagging = whole | {"openedx_1": dump(documents(28))}
    return backup(tmp_path / "20261101", {ONE: whole, TWO: whole, THREE: lagging})


@pytest.fixture
def more(folder, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    return {"outputs": {"backup_path": str(folder)}, "run_dir": run_dir}


async def test_create_restore_and_the_checks_after_them(more):
    with formed(LIMIT) as (nodes, _):
        assert (await Create().probe(look(nodes, **more), None)).satisfied is False
        assert (await checks.copies_placed(look(nodes, **more))).verdict == "fail"
        outcome, _ = await run(Create(), None, nodes, **more)
        assert outcome.summary.startswith("4 databases")
        assert (await Create().probe(look(nodes, **more), None)).satisfied
        assert (await checks.copies_placed(look(nodes, **more))).verdict == "pass"
        assert (await checks.node_config(look(nodes))).verdict == "pass"

        before = await Restore().probe(look(nodes, **more), ALL)
        assert before.satisfied is False and before.summary == "0 of 32 documents are there."
        plan = await Restore().plan(look(nodes, **more), ALL)
        assert any(item.startswith("openedx_1: 30 documents") for item in plan.items)
        assert any(item.startswith("_replicator: left out") for item in plan.items)
        outcome, voice = await run(Restore(), ALL, nodes, **more)
        counts = {"_users": 1, "edxapp_files": 1, "openedx_1": 30}
        assert outcome.outputs == {"backup_path": more["outputs"]["backup_path"], "restored": counts}
        notes = {data["database"]: data for _, data in voice.notes if data.get("kind") == "restore"}
        assert notes["openedx_1"]["expected"] == notes["openedx_1"]["actual"] == 30
        assert notes["openedx_1"]["refused"] == 0
        assert ("openedx_1", 30, 30, "documents") in voice.progressed

        after = await Restore().probe(look(nodes, **more), ALL)
        assert after.satisfied and after.outputs == outcome.outputs
        found = await checks.contents_match(look(nodes, **more), bodies="all")
        assert found.verdict == "pass" and "openedx_1" in found.evidence
        assert found.observed.endswith("; contents of 32 of 32 compared")
        ids_only = await checks.contents_match(look(nodes, **more), bodies="none")
        assert ids_only.verdict == "pass" and ids_only.observed.endswith("; contents of 0 of 32 compared")
        assert (await checks.copies_equal(look(nodes, **more))).verdict == "pass"
        with clients(nodes[:1]) as (one,):
            assert one.get("_replicator").body["doc_count"] <= 1
            assert list(held(one, "_replicator")) == []


async def test_lost_and_foreign_documents_are_seen(more):
    with formed(LIMIT) as (nodes, _):
        await run(Create(), None, nodes, **more)
        await run(Restore(), ALL, nodes, **more)
        nodes[1].lose_documents("openedx_1", ["course-003"])
        found = await checks.copies_equal(look(nodes, **more))
        assert found.verdict == "fail" and "on couchdb@10.0.1.11 has" in found.observed
        with clients(nodes[:1]) as (one,):
            one.bulk("openedx_1", [b'{"_id":"stranger","_rev":"1-s"}', b'{"_id":"course-001","_rev":"7-z"}'])
        found = await checks.contents_match(look(nodes, **more))
        assert found.verdict == "fail" and "1 extra (stranger)" in found.evidence + found.observed
        assert "1 in another revision (course-001)" in found.observed


@pytest.mark.parametrize("damage", ["cut", "missing"])
async def test_a_bad_backup_is_refused_before_the_first_write(more, folder, damage):
    for path in folder.glob("node-*/openedx_1.json"):
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-40])
        else:
            path.unlink()
    site = make_site()
    tables = msgspec.structs.replace(site.backup, databases=("openedx_1", "edxapp_files", "_users"))
    more["site"] = msgspec.structs.replace(site, backup=tables)
    with formed(LIMIT) as (nodes, _):
        await run(Create(), None, nodes, **more)
        assert (await Restore().probe(look(nodes, **more), ALL)).satisfied is False
        with pytest.raises(ActionFailed, match=r"[Nn]othing (was )?restored") as caught:
            await Restore().plan(look(nodes, **more), ALL)
        assert "openedx_1" in caught.value.what
        with clients(nodes[:1]) as (one,):
            assert one.get("edxapp_files").body["doc_count"] == 0


async def test_a_document_over_the_limit_is_refused_before_the_first_write(more, folder):
    with formed({"couchdb": {"max_document_size": "20"}}) as (nodes, _):
        await run(Create(), None, nodes, **more)
        with pytest.raises(ActionFailed, match="raise max_document_size on all nodes"):
            await Restore().plan(look(nodes, **more), ALL)
        assert (await checks.node_config(look(nodes))).verdict == "fail"


async def test_the_plan_tells_what_is_there_and_how_it_will_be(more):
    with formed(LIMIT) as (nodes, _), clients(nodes[:1]) as (one,):
        one.put("openedx_1", q=8, n=3)
        one.bulk("openedx_1", [b'{"_id":"foreign","_rev":"1-f"}'])
        items = "\n".join((await Restore().plan(look(nodes, **more), ALL)).items)
    assert "_users is there, and empty" in items
    assert "edxapp_files does not exist yet: it is made with 8 shards in 3 copies" in items
    assert "openedx_1 holds documents or deletions (1 and 0) of others: you will be asked whether" in items
    assert "every node takes documents up to 200.0 MB: vm1, vm2, vm3" in items
    assert "at 2,800 to 4,800 documents a second (recorded from a cluster of three" in items


async def test_it_makes_the_databases_it_needs(more):
    """As a run of one step does, without couchdb.create before it."""
    with formed(LIMIT) as (nodes, _):
        outcome, voice = await run(Restore(), ALL, nodes, **more)
        assert outcome.outputs["restored"] == {"_users": 1, "edxapp_files": 1, "openedx_1": 30}
        assert "openedx_1: created with 8 shards in 3 copies" in voice.said
        assert (await checks.contents_match(look(nodes, **more))).verdict == "pass"


async def test_only_some_databases_of_another_backup(more, folder, tmp_path):
    params = RestoreParams(backup=str(folder), databases=("openedx_1", "edxapp_files"))
    more = {"run_dir": more["run_dir"]}
    with formed(LIMIT) as (nodes, _):
        outcome, _ = await run(Restore(), params, nodes, **more)
        assert outcome.outputs["restored"] == {"edxapp_files": 1, "openedx_1": 30}
        more["outputs"] = outcome.outputs
        found = await checks.contents_match(look(nodes, **more))
        assert found.verdict == "pass" and "31 documents in 2 databases" in found.observed
        assert (await Restore().probe(look(nodes, **more), params)).satisfied
        with clients(nodes[:1]) as (one,):
            assert list(held(one, "_users")) == []
        with pytest.raises(ActionFailed, match="Backup of nowhere is missing"):
            wanted = msgspec.structs.replace(params, databases=("nowhere",))
            await Restore().plan(look(nodes, **more), wanted)


FOREIGN = b'{"_id":"course-001","_rev":"9-f"}'


async def test_other_data_stays_as_it_is_when_the_person_says_stop(more):
    with formed(LIMIT) as (nodes, _), clients(nodes[:1]) as (one,):
        one.put("openedx_1")
        one.bulk("openedx_1", [FOREIGN])
        before = {name: one.need(name)["update_seq"] for name in one.need("_all_dbs")}
        plan = await Restore().plan(look(nodes, **more), ALL)
        with pytest.raises(WaitsForPerson):
            await Restore().act(context(nodes, **more), ALL, plan)
        here = context(nodes, answers={"choice": "stop"}, **more)
        with pytest.raises(ActionFailed, match="openedx_1 holds documents or deletions") as caught:
            await Restore().act(here, ALL, plan)
        assert "Nothing was restored" in caught.value.what
        assert {name: one.need(name)["update_seq"] for name in one.need("_all_dbs")} == before
        assert not (more["run_dir"] / "couchdb-restore.json").exists()


async def test_restored_beside_other_data_when_the_person_says_so(more, tmp_path):
    with formed(LIMIT) as (nodes, _), clients(nodes[:1]) as (one,):
        for name in ("openedx_1", "_users"):
            one.put(name)
        one.bulk("openedx_1", [FOREIGN])
        user = b'{"_id":"org.couchdb.user:bo","_rev":"1-b","name":"bo","type":"user","roles":[]}'
        one.bulk("_users", [user])
        plan = await Restore().plan(look(nodes, **more), ALL)
        plan = msgspec.json.decode(msgspec.json.encode(plan), type=type(plan))
        day = datetime.now(UTC).strftime("%Y%m%d")
        names = {"openedx_1": f"openedx_1-restored-{day}", "_users": f"users-restored-{day}"}
        here = context(nodes, answers={"choice": "beside"}, **more)
        outcome = await Restore().act(here, ALL, plan)
        counts = {names["_users"]: 1, "edxapp_files": 1, names["openedx_1"]: 30}
        assert outcome.outputs["restored"] == counts
        (_, text, options), *_ = here.voice.asked
        assert "openedx_1 holds documents or deletions (1 and 0)" in text
        assert names["openedx_1"] in options[0].label and "settings go on naming it" in options[0].consequence
        notes = [text for text, data in here.voice.notes if data["kind"] == "beside"]
        assert any("the platform's settings still name openedx_1" in note for note in notes)
        assert [row.id for row in held(one, "openedx_1")] == ["course-001"]
        ranges = one.need(names["openedx_1"], "_shards")["shards"]
        assert len(ranges) == 8 and all(len(found) == 3 for found in ranges.values())
        # the checks, and a run that goes on, know where the documents went; another run does not
        found = await checks.contents_match(look(nodes, **more), bodies="all")
        assert found.verdict == "pass" and names["openedx_1"] in found.evidence
        assert (await checks.copies_equal(look(nodes, **more))).verdict == "pass"
        assert (await Restore().probe(look(nodes, **more), ALL)).satisfied
        again, _ = await run(Restore(), ALL, nodes, **more)
        assert again.outputs["restored"] == counts
        (tmp_path / "another").mkdir()
        other = await Restore().plan(look(nodes, **(more | {"run_dir": tmp_path / "another"})), ALL)
        assert f"as {names['openedx_1']}-2, or not at all" in "\n".join(other.items)


async def test_data_that_came_after_the_plan_is_no_surprise(more):
    with formed(LIMIT) as (nodes, _), clients(nodes[:1]) as (one,):
        plan = await Restore().plan(look(nodes, **more), ALL)
        one.put("openedx_1")
        one.bulk("openedx_1", [FOREIGN])
        with pytest.raises(ActionFailed, match="not when the plan was made"):
            await Restore().act(context(nodes, **more), ALL, plan)
        assert "edxapp_files" not in one.need("_all_dbs") and list(held(one, "_users")) == []


async def test_200_databases(tmp_path):
    names = [f"openedx_{n}" for n in range(200)]
    folder = backup(tmp_path / "b", {ONE: {name: dump([doc(f"of-{name}")]) for name in names}})
    (tmp_path / "run").mkdir()
    more = {"outputs": {"backup_path": str(folder)}, "run_dir": tmp_path / "run"}
    site = make_site()
    more["site"] = msgspec.structs.replace(site, couchdb=msgspec.structs.replace(site.couchdb, q=2))
    with formed(LIMIT) as (nodes, _), clients(nodes[:1]) as (one,):
        outcome, _ = await run(Restore(), ALL, nodes, **more)
        assert outcome.outputs["restored"] == dict.fromkeys(names, 1)
        assert (await checks.contents_match(look(nodes, **more), bodies="all")).verdict == "pass"
        assert (await checks.copies_equal(look(nodes, **more))).verdict == "pass"
        assert [row.id for row in held(one, names[137])] == [f"of-{names[137]}"]


async def test_what_stands_beside_our_dumps_comes_back(more, folder):
    security = {"admins": {"names": [], "roles": ["ops"]}, "members": {"names": ["lms"], "roles": []}}
    for node in ADDRESSES:
        path = folder / f"node-{node}" / "openedx_1.json"
        path.write_bytes(dump([doc(f"course:{n}", n=n) for n in range(30)]))
        (path.parent / "beside").mkdir()
        meta = Meta(
            database="openedx_1",
            documents=30,
            deleted=0,
            sequence="1",
            q=4,
            n=3,
            partitioned=True,
            security=security,
            revs_limit=50,
        )
        meta_path(path).write_bytes(msgspec.json.encode(meta))
    with formed(LIMIT) as (nodes, _), clients(nodes[:1]) as (one,):
        plan = await Restore().plan(look(nodes, **more), ALL)
        assert any(item.endswith("made with 4 shards in 3 copies, partitioned") for item in plan.items)
        await run(Restore(), ALL, nodes, **more)
        assert one.need("openedx_1")["props"] == {"partitioned": True}
        assert len(one.need("openedx_1", "_shards")["shards"]) == 4
        assert one.need("openedx_1", "_security") == security
        assert one.need("openedx_1", "_revs_limit") == 50


async def test_refused_documents_fail_the_restore_with_their_ids(more, folder):
    for node in ADDRESSES:
        (folder / f"node-{node}" / "openedx_1.json").write_bytes(
            dump([*documents(5), doc("bad", "1-b", _bogus=1)])
        )
    with formed(LIMIT) as (nodes, _):
        await run(Create(), None, nodes, **more)
        plan = await Restore().plan(look(nodes, **more), ALL)
        here = context(nodes, **more)
        with pytest.raises(ActionFailed, match="bad → 400 doc_validation") as caught:
            await Restore().act(here, ALL, plan)
        assert "5 of 6 documents are there" in caught.value.what
        assert any(line.startswith("refused: openedx_1 bad") for line in here.voice.said)
        again = await Restore().probe(look(nodes, **more), ALL)
        assert again.satisfied is False and again.summary == "7 of 8 documents are there."


async def test_never_clustered_copies_wait_for_a_person(more, folder):
    path = folder / f"node-{TWO}" / "edxapp_files.json"
    path.write_bytes(dump([doc("other.png", "1-o", content_type="image/png", data="aGVsbG8=")]))
    with formed(LIMIT) as (nodes, _):
        await run(Create(), None, nodes, **more)
        plan = await Restore().plan(look(nodes, **more), ALL)
        with pytest.raises(WaitsForPerson):
            await Restore().act(context(nodes, **more), ALL, plan)
        with clients(nodes[:1]) as (one,):
            assert one.get("openedx_1").body["doc_count"] == 0
        with pytest.raises(CouldNotLook, match="choose"):
            await checks.contents_match(look(nodes, **more))
        here = context(nodes, answers={"choice": TWO}, **more)
        await Restore().act(here, ALL, plan)
        with clients(nodes[:1]) as (one,):
            assert [row.id for row in held(one, "edxapp_files")] == ["other.png"]
        # the answer is remembered by this run
        assert (await Restore().probe(look(nodes, **more), ALL)).satisfied
        assert (await checks.contents_match(look(nodes, **more))).verdict == "pass"


async def test_interrupted_then_resumed_by_the_same_run_only(more, folder, tmp_path):
    with formed(LIMIT) as (nodes, _):
        await run(Create(), None, nodes, **more)
        plan = await Restore().plan(look(nodes, **more), ALL)
        running = asyncio.create_task(Restore().act(context(nodes, **more), ALL, plan))
        checkpoint = more["run_dir"] / "couchdb-restore.json"
        while not checkpoint.exists():
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        first = sorted(json.loads(checkpoint.read_text())["begun"])[0]
        with clients(nodes[:1]) as (one,):
            one.bulk(
                first, [b'{"_id":"org.couchdb.user:ana","_rev":"1-u","name":"ana","type":"user","roles":[]}']
            )
        stranger = tmp_path / "another run"
        stranger.mkdir()
        plan = await Restore().plan(look(nodes, **(more | {"run_dir": stranger})), ALL)
        assert f"{first} holds documents or deletions" in "\n".join(plan.items)
        outcome, _ = await run(Restore(), ALL, nodes, **more)
        assert sum(outcome.outputs["restored"].values()) == 32


async def test_a_database_made_too_early_is_told(more):
    with standins(LIMIT) as nodes:
        with clients(nodes[:1]) as (one,):
            one.put("openedx_1")
        join(nodes)
        with pytest.raises(ActionFailed, match=r"openedx_1: .* 1 of 3 copies") as caught:
            await Create().plan(look(nodes, **more), None)
        assert "before the nodes joined" in caught.value.next


async def test_no_backup_is_chosen_yet():
    with formed() as (nodes, _), pytest.raises(CouldNotLook, match="No backup is chosen"):
        await Restore().probe(look(nodes), ALL)


# ── settings on the VMs ────────────────────────────────────────────────────────────────────
INI = """[couchdb]
uuid = u1
max_document_size = 200000000
[chttpd_auth]
secret = h4sh-salt
[admins]
admin = -pbkdf2-aa,b,10
"""


def adapted(
    cookies=("c00kie-jar",) * 3, inis=(INI,) * 3, names=ADDRESSES, override="docker-compose.override.yml"
):
    made = []
    for number in range(3):
        host = ScriptedHost(f"vm{number + 1}").on("ls -1A --", f"docker-compose.yml\n{override}\n")
        host.files["openedx-ha/docker/.env"] = f"COUCHDB_COOKIE='{cookies[number]}'\nA=b\n".encode()
        host.files[f"openedx-ha/docker/{override}"] = (
            "services:\n  couchdb:\n    environment:\n"
            f"      NODENAME: {names[number]}\n      COUCHDB_ERLANG_COOKIE: ${{COUCHDB_COOKIE}}\n"
        ).encode()
        host.files["openedx-ha/docker/runbook-couchdb.ini"] = inis[number].encode()
        made.append(host)
    return make_look(*made, outputs={"compose_dir": "openedx-ha/docker"})


async def test_settings_as_they_should_be():
    here = adapted()
    assert (await checks.settings_adapted(here)).verdict == "pass"
    assert (await checks.cookie(here)).verdict == "pass"
    assert {secret.label.split(" of ")[0] for secret in here.secrets.learned} == {
        "couchdb cookie",
        "couchdb secret",
        "couchdb admin hash",
    }


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (adapted(cookies=("monster",) * 3), "vm1 has the cookie `monster`"),
        (adapted(cookies=("a-a", "a-a", "b-b")), "the cookie of vm3 is not that of vm1"),
        (adapted(inis=(INI, INI.replace("h4sh", "other"), INI)), "the secret of vm2 is not that of vm1"),
        (adapted(inis=(INI, INI, INI.replace("-pbkdf2-aa", "-pbkdf2-bb"))), "the admin hash of vm3"),
        (adapted(inis=(INI.replace("-pbkdf2-aa,b,10", "plain"),) * 3), "not hashed"),
        (adapted(inis=("nonsense", INI, INI)), "cannot be read"),
        (adapted(names=(ONE, ONE, THREE)), f"vm2 has NODENAME {ONE}, not {TWO}"),
        (adapted(names=(f"couchdb@{ONE}", TWO, THREE)), "vm1 has NODENAME"),
        (adapted(inis=("", INI, INI)), "vm1: no secret"),
    ],
)
async def test_settings_that_would_not_work(here, said):
    found = await checks.settings_adapted(here)
    assert found.verdict == "fail" and said in found.observed + found.evidence
    text = found.observed + found.evidence + found.expected
    assert not any(secret in text for secret in ("h4sh", "other-salt", "a-a", "b-b", "pbkdf2-", "plain"))


async def test_settings_that_are_not_there():
    here = make_look(ScriptedHost("vm1").on("ls -1A --", "docker-compose.yml\n"))
    found = await checks.settings_adapted(here)
    assert found.verdict == "fail" and "vm1 has no openedx-ha/docker/.env" in found.observed + found.evidence
    nothing = make_look(ScriptedHost("vm1").on("ls -1A --", 2))
    found = await checks.settings_adapted(nothing)
    assert found.verdict == "fail" and "vm1: no compose file" in found.observed


async def test_settings_are_read_where_they_were_written():
    """An override under compose's other name; a compose file at the top, with nothing saved."""
    here = adapted(override="docker-compose.override.yaml")
    assert (await checks.settings_adapted(here)).verdict == "pass"
    for host in here.hosts.by_name.values():
        host.on("ls -1A -- openedx-ha/docker", 2)
        host.files = {path.replace("/docker/", "/"): data for path, data in host.files.items()}
    assert (await checks.settings_adapted(replace(here, saved={}))).verdict == "pass"
