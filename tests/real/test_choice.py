"""Which CouchDB is taken: the rules, and what is asked of servers. The whole guide is run in
test_full_restore.py, on the one that is taken there."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runbook.lab.couchdb import Network, StandIn, Timing
from tests.real import choice, imagefile
from tests.real.choice import choose, fit
from tests.real.documents import CouchServer, InUse, Url
from tests.real.lent import Seen, Unfit, look, urls

WANTED = {f"10.0.1.{n}": f"couchdb@10.0.1.{n}" for n in (10, 11, 12)}
NAMES = ("openedx_1", "_users")
LOGIN = "admin:c0uch-p4ss"


def seen(place: int, name: str, *listed: str, databases: tuple[str, ...] = ()) -> Seen:
    url = Url("127.0.0.1", 5984 + place, "admin", "c0uch-p4ss")
    return Seen(url, "3.3.2", name, frozenset(listed or [name]), frozenset(databases), 8_000_000)


SINGLE = [seen(place, name) for place, name in enumerate(WANTED.values())]
FORMED = [replace(one, listed=frozenset(WANTED.values())) for one in SINGLE]


# ── the addresses ──────────────────────────────────────────────────────────────────────────
def test_addresses_take_their_login_from_themselves_or_from_beside() -> None:
    given = f"http://{LOGIN}@127.0.0.1:15984, http://localhost"
    assert urls(given, "admin", "c0uch-p4ss") == (
        Url("127.0.0.1", 15984, "admin", "c0uch-p4ss"),
        Url("localhost", 5984, "admin", "c0uch-p4ss"),
    )
    assert urls("http://a%40b:p%2Fw@[::1]:1")[0] == Url("::1", 1, "a@b", "p/w")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (f"https://{LOGIN}@127.0.0.1", "http://HOST:PORT is wanted"),
        (f"http://{LOGIN}@127.0.0.1/db", "without a path"),
        (f"http://{LOGIN}@127.0.0.1:port", "no address"),
        ("http://127.0.0.1", "login is missing"),
        (f"http://{LOGIN}@192.0.2.7", "192.0.2.7 is not loopback"),
        (f"http://{LOGIN}@couchdb.example.test", "not loopback"),
        (f"http://{LOGIN}@127.0.0.1,http://{LOGIN}@127.0.0.1:5984", "twice"),
        (f"http://{LOGIN}@127.0.0.1,http://a:b@127.0.0.1:1", "one login"),
    ],
)
def test_an_address_that_is_none_for_these_tests_is_refused(given: str, why: str) -> None:
    with pytest.raises(Unfit, match=why) as refused:
        urls(given)
    assert "p4ss" not in str(refused.value)


def test_the_vms_own_network_is_near_but_not_in_ci() -> None:
    given = f"http://{LOGIN}@10.0.1.10"
    assert urls(given)[0].host == "10.0.1.10"
    with pytest.raises(Unfit, match="not loopback; these"):
        urls(given, ci=True)


# ── what the nodes are good for ────────────────────────────────────────────────────────────
def test_nodes_of_the_vms_names_are_the_vms_nodes() -> None:
    taken = fit(SINGLE[::-1], WANTED, NAMES)
    assert taken.nodes and not taken.simulated
    assert {address: one.name for address, one in taken.nodes.items()} == WANTED
    assert "cluster already" not in taken.label and taken.label.startswith(
        "CouchDB: 3.3.2 at 127.0.0.1:5986, "
    )


def test_of_a_cluster_that_is_formed_it_is_said_what_is_not_done() -> None:
    taken = fit(FORMED, WANTED, NAMES)
    assert taken.nodes and "the set-up is looked at, not done" in taken.label


@pytest.mark.parametrize(
    "nodes",
    [
        [seen(0, "nonode@nohost")],
        FORMED[:1],
        [seen(place, f"couchdb@n{place}", "couchdb@n0", "couchdb@n1") for place in (0, 1)],
    ],
    ids=["single", "one of three", "other names"],
)
def test_what_is_no_cluster_of_the_vms_stands_behind_the_facade(nodes: list[Seen]) -> None:
    taken = fit(nodes, WANTED, NAMES)
    assert taken.server == nodes[0] and taken.nodes is None and taken.simulated
    assert "shard copies are the stand-in's" in taken.label and nodes[0].name in taken.label


def test_nodes_that_the_guide_could_not_join_are_refused() -> None:
    with pytest.raises(Unfit, match="neither one cluster"):
        fit([seen(0, "nonode@nohost"), seen(1, "nonode@nohost")], WANTED, NAMES)
    with pytest.raises(Unfit, match="neither one cluster"):
        fit(SINGLE[:2], WANTED, NAMES)
    with pytest.raises(Unfit, match="hold theirs: the guide joins empty nodes only"):
        fit([replace(SINGLE[0], databases=frozenset({"theirs"})), *SINGLE[1:]], WANTED, NAMES)
    stranger = [replace(one, listed=one.listed | {"couchdb@10.0.1.13"}) for one in FORMED]
    with pytest.raises(Unfit, match=r"couchdb@10\.0\.1\.13 in the cluster"):
        fit(stranger, WANTED, NAMES)


def test_a_server_that_holds_what_the_guide_would_make_is_refused() -> None:
    with pytest.raises(
        Unfit, match=r"127\.0\.0\.1:5984 holds _users, openedx_1 already.*Nothing was written"
    ):
        fit([replace(SINGLE[0], databases=frozenset({"_users", "openedx_1", "other"}))], WANTED, NAMES)


# ── asked of servers ───────────────────────────────────────────────────────────────────────
@pytest.fixture
def node() -> Iterator[StandIn]:
    made = StandIn(Network(), "10.0.1.10", timing=Timing.of(0))
    made.boot({"COUCHDB_USER": "admin", "COUCHDB_PASSWORD": "c0uch-p4ss", "NODENAME": "10.0.1.10"}, {})
    yield made
    made.kill()


def url(node: StandIn, password: str = "c0uch-p4ss") -> Url:
    return Url("127.0.0.1", node.port or 0, "admin", password)


def test_a_node_says_what_it_is(node: StandIn, tmp_path: Path) -> None:
    assert look(url(node)) == Seen(
        url(node),
        "3.3.2",
        "couchdb@10.0.1.10",
        frozenset({"couchdb@10.0.1.10"}),
        frozenset(),
        8_000_000,
    )
    environ = {"COUCHDB_URL": f"http://127.0.0.1:{node.port}", "COUCHDB_USER": "admin"}
    environ["COUCHDB_PASSWORD"] = "c0uch-p4ss"
    assert choose(environ, tmp_path, WANTED, NAMES).server == look(url(node))


def test_a_refused_login_and_silence_are_told(node: StandIn) -> None:
    with pytest.raises(Unfit, match="answers / with 401"):
        look(url(node, "another"))
    gone = url(node)
    node.kill()
    with pytest.raises(Unfit, match="does not answer like CouchDB"):
        look(gone)


def test_only_what_the_tests_made_is_deleted(node: StandIn) -> None:
    owner = CouchServer(url(node))
    assert owner.call("PUT", "/theirs").status == 201
    with pytest.raises(InUse, match="holds theirs already"):
        (refused := CouchServer(url(node), ["theirs", "ours"])).start()
    refused.stop()
    assert owner.databases() == {"theirs"}
    lent = CouchServer(url(node), ["ours", "never_made"])
    lent.start()
    assert lent.call("PUT", "/ours").status == 201 and owner.call("PUT", "/later").status == 201
    lent.stop()
    assert owner.databases() == {"theirs", "later"}


# ── the image ──────────────────────────────────────────────────────────────────────────────
def archive(path: Path, *tags: str) -> Path:
    manifest = json.dumps([{"Config": "c.json", "RepoTags": list(tags), "Layers": []}]).encode()
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(manifest)
        tar.addfile(member, io.BytesIO(manifest))
    return path


def test_an_archive_has_to_hold_the_image(tmp_path: Path) -> None:
    right = archive(tmp_path / "right.tar", "couchdb:3.3.2")
    taken = choose({"COUCHDB_IMAGE_TAR": str(right)}, tmp_path, WANTED, NAMES)
    assert taken.archive == right and not taken.simulated
    assert taken.label == "CouchDB: image couchdb:3.3.2 (COUCHDB_IMAGE_TAR)"
    wrong = archive(tmp_path / "wrong.tar", "couchdb:3.4")
    (tmp_path / "text.tar").write_text("no archive")
    for path, why in [
        (wrong, "holds couchdb:3.4"),
        (tmp_path / "text.tar", "is not what"),
        (tmp_path, "is not what"),
    ]:
        with pytest.raises(Unfit, match=why):
            choose({"COUCHDB_IMAGE_TAR": str(path)}, tmp_path, WANTED, NAMES)


def test_an_engine_that_does_not_answer_has_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert imagefile.engine_image() == ""
    assert choose({}, tmp_path, WANTED, NAMES) == choice.Choice(
        "CouchDB: stand-in facade over pouchdb-server"
    )
