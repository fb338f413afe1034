"""Which copy is restored: equal ones, lagging ones, and those of nodes that never were one cluster."""

import gzip
import json

import msgspec
import pytest

from runbook.couch.reading.inspection import DumpDamaged
from runbook.couch.reading.selection import Question, Selection, choose, find
from runbook.couch.reading.survey import survey
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
    assert "the same revision but different content: 1 documents" in found.note


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


def test_a_damaged_copy_is_left_out_only_by_a_person_who_was_told_what_is_lost(tmp_path):
    newer = [*DOCS[:-2], doc("d6", "9-ff"), doc("d7", "8-aa"), doc("d8"), doc("d9")]
    paths = dumps(tmp_path, "openedx_1", DOCS, newer, DOCS)
    paths[TWO].write_bytes(paths[TWO].read_bytes()[:-20])
    found = choose("openedx_1", paths)
    assert isinstance(found, Question) and list(found.options) == [ONE]
    assert restored(found.options[ONE]) == [(one["_id"], one["_rev"]) for one in DOCS]
    assert f"the copy of node {TWO} is damaged" in found.text and "cut off after row 9" in found.text
    assert "9 of the 10 rows it announces can be read; 2 of them are in no other copy" in found.text
    assert "or newer than there: d6, d8. They are lost without it" in found.text


def test_a_damaged_copy_that_holds_nothing_more(tmp_path):
    paths = dumps(tmp_path, "openedx_1", DOCS, DOCS)
    paths[ONE].write_bytes(paths[ONE].read_bytes()[:-20])
    found = choose("openedx_1", paths)
    assert isinstance(found, Question) and list(found.options) == [TWO]
    assert "7 of the 8 rows it announces can be read; all of them are in the other copies" in found.text
    assert "belongs to that node" in found.text  # openedx_1 is node 1's


def test_a_damaged_copy_among_lagging_ones(tmp_path):
    paths = dumps(tmp_path, "edxapp_files", DOCS[:6], DOCS, DOCS[1:])
    paths[TWO].write_bytes(b'{"error":"unauthorized","reason":"x"}')
    found = choose("edxapp_files", paths)
    assert isinstance(found, Question) and list(found.options) == [f"{ONE}+{THREE}"]
    assert found.options[f"{ONE}+{THREE}"].expected == 8 and "0 can be read" in found.text


def test_all_copies_damaged(tmp_path):
    paths = dumps(tmp_path, "openedx_1", DOCS, DOCS)
    for path in paths.values():
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DumpDamaged, match="cut off after row 7; nothing restored") as caught:
        choose("openedx_1", paths)
    assert f"The copy of node {TWO}: " in caught.value.what


def test_a_dump_beside_its_compressed_self(tmp_path):
    paths = dumps(tmp_path, "openedx_1", DOCS)
    twin = paths[ONE].with_name("openedx_1.json.gz")
    twin.write_bytes(gzip.compress(dump(DOCS)))
    both = find(tmp_path / "b")["openedx_1"]
    assert both == {ONE: paths[ONE], f"{ONE} (gz)": twin}
    found = choose("openedx_1", both)
    assert [one.path for one in found.sources] == [str(paths[ONE])] and "2 copies are equal" in found.note
    paths[ONE].write_bytes(paths[ONE].read_bytes()[:-9])  # the compressed one is whole
    found = choose("openedx_1", both)
    assert isinstance(found, Question) and restored(found.options[f"{ONE} (gz)"])[-1] == ("d7", "8-aa")


def test_other_layouts_of_the_same_rows_are_the_same_copy(tmp_path):
    paths = dumps(tmp_path, "openedx_1", DOCS, DOCS)
    paths[TWO].write_text(json.dumps(json.loads(paths[TWO].read_text()), separators=(",", ":")))
    assert "the copies have the same revisions" in choose("openedx_1", paths).note


def test_a_copy_that_has_only_begun_to_be_filled(tmp_path):
    many = [doc(f"d{n:03}") for n in range(100)]
    found = choose("edxapp_files", dumps(tmp_path, "edxapp_files", many[:10], many))
    assert [one.node for one in found.sources] == [TWO] and f"{ONE} lacks 90" in found.note
    assert "deleted on one node only comes back" in found.note


def test_what_was_changed_on_two_nodes_at_once_is_told(tmp_path):
    one, two = [doc("d0", "3-aa"), *DOCS[1:]], [doc("d0", "3-bb"), *DOCS[1:7]]
    found = choose("edxapp_files", dumps(tmp_path, "edxapp_files", one, two))
    assert found.kind == "union" and restored(found)[0] == ("d0", "3-bb") and found.clashes == 1
    assert "changed on two nodes at once: 1 documents (d0)" in found.note


def test_the_same_ids_made_apart_are_not_one_database(tmp_path):
    """Files of the same names, uploaded to each of three clusters of one node."""
    copies = [[doc(f"f{n}.png", f"1-{mark}{n}") for n in range(6)] for mark in "abc"]
    found = choose("edxapp_files", dumps(tmp_path, "edxapp_files", *copies))
    assert isinstance(found, Question) and set(found.options) == {ONE, TWO, THREE}


def test_two_nodes_of_a_cluster_and_one_alone(tmp_path):
    alone = [doc(f"e{n}") for n in range(5)]
    copies = dumps(tmp_path, "edxapp_files", DOCS[:6], DOCS[1:], alone)
    found = choose("edxapp_files", copies)
    assert isinstance(found, Question) and set(found.options) == {f"{ONE}+{TWO}", THREE}
    assert found.options[f"{ONE}+{TWO}"].expected == 8
    own = choose("openedx_2", copies)
    assert own.expected == 8 and f"it belongs to node {TWO}" in own.note


def test_an_empty_copy_joins_nothing_that_is_apart(tmp_path):
    alone = [doc(f"e{n}") for n in range(5)]
    found = choose("edxapp_files", dumps(tmp_path, "edxapp_files", alone, [], DOCS))
    assert isinstance(found, Question) and len(found.options) == 2


def test_what_is_chosen_can_be_put_on_record_and_read_again(tmp_path):
    found = choose("openedx_1", dumps(tmp_path, "openedx_1", DOCS[:6], DOCS[1:]))
    again = msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(found))), Selection)
    assert again == found and restored(again) == restored(found)


def test_ids_that_suggest_a_partitioned_database(tmp_path):
    parts = [doc("_design/x", "1-d"), *(doc(f"p{n % 3}:d{n}") for n in range(9))]
    found = survey(backup(tmp_path, {ONE: {"sensors": dump(parts), "openedx_1": dump(DOCS)}}))
    assert found.selections["sensors"].partitioned and not found.selections["openedx_1"].partitioned
    assert sum("partitioned database" in line for line in found.lines()[:2]) == 1


def _attached(data):
    return {"_attachments": {"f": {"content_type": "text/plain", "revpos": 1} | data}}


def test_attachments_that_lie_beside_the_dump_lack_nothing(tmp_path):
    stub, inline = _attached({"stub": True, "length": 3}), _attached({"data": "YWJj"})
    paths = dumps(tmp_path, "edxapp_files", [doc("a"), doc("b", **stub), doc("c", **stub)])
    folder = paths[ONE].parent / "beside"
    folder.mkdir()
    contents = folder / "edxapp_files.attached.json"
    contents.write_bytes(dump([doc("b", **inline)]))
    assert choose("edxapp_files", paths).stubs == 1
    contents.write_bytes(dump([doc("b", **inline), doc("c", **inline)]))
    assert choose("edxapp_files", paths).stubs == 0
    contents.write_bytes(contents.read_bytes()[:-30])
    with pytest.raises(DumpDamaged, match=r"edxapp_files\.attached is cut off after row 1"):
        choose("edxapp_files", paths)


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
