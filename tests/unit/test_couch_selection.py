"""Which copy is restored: equal ones, lagging ones, and those of nodes that never were one cluster."""

import json

import pytest

from runbook.couch.inspection import DumpDamaged
from runbook.couch.selection import Question, choose, find
from runbook.couch.survey import survey
from runbook.errors import ActionFailed
from tests.unit.couch import ADDRESSES, backup, doc, dump

ONE, TWO, THREE = ADDRESSES
DOCS = [doc(f"d{n}", f"{n + 1}-aa", n=n) for n in range(8)]


def dumps(tmp_path, database, *copies):
    folder = backup(
        tmp_path / "b", {node: {database: dump(docs)} for node, docs in zip(ADDRESSES, copies, strict=False)}
    )
    return find(folder)[database]


def restored(selection):
    return [(row.id, row.rev) for row in selection.rows()]


def test_equal_copies_any_of_them(tmp_path):
    found = choose("openedx_1", dumps(tmp_path, "openedx_1", DOCS, DOCS, DOCS))
    assert found.kind == "single" and found.expected == 8 and "equal" in found.note
    assert restored(found) == [(one["_id"], one["_rev"]) for one in DOCS]


def test_lagging_copies_give_the_newest_of_each(tmp_path):
    newer = [doc("d0", "10-ab"), *DOCS[1:7]]  # d0 newest here, d7 not yet
    older = [doc("d0", "9-ff"), *DOCS[1:]]
    found = choose("openedx_1", dumps(tmp_path, "openedx_1", newer, older))
    assert found.kind == "union" and found.expected == 8
    assert restored(found)[0] == ("d0", "10-ab") and restored(found)[-1][0] == "d7"
    assert f"{ONE} lacks 1" in found.note


def test_a_copy_that_has_everything_is_taken_alone(tmp_path):
    found = choose("openedx_1", dumps(tmp_path, "openedx_1", DOCS[:5], DOCS, []))
    assert found.kind == "single" and [one.node for one in found.sources] == [TWO]


def test_the_same_revision_with_other_content_is_told(tmp_path):
    other = [doc("d0", "1-aa", n="other"), *DOCS[1:]]
    found = choose("openedx_1", dumps(tmp_path, "openedx_1", DOCS, other))
    assert "1 documents have the same revision but different content" in found.note


def test_disjoint_copies_of_a_nodes_own_database_come_from_that_node(tmp_path):
    design = doc("_design/x", "1-d")
    others = [doc(f"e{n}") for n in range(5)]
    found = choose("openedx_2", dumps(tmp_path, "openedx_2", [design, *DOCS], [design, *others]))
    assert [one.node for one in found.sources] == [TWO] and found.expected == 6


def test_disjoint_shared_copies_need_a_person(tmp_path):
    found = choose("edxapp_files", dumps(tmp_path, "edxapp_files", DOCS, [doc("other.png")]))
    assert isinstance(found, Question)
    assert set(found.options) == {ONE, TWO} and found.options[TWO].expected == 1
    assert "loses" in found.text


def test_the_servers_own_design_document_is_not_counted(tmp_path):
    users = [doc("_design/_auth", "1-old"), doc("org.couchdb.user:ana")]
    found = choose("_users", dumps(tmp_path, "_users", users, users))
    assert found.expected == 1 and restored(found) == [("org.couchdb.user:ana", "1-a")]


def test_one_damaged_copy_is_enough_to_refuse(tmp_path):
    paths = dumps(tmp_path, "openedx_1", DOCS, DOCS)
    paths[TWO].write_bytes(paths[TWO].read_bytes()[:-20])
    with pytest.raises(DumpDamaged, match="Backup of openedx_1 is cut off after row 7; nothing restored"):
        choose("openedx_1", paths)


def test_a_dump_that_changes_after_it_was_chosen(tmp_path):
    paths = dumps(tmp_path, "openedx_1", DOCS)
    found = choose("openedx_1", paths)
    paths[ONE].write_bytes(dump(DOCS[:3]))
    with pytest.raises(ActionFailed, match="changed since the plan"):
        list(found.rows())


def test_a_survey_leaves_out_what_is_never_restored(tmp_path):
    databases = {"openedx_1": dump(DOCS), "_replicator": dump([doc("r")]), "a/b": dump([doc("x")])}
    found = survey(backup(tmp_path, {ONE: databases}))
    assert set(found.selections) == {"openedx_1", "a/b"} and set(found.left_out) == {"_replicator"}
    assert any("replications" in line for line in found.lines())


def test_a_survey_names_every_damage_at_once(tmp_path):
    databases = {
        "openedx_1": dump(DOCS)[:-30],
        "_users": b'{"error":"unauthorized","reason":"x"}',
        "edxapp_files": dump([doc("big.bin", data="A" * 5000)]),
    }
    folder = backup(tmp_path, {ONE: databases})
    with pytest.raises(ActionFailed) as caught:
        survey(folder, wanted=("openedx_1", "_users", "edxapp_files", "openedx_9"), limit=1000)
    text = str(caught.value)
    assert "openedx_1 is cut off after row 7" in text and "_users holds an error" in text
    assert "big.bin is 5.0 kB, the servers allow 1.0 kB; raise max_document_size on all nodes" in text
    assert "openedx_9 is missing" in text and "Nothing was restored" in text


def test_an_answer_is_given_once(tmp_path):
    both = {ONE: {"_users": dump(DOCS)}, TWO: {"_users": dump([doc("other")])}}
    folder = backup(tmp_path, both)
    assert set(survey(folder).questions) == {"_users"}
    again = survey(folder, chosen={"_users": (TWO,)})
    assert again.questions == {} and again.selections["_users"].expected == 1


def test_an_empty_backup(tmp_path):
    with pytest.raises(ActionFailed, match="no dumps"):
        survey(tmp_path)


def test_a_dump_with_fewer_rows_than_it_announces(tmp_path):
    folder = backup(tmp_path, {ONE: {"openedx_1": dump(DOCS, total=11)}})
    found = survey(folder)
    assert found.selections["openedx_1"].lacking == 3
    assert any("announces 3 rows more" in line for line in found.lines())
    json.dumps([found.backup])
