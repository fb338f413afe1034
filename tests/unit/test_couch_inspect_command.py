"""``runbook couchdb inspect``: a table for people, JSON for programs, an exit code that tells."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from runbook.cli import main
from tests.unit.couch import ADDRESSES, backup, doc, dump

ONE, TWO, THREE = ADDRESSES
DOCS = [doc(f"d{n}", f"{n + 1}-aa", n=n) for n in range(8)]


@pytest.fixture
def inspect(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(["--state", str(tmp_path / "state"), "couchdb", "inspect", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_sound_dump(inspect, tmp_path):
    path = written(tmp_path / "openedx_1.json", dump(DOCS))
    code, out, err = inspect(path)
    assert (code, err) == (0, "")
    assert "openedx_1" in out and "sound" in out and "every row of every dump was read" in out
    packed = written(tmp_path / "openedx_1.json.gz", gzip.compress(dump(DOCS)))
    assert inspect(packed)[0] == 0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (dump(DOCS)[:-20], "Backup of openedx_1 is cut off after row 7"),
        (b'{"error":"unauthorized","reason":"x"}', "holds an error, not documents"),
        (dump(DOCS, total=11), "openedx_1 announces 11 rows but holds 8."),
        (gzip.compress(dump(DOCS))[:-4], "cut off after row 8 (its gzip file ends too early)"),
    ],
)
def test_a_damaged_dump(inspect, tmp_path, data, said):
    code, out, _ = inspect(written(tmp_path / "openedx_1.json", data))
    assert code == 1 and said in out and "Damaged: openedx_1." in out


def test_documents_over_the_limit(inspect, tmp_path):
    path = written(tmp_path / "openedx_1.json", dump([doc("big", data="A" * 5000)]))
    assert "big is" not in inspect(path)[1]
    assert (
        "big is 5.0 kB, the servers allow 1.0 kB; raise max_document_size"
        in inspect(path, "--limit", 1000)[1]
    )
    with pytest.raises(SystemExit) as caught:
        inspect(path, "--limit", "much")
    assert caught.value.code == 2


def test_wrong_use(inspect, tmp_path):
    code, _, err = inspect(tmp_path / "nothing.json")
    assert code == 2 and "nothing.json does not exist" in err
    (tmp_path / "empty").mkdir()
    code, _, err = inspect(tmp_path / "empty")
    assert code == 2 and "holds no dumps" in err


@pytest.fixture
def saved(tmp_path):
    return backup(
        tmp_path / "saved",
        {
            ONE: {"openedx_1": dump(DOCS), "edxapp_files": dump(DOCS), "_replicator": dump([doc("job")])},
            TWO: {"openedx_1": dump(DOCS[:6]), "edxapp_files": dump([doc("x.png")])},
        },
    )


def test_a_backup_with_what_would_be_restored(inspect, saved):
    code, out, _ = inspect(saved)
    assert code == 0
    table = " ".join(out.split())
    assert f"openedx_1 8 documents of {ONE} it has the newest of every document; {TWO} lacks 2" in table
    assert "edxapp_files a person has to choose" in table and "never were one cluster" in table
    assert "_replicator nothing its documents would start replications at once" in table
    assert "Would start replications as soon as they are restored: job (1 in all)" in out


def test_the_same_for_programs(inspect, saved):
    code, out, _ = inspect(saved, "--json", "--limit", "8MB")
    found = json.loads(out)
    assert (code, found["sound"], found["limit"]) == (0, True, 8_000_000)
    by_name = {one["database"]: one for one in found["databases"]}
    assert by_name["openedx_1"]["copies"][TWO]["rows"] == 6
    assert [one["node"] for one in by_name["openedx_1"]["chosen"]["sources"]] == [ONE]
    assert set(by_name["edxapp_files"]["question"]["options"]) == {ONE, TWO}
    assert by_name["_replicator"]["copies"][ONE]["remarks"][0]["ids"] == ["job"]


def test_a_damaged_copy_in_a_backup(inspect, saved):
    path = saved / f"node-{TWO}" / "openedx_1.json"
    path.write_bytes(path.read_bytes()[:-20])
    code, out, _ = inspect(saved, "--json")
    one = next(one for one in json.loads(out)["databases"] if one["database"] == "openedx_1")
    assert code == 1 and one["chosen"] is None and list(one["question"]["options"]) == [ONE]
    assert "5 of the 6 rows it announces can be read" in one["question"]["text"]


def test_files_of_one_database_are_compared(inspect, tmp_path, saved):
    files = [saved / f"node-{node}" / "openedx_1.json" for node in (ONE, TWO)]
    assert f"{TWO} lacks 2" in " ".join(inspect(*files)[1].split())
    apart = [
        written(tmp_path / name / "openedx_1.json", dump(docs)) for name, docs in (("a", DOCS), ("b", DOCS))
    ]
    code, out, _ = inspect(*apart)
    assert code == 0 and "2 copies are equal" in out


def test_the_folder_of_one_node(inspect, saved):
    code, out, _ = inspect(saved / f"node-{TWO}", "--json")
    found = {one["database"]: list(one["copies"]) for one in json.loads(out)["databases"]}
    assert code == 0 and found == {"edxapp_files": [TWO], "openedx_1": [TWO]}


def test_nothing_in_a_dump_can_harm_the_terminal(inspect, tmp_path):
    stub = {"f": {"stub": True}}
    path = written(tmp_path / "openedx_1.json", dump([doc("\x1b[2J\u202ered", _attachments=stub)]))
    out = inspect(path)[1]
    assert "attachments whose contents are not in the backup" in out
    assert "\x1b" not in out and "\u202e" not in out
