"""Comparing dumps with databases, databases with each other, dumps with dumps."""

from __future__ import annotations

import asyncio
import base64
import random
from pathlib import Path

import pytest

from runbook.couch import cluster
from runbook.couch.client import Client, RequestRefused
from runbook.couch.comparing import sides
from runbook.couch.comparing.compare import Comparison, Difference, Kind, compare
from runbook.couch.comparing.sides import Live
from tests.couchdb.docs import doc, dumped, many, put
from tests.couchdb.servers import Server

TEXT, PICTURE = b"hello " * 500, bytes(range(256)) * 40


def attached(id: str, text: bytes = TEXT, picture: bytes = PICTURE) -> dict[str, object]:
    files = {"t.txt": ("text/plain", text), "p/q.png": ("image/png", picture)}
    return doc(
        id,
        _attachments={
            name: {"content_type": kind, "revpos": 1, "data": base64.b64encode(data).decode()}
            for name, (kind, data) in files.items()
        },
    )


def look(
    left: sides.Dumped | Live, clients: list[Client], database: str, sample: int | None = 0
) -> tuple[Comparison, list[Difference]]:
    told: list[Difference] = []
    return compare(database, left, Live(clients, database), sample=sample, told=told.append), told


def test_an_empty_database_is_its_empty_dump(clients: list[Client], database: str, tmp_path: Path) -> None:
    left = sides.dump(dumped(tmp_path, database, []), database)
    for sample in (0, 10, None):
        found, told = look(left, clients, database, sample)
        assert found.same and found.expected == found.actual == 0 and told == []


@pytest.mark.parametrize("sample", [0, 50, None])
def test_every_difference_is_told_by_id(
    server: Server, clients: list[Client], database: str, tmp_path: Path, sample: int | None
) -> None:
    """With names that sort in their own way: upper case, _design, accents, CJK, U+2028, slashes."""
    ids = ["A", "Z/a", "a\u2028b", "a b", "c+d", "é", "漢", "\ue000"] + (
        ["😀"] if server.can("order") else []
    )
    same = [doc(id, n=1) for id in ids]
    here = [doc("lost"), doc("newer", 1), doc("other body", x=1), doc("ä lost")]
    there = [doc("extra"), doc("newer", 2), doc("other body", x=2), doc("ä extra")]
    put(clients[0], database, [*same, *there])
    left = sides.dump(dumped(tmp_path, database, [*same, *here]), database)
    found, told = look(left, clients[-1:], database, sample)
    kinds: dict[str, Kind] = {"extra": "extra", "lost": "missing", "newer": "other"}
    kinds |= {"ä extra": "extra", "ä lost": "missing"}
    assert found.bodies == (0 if sample == 0 else len(same) + 1)
    assert (found.differing, found.first_differing) == ((1, ("other body",)) if found.bodies else (0, ()))
    if found.bodies:
        kinds["other body"] = "differing"
    assert {one.id: one.what for one in told} == kinds
    revs = {one.id: (one.left, one.right) for one in told}
    assert revs["newer"] == (doc("newer", 1)["_rev"], doc("newer", 2)["_rev"])
    assert revs["lost"] == (doc("lost")["_rev"], "") and revs["extra"] == ("", doc("extra")["_rev"])
    assert found.expected == found.actual == len(ids) + 4


def test_counts_are_whole_when_names_are_not(clients: list[Client], database: str, tmp_path: Path) -> None:
    docs = many(3000)
    put(clients[0], database, docs[1000:])
    found, told = look(sides.dump(dumped(tmp_path, database, docs), database), clients, database)
    assert (found.missing, len(found.first_missing), len(told)) == (1000, 20, 1000)
    assert found.words().startswith("1000 missing (d000000, d000001, ") and found.words().endswith(", …)")


def test_two_databases_of_servers(server: Server, clients: list[Client], database: str) -> None:
    other = server.database("other")
    put(clients[0], database, [doc("a", x=1), doc("b", x=1), attached("c"), attached("d"), attached("e")])
    put(
        clients[0],
        other,
        [
            doc("a", x=1),
            doc("b", x=2),
            attached("c"),
            attached("d", text=TEXT[::-1]),
            attached("e", TEXT, b"x"),
        ],
    )
    found, _ = look(Live(clients, other), clients, database, None)
    assert (found.bodies, found.first_differing) == (5, ("b", "d", "e"))
    assert look(Live(clients, other), clients, database, 0)[0].same
    assert look(Live(clients, database), clients, database, None)[0].same


@pytest.mark.parametrize("sample", [10, None])
def test_attachments_are_compared_by_their_contents(
    clients: list[Client], database: str, tmp_path: Path, sample: int | None
) -> None:
    """A text's digest is of its compressed bytes: the contents are asked of the server."""
    put(clients[0], database, [attached("a"), attached("b"), attached("c"), attached("d")])
    docs = [attached("a"), attached("b", TEXT[::-1]), attached("c", TEXT, PICTURE[::-1]), doc("d")]
    found, _ = look(sides.dump(dumped(tmp_path, database, docs), database), clients, database, sample)
    assert (found.bodies, found.first_differing) == (4, ("b", "c", "d"))


def test_stubs_of_a_dump_are_compared_by_digest(clients: list[Client], database: str, tmp_path: Path) -> None:
    put(clients[0], database, [attached("a"), attached("b")])
    listed = clients[0].need(database, "_all_docs", include_docs="true")["rows"]
    docs = [row["doc"] for row in listed]
    left = sides.dump(dumped(tmp_path, database, docs), database)
    assert look(left, clients, database, None)[0].same
    docs[1]["_attachments"]["p/q.png"]["digest"] = "md5-" + base64.b64encode(b"0" * 16).decode()
    left = sides.dump(dumped(tmp_path, database, docs), database)
    assert look(left, clients, database, None)[0].first_differing == ("b",)


def test_two_dumps(tmp_path: Path) -> None:
    one = dumped(tmp_path / "1", "db", [doc("a"), doc("b", x=1), doc("c", 1)])
    two = dumped(tmp_path / "2", "db", [doc("b", x=2), doc("c", 2), doc("d")])
    found = compare("db", sides.dump(one, "db"), sides.dump(two, "db"), sample=None)
    assert found.words() == (
        "1 missing (a), 1 extra (d), 1 in another revision (c), "
        "1 with the same revision but different content (b)"
    )
    assert found.there == 1


def test_the_servers_own_document_does_not_count(clients: list[Client], tmp_path: Path) -> None:
    left = sides.dump(dumped(tmp_path, "_users", [doc("_design/_auth"), doc("org.couchdb.user:a")]), "_users")
    found, told = look(left, clients, "_users")
    assert "_design/_auth" not in [one.id for one in told]
    assert found.expected == 1


def test_a_database_that_is_not_there(server: Server, clients: list[Client]) -> None:
    name = server.name("gone")
    with pytest.raises(RequestRefused) as error:
        compare(name, sides.nothing(), Live(clients, name))
    assert error.value.status == 404


@pytest.mark.parametrize("name", ["a/b+c", "x$(y)-z"])
def test_names_with_signs(server: Server, clients: list[Client], tmp_path: Path, name: str) -> None:
    database = server.database(name)
    put(clients[0], database, many(5))
    assert look(sides.dump(dumped(tmp_path, database, many(5)), database), clients, database, None)[0].same


def test_an_upload_of_50_mb(server: Server, clients: list[Client], database: str, tmp_path: Path) -> None:
    """As the platform keeps it: the file in base64 under ``data``. As large as the server takes it."""
    limit = asyncio.run(cluster.document_limit(clients[0])) if server.can("config") else 200_000_000
    data = random.Random(5).randbytes(min(50_000_000, limit // 4 * 3 - 1000))
    upload = doc("video.mp4", content_type="video/mp4", data=base64.b64encode(data).decode())
    put(clients[0], database, [upload])
    path = dumped(tmp_path, database, [upload])
    for sample in (0, 10, None):
        found, _ = look(sides.dump(path, database), clients[-1:], database, sample)
        assert found.same and found.actual == 1
    with path.open("r+b") as file:  # another byte somewhere in the middle
        file.seek(path.stat().st_size // 2)
        old = file.read(1)
        file.seek(-1, 1)
        file.write(b"A" if old != b"A" else b"B")
    for sample in (10, None):
        assert look(sides.dump(path, database), clients, database, sample)[0].first_differing == (
            "video.mp4",
        )
