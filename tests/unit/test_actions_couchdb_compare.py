"""couchdb.compare, and the checks that hold the servers against the backup: what is proven, what is told."""

import json

import pytest

from checks import couchdb as checks
from runbook.actions.couchdb.compare import Compare, CompareParams
from runbook.couch.restoring.aftercheck import FILE
from runbook.errors import ActionFailed, CouldNotLook
from tests.unit.couch import ADDRESSES, backup, doc, dump, formed
from tests.unit.test_actions_couchdb import LIMIT, context, look

ALL = CompareParams(bodies="all")


def documents(count):
    return [doc(f"course-{n:04}", f"1-{n:04x}", n=n) for n in range(count)]


def user(rev):
    return doc("org.couchdb.user:ana", rev, name="ana", roles=[], type="user")


@pytest.fixture
def more(tmp_path):
    whole = {"openedx_1": dump(documents(300)), "edxapp_files": dump([]), "_users": dump([user("1-u")])}
    folder = backup(tmp_path / "20261101", {ADDRESSES[0]: whole})
    return {"outputs": {"backup_path": str(folder)}, "run_dir": tmp_path / "run"}


@pytest.fixture
def cluster():
    """With all that the backup holds."""
    with formed(LIMIT) as (nodes, clients):
        for name in ("openedx_1", "edxapp_files"):
            assert clients[0].put(name, q=2, n=3).ok
        clients[0].bulk("openedx_1", [json.dumps(one).encode() for one in documents(300)])
        clients[0].bulk("_users", [json.dumps(user("1-u")).encode()])
        yield nodes, clients


async def test_equal(more, cluster):
    nodes, _ = cluster
    here = look(nodes, **more)
    found = await checks.contents_match(here)
    assert found.verdict == "pass"
    assert found.observed == (
        "301 documents in 3 databases: ids and revisions of all as in the backup; "
        "contents of 101 of 301 compared"
    )
    probe = await Compare().probe(here, ALL)
    assert probe.satisfied and probe.summary == (
        "Equal: ids and revisions of 301 documents in 3 databases compared, contents of 301."
    )
    plan = await Compare().plan(here, ALL)
    assert plan.summary.startswith("nothing to change") and not plan.changes
    context_ = context(nodes, **more)
    outcome = await Compare().act(context_, ALL, plan)
    assert outcome.summary == probe.summary
    notes = {data["database"]: data for text, data in context_.voice.notes}
    assert notes["openedx_1"]["bodies"] == 300 and notes["openedx_1"]["missing"] == 0
    assert not (more["run_dir"] / FILE).exists()


async def test_many_differences_are_written_whole(more, cluster):
    nodes, clients = cluster
    for one in documents(50):
        assert clients[0].delete("openedx_1", one["_id"], rev=one["_rev"]).ok
    found = await checks.contents_match(look(nodes, **more))
    path = more["run_dir"] / FILE
    assert found.verdict == "fail" and f"every difference by id: {path}" in found.evidence
    assert "openedx_1: 50 missing (course-0000, " in found.observed
    report = json.loads(path.read_bytes())
    entry = next(one for one in report["databases"] if one["database"] == "openedx_1")
    assert [one["id"] for one in entry["differences"]] == [one["_id"] for one in documents(50)]
    assert path.stat().st_mode & 0o077 == 0
    assert (await Compare().probe(look(nodes, **more), ALL)).satisfied is False
    with pytest.raises(ActionFailed, match="50 missing") as caught:
        await Compare().act(context(nodes, **more), ALL, await Compare().plan(look(nodes, **more), ALL))
    assert "Nothing was changed" in caught.value.next
    assert clients[0].delete("openedx_1").ok and clients[0].put("openedx_1", q=2, n=3).ok
    clients[0].bulk("openedx_1", [json.dumps(one).encode() for one in documents(299)])
    found = await checks.contents_match(look(nodes, **more))
    assert found.observed.startswith("openedx_1: 1 missing (course-0299)") and not path.exists()


async def test_a_database_that_is_gone_lacks_everything(more, cluster):
    nodes, clients = cluster
    assert clients[0].delete("openedx_1").ok
    found = await checks.contents_match(look(nodes, **more), bodies="none")
    assert found.verdict == "fail" and "openedx_1: 300 missing" in found.observed


async def test_another_node_is_asked_when_the_first_is_down(more, cluster):
    nodes, _ = cluster
    here = look(nodes, **more)
    nodes[0].kill()
    assert (await checks.contents_match(here, bodies="all")).verdict == "pass"
    assert (await checks.no_conflicts(here)).verdict == "pass"


async def test_what_cannot_be_looked_at_is_no_failure(more, cluster, tmp_path):
    nodes, _ = cluster
    with pytest.raises(CouldNotLook, match="bodies must be one of"):
        await checks.contents_match(look(nodes, **more), bodies="some")
    path = next((tmp_path / "20261101").glob("node-*/openedx_1.json"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CouldNotLook, match="cut off"):
        await checks.contents_match(look(nodes, **more))


async def test_conflicts_are_found_and_named(more, cluster):
    nodes, clients = cluster
    assert (await checks.no_conflicts(look(nodes, **more))).observed == "none in 4 databases"
    clients[0].bulk("_users", [json.dumps(user("2-v")).encode()])
    clients[0].bulk("openedx_1", [b'{"_id":"course-0007","_rev":"1-zzzz"}'])
    found = await checks.no_conflicts(look(nodes, **more))
    assert found.verdict == "fail"
    for text in ("in conflict in _users: org.couchdb.user:ana", "in conflict in openedx_1: course-0007"):
        assert text in found.evidence
