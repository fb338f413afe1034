"""``runbook couchdb compare``: sides of every kind, exit codes, every difference by id."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook.couch.client import Client
from tests.couchdb.commands import Command
from tests.couchdb.docs import doc, dumped, many, put
from tests.couchdb.servers import Server, free_port
from tests.unit.couch import backup, dump


@pytest.fixture
def saved(tmp_path: Path, clients: list[Client], database: str) -> Path:
    """A backup of that database's documents."""
    put(clients[0], database, many(30))
    return backup(tmp_path / "backup", {"10.0.1.10": {database: dump(many(30))}})


def test_a_backup_and_servers(command: Command, saved: Path, clients: list[Client], database: str) -> None:
    words = ("compare", saved, "--url", command.urls, "--database", database)
    done = command(*words)
    assert done.code == 0 and not done.err
    assert "Equal: ids and revisions of 30 documents in 1 database compared, contents of 0." in done.out
    assert "contents of 30." in command(*words, "--bodies").out
    put(clients[0], database, [doc("new")])
    done = command(*words)
    assert done.code == 1 and f"{database}: 1 extra (new)" in done.out and "Different: " in done.out


@pytest.mark.parametrize("kind", ["dump", "folder of a node"])
def test_one_dump_is_enough(command: Command, saved: Path, database: str, kind: str) -> None:
    node = saved / "node-10.0.1.10"
    left = next(node.glob("*.json")) if kind == "dump" else node
    assert command("compare", left, command.urls, "--database", database).code == 0
    if kind == "dump":  # its own database only
        assert command("compare", left, command.urls).code == 0
        assert command("compare", command.urls, left).code == 0


def test_other_bodies_are_seen_only_when_asked(
    command: Command, clients: list[Client], database: str, tmp_path: Path
) -> None:
    put(clients[0], database, [doc("a", x=1)])
    path = dumped(tmp_path, database, [doc("a", x=2)])
    assert command("compare", path, command.urls).code == 0
    done = command("compare", path, command.urls, "--bodies")
    assert done.code == 1 and "1 with the same revision but different content (a)" in done.out


def test_every_difference_is_in_the_json(
    command: Command, clients: list[Client], database: str, tmp_path: Path
) -> None:
    put(clients[0], database, [*many(1000), doc("z1", 2)])
    path = dumped(tmp_path, database, [*many(3000), doc("z1", 1), doc("z2")])
    done = command("compare", path, command.urls)
    assert "2001 missing (d001000, " in done.out and "by id: the same with --json" in done.out
    found = command("compare", path, command.urls, "--json")
    assert found.code == 1 and found.json["same"] is False and found.json["left"] == str(path)
    (one,) = found.json["databases"]
    missing = [each["id"] for each in one["differences"] if each["what"] == "missing"]
    assert missing == [f"d{n:06}" for n in range(1000, 3000)] + ["z2"]
    other = next(each for each in one["differences"] if each["what"] == "other")
    assert other == {"id": "z1", "what": "other", "left": doc("z1", 1)["_rev"], "right": doc("z1", 2)["_rev"]}
    counts = {key: one[key] for key in ("expected", "actual", "missing", "extra", "other", "same")}
    assert counts == {
        "expected": 3002,
        "actual": 1001,
        "missing": 2001,
        "extra": 0,
        "other": 1,
        "same": False,
    }


def test_a_database_of_another_name(
    server: Server, command: Command, saved: Path, clients: list[Client], database: str
) -> None:
    other = server.database("beside")
    put(clients[0], other, many(30))
    assert command("compare", saved, command.urls, "--database", f"{database}={other}", "--bodies").code == 0
    done = command("compare", command.urls, command.urls, "--database", f"{other}={database}", "--json")
    assert done.code == 0 and done.json["databases"][0]["database"] == other


@pytest.mark.needs("own")  # it would read all that others have there
def test_databases_that_only_one_side_has(
    server: Server, command: Command, saved: Path, database: str
) -> None:
    done = command("compare", saved, command.urls, "--json")
    expected = {one["database"]: one["expected"] for one in done.json["databases"]}
    assert expected[database] == 30 and expected["_users"] == 0
    assert not {"_replicator", "_global_changes"} & set(expected)


def test_two_backups(command: Command, tmp_path: Path) -> None:
    one = backup(tmp_path / "1", {"10.0.1.10": {"a/b": dump(many(5)), "gone": dump([doc("x")])}})
    two = backup(tmp_path / "2", {"10.0.1.10": {"a/b": dump(many(5)), "new": dump([])}})
    done = command("compare", one, two, "--bodies")
    assert done.code == 1 and "gone: 1 missing (x)" in done.out and "new: " not in done.out
    assert command("compare", one, two, "--database", "a/b").code == 0


def test_what_cannot_be_looked_at_is_told_and_the_rest_compared(command: Command, tmp_path: Path) -> None:
    whole = dump(many(50))
    one = backup(tmp_path / "1", {"10.0.1.10": {"cut": whole[:-300], "fine": whole}})
    two = backup(tmp_path / "2", {"10.0.1.10": {"cut": whole, "fine": whole}})
    done = command("compare", one, two)
    assert done.code == 4 and "cut could not be compared: Backup of cut is cut off after row" in done.err
    assert "\nfine " in done.out
    done = command("compare", one, two, "--json")
    assert done.json["same"] is False
    assert [("problem" in entry, entry.get("same")) for entry in done.json["databases"]] == [
        (True, None),
        (False, True),
    ]


def test_nodes_that_never_were_a_cluster(command: Command, tmp_path: Path) -> None:
    nodes = {"10.0.1.10": {"db": dump(many(9))}, "10.0.1.11": {"db": dump([doc("x"), doc("y")])}}
    one = backup(tmp_path / "1", nodes)
    done = command("compare", one, one)
    assert done.code == 4 and "never were one cluster" in done.err and "node-10.0.1.11" in done.err
    assert command("compare", one / "node-10.0.1.11", one / "node-10.0.1.11").code == 0


def test_a_copy_that_lags_is_completed_by_the_other(command: Command, tmp_path: Path) -> None:
    nodes = {"10.0.1.10": {"db": dump(many(9))}, "10.0.1.11": {"db": dump([*many(7), doc("x")])}}
    one = backup(tmp_path / "1", nodes)
    two = backup(tmp_path / "2", {"10.0.1.10": {"db": dump([*many(9), doc("x")])}})
    assert command("compare", one, two).code == 0


def test_wrong_use(command: Command, tmp_path: Path) -> None:
    done = command("compare", tmp_path / "nothing", command.urls)
    assert done.code == 2 and "does not exist" in done.err
    (tmp_path / "empty").mkdir()
    assert command("compare", tmp_path / "empty", command.urls).code == 2
    login = command.urls.replace("://", "://admin:hunter2@")
    done = command("compare", login, command.urls)
    assert done.code == 2 and "hunter2" not in done.err


def test_nobody_answers(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbook.couch.comparing.alldocs.PAUSE", 0.01)
    path = dumped(tmp_path, "db", many(3))
    done = command("compare", path, f"http://127.0.0.1:{free_port()}")
    assert done.code == 4 and "does not answer" in done.err


def test_no_such_database(server: Server, command: Command, tmp_path: Path) -> None:
    path = dumped(tmp_path, server.name("none"), many(3))
    done = command("compare", path, command.urls)
    assert done.code == 1 and "3 missing" in done.out
    assert command("compare", command.urls, command.urls, "--database", "nowhere").code == 4


def test_ids_that_would_hurt_a_terminal(
    command: Command, clients: list[Client], database: str, tmp_path: Path
) -> None:
    put(clients[0], database, [doc("a\x1b]0;x\x07")])
    done = command("compare", dumped(tmp_path, database, []), command.urls)
    assert done.code == 1 and "\x1b" not in done.out and "1 extra (a" in done.out


def test_two_hundred_databases(
    server: Server, command: Command, clients: list[Client], tmp_path: Path
) -> None:
    names = [server.database(f"many{n}", q=1) for n in range(200)]
    for name in names[::2]:
        put(clients[0], name, many(3))
    docs = {name: dump(many(3) if n % 2 == 0 else []) for n, name in enumerate(names)}
    left = backup(tmp_path / "backup", {"10.0.1.10": docs})
    words = [word for name in names for word in ("--database", name)]
    assert command("compare", left, command.urls, "--bodies", *words).code == 0
    put(clients[0], names[101], [doc("x")])
    done = command("compare", left, command.urls, *words)
    assert done.code == 1 and f"{names[101]}: 1 extra (x)" in done.out
    server.clean()
