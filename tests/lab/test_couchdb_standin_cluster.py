"""The stand-in's cluster: set-up, copies, loss of nodes, replacement of one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from runbook.lab.couchdb import BootFailed, Network, StandIn, Timing
from tests.lab.standin_client import ADDRESSES, Client, Clock, cluster, env, join, standins

TIMELINE = json.loads(
    (Path(__file__).parent.parent / "data" / "couchdb" / "rejoin-timeline.json").read_text()
)
NAMES = [f"couchdb@{address}" for address in ADDRESSES]
ADD = {"action": "add_node", "host": ADDRESSES[1], "port": 5984, "username": "admin", "password": "password"}


def fill(node: StandIn, db: str, count: int) -> None:
    client = Client(node)
    assert client("PUT", f"/{db}")[0] == 201
    client.restore(db, *({"_id": f"doc-{n}", "_rev": "1-a", "n": n} for n in range(count)))


def copies(node: StandIn, db: str) -> list[int | None]:
    """Documents in each shard copy on a node, asked of that node; None for a missing one."""
    client = Client(node)
    suffix = "".join(map(chr, Client(first(node))("GET", f"/_node/_local/_dbs/{db}")[1]["shard_suffix"]))
    found: list[int | None] = []
    for range_ in Client(first(node))("GET", f"/{db}/_shards")[1]["shards"]:
        status, reply = client("GET", f"/_node/_local/shards%2F{range_}%2F{db}{suffix}")
        assert status == 200 or (status, reply) == (404, {"error": "not_found", "reason": "no_db_file"})
        found.append(reply["doc_count"] if status == 200 else None)
    return found


def first(node: StandIn) -> StandIn:
    return node.network.standins[ADDRESSES[0]]


def members(node: StandIn) -> dict[str, list[str]]:
    found: dict[str, list[str]] = Client(node)("GET", "/_membership")[1]
    return found


def jobs(node: StandIn) -> int:
    return int(Client(node)("GET", "/_node/_local/_system")[1]["internal_replication_jobs"])


def test_setup_makes_one_cluster_of_all_nodes() -> None:
    with standins() as nodes:
        assert Client(nodes[0])("GET", "/_cluster_setup")[1] == {"state": "cluster_enabled"}
        join(nodes)
        for node in nodes:
            assert members(node) == {"all_nodes": NAMES, "cluster_nodes": NAMES}
            assert Client(node)("GET", "/_cluster_setup")[1] == {"state": "cluster_finished"}
            assert Client(node)("GET", "/_all_dbs")[1] == ["_replicator", "_users"]
        hashes = {json.dumps(Client(node)("GET", "/_node/_local/_config/admins")[1]) for node in nodes}
        assert len(hashes) == 1


def test_a_database_made_before_joining_has_one_copy() -> None:
    with standins() as nodes:
        fill(nodes[0], "early", 20)
        join(nodes)
        shards = Client(nodes[1])("GET", "/early/_shards")[1]["shards"]
        assert all(found == [NAMES[0]] for found in shards.values())
        assert Client(nodes[1])("GET", "/early")[1]["cluster"]["n"] == 1
        assert Client(nodes[2])("GET", "/early")[1]["doc_count"] == 20
        nodes[0].kill()
        assert Client(nodes[1])("GET", "/early/doc-1")[1]["error"] == "nodedown"


def test_a_wrong_password_is_called_ok_and_joins_nobody() -> None:
    with standins() as nodes:
        assert Client(nodes[0])("POST", "/_cluster_setup", ADD | {"password": "nope"}) == (201, {"ok": True})
        assert members(nodes[0])["cluster_nodes"] == [NAMES[0]]


def test_another_cookie_holds_until_the_next_restart() -> None:
    with standins() as nodes:
        nodes[1].boot(env(ADDRESSES[1], COUCHDB_ERLANG_COOKIE="butcher"), {})
        assert Client(nodes[0])("POST", "/_cluster_setup", ADD)[0] == 201
        assert members(nodes[0])["all_nodes"] == NAMES[:2]
        nodes[1].boot(env(ADDRESSES[1], COUCHDB_ERLANG_COOKIE="butcher"), {})
        assert members(nodes[0]) == {"all_nodes": NAMES[:1], "cluster_nodes": NAMES[:2]}


@pytest.mark.parametrize("fault", ["no name", "loopback name", "ports"])
def test_listed_but_never_connected(fault: str) -> None:
    with standins(finish_wait=0.05) as nodes:
        if fault == "ports":
            nodes[0].network.isolate(ADDRESSES[1])
        else:
            name = {} if fault == "no name" else {"NODENAME": "127.0.0.1"}
            plain = {key: value for key, value in env(ADDRESSES[1]).items() if key != "NODENAME"}
            nodes[1].boot(plain | name, {})
        assert Client(nodes[0])("POST", "/_cluster_setup", ADD)[0] == 201
        assert members(nodes[0]) == {"all_nodes": NAMES[:1], "cluster_nodes": NAMES[:2]}
        status, reply = Client(nodes[0])("POST", "/_cluster_setup", {"action": "finish_cluster"})
        assert (status, reply["error"]) == (500, "setup_error")
        if fault == "ports":
            nodes[0].network.reopen(ADDRESSES[1])
            assert members(nodes[0])["all_nodes"] == NAMES[:2]


def test_settings_that_stop_the_server() -> None:
    node = StandIn(Network(), ADDRESSES[0])
    with pytest.raises(BootFailed, match="Monster"):
        node.boot(env(ADDRESSES[0], COUCHDB_ERLANG_COOKIE="monster"), {})
    with pytest.raises(BootFailed, match="admin"):
        node.boot({"NODENAME": ADDRESSES[0]}, {})
    assert node.port is None and any("Monster" in line for line in node.log)


def test_n_is_capped_and_few_copies_are_spread() -> None:
    with cluster() as nodes:
        client = Client(nodes[0])
        assert client("PUT", "/five?n=5&q=4")[0] == 201
        assert client("GET", "/five")[1]["cluster"] == {"q": 4, "n": 3, "w": 2, "r": 2}
        client("PUT", "/one?n=1&q=6")
        holders = [found[0] for found in client("GET", "/one/_shards")[1]["shards"].values()]
        assert sorted(set(holders)) == NAMES


def test_writes_reach_the_third_copy_a_little_later() -> None:
    clock = Clock()
    with cluster(Network(clock=clock), timing=Timing(0, 0, 0, late_write=1.0)) as nodes:
        fill(nodes[0], "t", 100)
        counts = [sum(filter(None, copies(node, "t"))) for node in nodes]
        assert counts == [100, 100, 0]
        assert Client(nodes[2])("GET", "/t/doc-5")[0] == 200
        assert Client(nodes[2])("GET", "/t")[1]["doc_count"] == 100
        clock.now += 1
        assert [sum(filter(None, copies(node, "t"))) for node in nodes] == [100, 100, 100]


def test_a_node_that_comes_back_gets_what_it_missed() -> None:
    with cluster() as nodes:
        fill(nodes[0], "t", 50)
        nodes[2].kill()
        assert Client(nodes[0])("PUT", "/t/new", {"n": 1})[0] == 201
        nodes[1].kill()
        status, reply = Client(nodes[0])("PUT", "/t/newer", {"n": 1})
        assert status == 202
        assert Client(nodes[0])("DELETE", f"/t/newer?rev={reply['rev']}")[0] == 202
        Client(nodes[0])("PUT", "/made")
        for node in nodes[1:]:
            node.boot(env(node.address), {})
        for node in nodes:
            assert sum(filter(None, copies(node, "t"))) == 51
            assert Client(node)("GET", "/t/newer")[1]["reason"] == "deleted"
            assert copies(node, "made") == [0] * 8


def test_both_sides_of_a_cut_meet_again() -> None:
    with cluster() as nodes:
        fill(nodes[0], "t", 1)
        nodes[0].network.isolate(ADDRESSES[0])
        Client(nodes[0])("PUT", "/t/left", {})
        Client(nodes[1])("PUT", "/t/right", {})
        assert Client(nodes[0])("GET", "/t/right")[0] == 404
        nodes[0].network.reopen(ADDRESSES[0])
        for node in nodes:
            assert sum(filter(None, copies(node, "t"))) == 3


def test_a_blank_node_of_the_same_name_is_filled_as_recorded() -> None:
    """The recording is replayed with a clock of our own and a fiftieth of its documents."""
    total, recorded = 2000, 100_001
    scale = total / recorded
    clock = Clock()
    timing = Timing(reconnect=2.0, discover=1.0, backlog=8.0, late_write=0.0, rate=1080 * scale)
    with cluster(Network(clock=clock), timing=timing) as nodes:
        clock.now += 5
        assert members(nodes[2])["all_nodes"] == NAMES
        fill(nodes[0], "t", total)
        nodes[2].wipe()
        nodes[2].boot(env(ADDRESSES[2]), {})
        start, history = clock.now, []
        for poll in TIMELINE:
            clock.now = start + poll["t_s"]
            found = copies(nodes[2], "t")
            docs = sum(filter(None, found))
            waiting = [jobs(node) for node in nodes[:2]]
            history.append((docs, waiting))
            assert members(nodes[0])["all_nodes"] == poll["vm1.all_nodes"]
            assert members(nodes[2])["cluster_nodes"] == poll["vm3.cluster_nodes"]
            assert (Client(nodes[2])("GET", "/_all_dbs")[1] == []) == (poll["vm3.all_dbs"] == 0)
            assert (None in found) == (poll["shards_missing"] > 0)
            assert abs(docs - poll["shard_docs"] * scale) < 0.2 * total
        assert [docs for docs, _ in history] == sorted(docs for docs, _ in history)
        early = [docs for docs, waiting in history[:3] if waiting == [0, 0]]
        assert 0 < max(early) < total / 2, "no backlog is told while copies are far behind"
        assert any(min(waiting) > 0 for _, waiting in history)
        assert history[-1] == (total, [0, 0])
        assert copies(nodes[2], "t") == copies(nodes[0], "t")


@pytest.mark.parametrize("seed", range(5))
def test_by_luck_copies_are_filled_in_another_order_and_speed(seed: int) -> None:
    clock = Clock()
    timing = Timing(reconnect=2.0, discover=1.0, backlog=8.0, late_write=0.0, rate=10)
    with cluster(Network(clock=clock, chance=random.Random(seed)), timing=timing) as nodes:
        clock.now += 60
        fill(nodes[0], "t", 200)
        nodes[2].wipe()
        nodes[2].boot(env(ADDRESSES[2]), {})
        seen = []
        while copies(nodes[2], "t") != copies(nodes[0], "t"):
            clock.now += 1
            seen.append((sum(filter(None, copies(nodes[2], "t"))), [jobs(node) for node in nodes[:2]]))
        assert 5 < len(seen) < 200
        assert [docs for docs, _ in seen] == sorted(docs for docs, _ in seen)
        assert any(docs < 200 and waiting == [0, 0] for docs, waiting in seen)
        clock.now += 1000
        assert [jobs(node) for node in nodes] == [0, 0, 0]


def test_forgotten_replication_needs_to_be_asked_for() -> None:
    clock = Clock()
    timing = Timing(reconnect=0, discover=0, backlog=0, late_write=0, rate=1.0)
    with cluster(Network(clock=clock), timing=timing) as nodes:
        clock.now += 10
        fill(nodes[0], "t", 50)
        fill(nodes[0], "other", 5)
        nodes[2].wipe()
        nodes[2].boot(env(ADDRESSES[2]), {})
        clock.now += 2
        nodes[0].network.forget("t")
        clock.now += 1000
        assert copies(nodes[2], "other") == copies(nodes[0], "other")
        assert sum(filter(None, copies(nodes[2], "t"))) < 50 and jobs(nodes[0]) == jobs(nodes[1]) == 0
        assert Client(nodes[1])("POST", "/t/_sync_shards")[0] == 202
        clock.now += 1000
        assert copies(nodes[2], "t") == copies(nodes[0], "t")


def test_what_lies_on_a_nodes_disk() -> None:
    with cluster() as nodes:
        fill(nodes[0], "t", 1)
        path = f"/_node/{NAMES[2]}/_all_dbs"
        found = Client(nodes[0])("GET", path)[1]
        assert found[:2] == ["_dbs", "_nodes"] and sum("/t." in name for name in found) == 8
        assert Client(nodes[0], None)("GET", path)[0] == 401


def test_a_fresh_node_serves_its_gaps_unless_in_maintenance() -> None:
    clock = Clock()
    timing = Timing(reconnect=0, discover=0, backlog=0, late_write=0, rate=1.0)
    with cluster(Network(clock=clock), timing=timing) as nodes:
        clock.now += 10
        fill(nodes[0], "t", 50)
        nodes[2].wipe()
        nodes[2].boot(env(ADDRESSES[2]), {})
        fresh = Client(nodes[2])
        assert fresh("GET", "/t")[1]["doc_count"] == 0
        assert fresh("GET", "/t/doc-1")[0] == 200, "a read of one document asks the others too"
        Client(nodes[0])("PUT", f"/_node/{NAMES[2]}/_config/couchdb/maintenance_mode", "true")
        assert fresh("GET", "/_up") == (404, {"status": "maintenance_mode"})
        assert fresh("GET", "/t")[1]["doc_count"] == 50
        clock.now += 60
        assert copies(nodes[2], "t") == copies(nodes[0], "t")


def test_a_new_name_gets_data_only_by_an_edited_map_and_a_sync() -> None:
    with standins() as nodes:
        join(nodes[:2])
        fill(nodes[0], "t", 30)
        assert Client(nodes[0])("POST", "/_cluster_setup", ADD | {"host": ADDRESSES[2]})[0] == 201
        found: dict[str, Any] = Client(nodes[0])("GET", "/_node/_local/_dbs/t")[1]
        for range_, holders in found["by_range"].items():
            holders.append(NAMES[2])
            found["by_node"].setdefault(NAMES[2], []).append(range_)
            found["changelog"].append(["add", range_, NAMES[2]])
        assert Client(nodes[0])("PUT", "/_node/_local/_dbs/t", found)[0] == 201
        assert copies(nodes[2], "t") == [0] * 8
        assert Client(nodes[0])("POST", "/t/_sync_shards")[0] == 202
        assert copies(nodes[2], "t") == copies(nodes[0], "t")


def test_dropped_databases_stay_dropped_for_who_comes_back() -> None:
    with cluster() as nodes:
        fill(nodes[0], "t", 3)
        nodes[2].kill()
        assert Client(nodes[0])("DELETE", "/t")[0] == 200
        nodes[2].boot(env(ADDRESSES[2]), {})
        assert "t" not in Client(nodes[2])("GET", "/_all_dbs")[1]
        assert Client(nodes[2])("GET", "/t") == (
            404,
            {"error": "not_found", "reason": "Database does not exist."},
        )
        fill(nodes[2], "t", 1)
        assert Client(nodes[0])("GET", "/t")[1]["doc_count"] == 1


def test_lost_documents_are_missing_from_one_copy_only() -> None:
    with cluster() as nodes:
        fill(nodes[0], "t", 40)
        assert nodes[1].lose_documents("t", ["doc-1", "doc-2", "nope"]) == 2
        counts = [sum(filter(None, copies(node, "t"))) for node in nodes]
        assert counts == [40, 38, 40]
        assert len(list(nodes[1].read_documents("t"))) == 38
        assert next(nodes[0].read_documents("t")) == {"_id": "doc-0", "_rev": "1-a", "n": 0}
