"""The checksum is found in every way it can have been made, and never where it was not."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.backup import manifest
from tests.unit.backups import make_backup


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def look(folder: Path, *roots: str) -> manifest.Match:
    parsed = manifest.parse((folder / manifest.NAME).read_bytes())
    return manifest.check(parsed, hashes(folder), id=folder.name, here=str(folder), roots=roots)


def test_the_plain_way_on_the_backup_vm(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101")
    match = look(folder, f"{tmp_path}/backup")
    assert match.way == f"paths as in {folder}, manifest hashed while empty"


def test_copied_elsewhere_with_what_the_fetch_script_leaves(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101")
    copy = tmp_path / "pc/20261101"
    shutil.copytree(folder, copy)
    (copy / "calculated_checksum.txt").write_text("0" * 32)
    (copy / "logs").mkdir()
    (copy / "logs/fetch.log").write_text("x")
    match = look(copy, f"{tmp_path}/backup/")
    assert match.way and f"paths as in {folder}" in match.way


@pytest.mark.parametrize(("tier", "id"), [("weekly", "2026-week44"), ("monthly", "2026-11")])
def test_weekly_and_monthly_keep_the_dailys_paths(tmp_path: Path, tier: str, id: str) -> None:
    daily = make_backup(tmp_path / "backup/daily/20261101")
    copy = tmp_path / f"backup/{tier}/{id}"
    shutil.copytree(daily, copy)
    match = look(copy, f"{tmp_path}/backup")
    assert match.way == f"paths as in {daily}, manifest hashed while empty"


def test_the_folder_is_named_in_local_time_and_the_date_in_utc(tmp_path: Path) -> None:
    daily = make_backup(tmp_path / "backup/daily/20261101", made="2026-10-31T23:00:09Z")
    copy = tmp_path / "backup/monthly/2026-11"
    shutil.copytree(daily, copy)
    assert look(copy, f"{tmp_path}/backup").way


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ('find "$1" -type f ! -name backup_manifest.json -exec md5sum {} \\; | sort | md5sum', "left out"),
        ('cd "$1"; find . -type f -exec md5sum {} \\; | sort | md5sum', "from inside"),
        ('cd "$1/.."; find 20261101 -type f -exec md5sum {} \\; | sort | md5sum', "from beside"),
        ('find "$1/" -type f -exec md5sum {} \\; | sort | md5sum', "paths as in"),
    ],
)
def test_other_writers(tmp_path: Path, command: str, words: str) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101")
    file = folder / manifest.NAME
    content = json.loads(file.read_text())
    file.write_bytes(b"")
    done = subprocess.run(["sh", "-c", command, "sh", str(folder)], capture_output=True, check=True)
    content["checksum"] = done.stdout.decode()  # with its "  -"
    file.write_text(json.dumps(content))
    match = look(folder, f"{tmp_path}/backup")
    assert match.way and words in match.way


def test_equal_files_sorted_by_language() -> None:
    # "_replicator" stands before "openedx" by bytes, after it by letters
    same = hashlib.md5(b"same").hexdigest()
    text = "".join(f"{same}  /backup/daily/20261101/n/{n}\n" for n in ("openedx_1", "_replicator"))
    made = manifest.Manifest(
        backup_date="2026-11-01", nodes=("a",), checksum=hashlib.md5(text.encode()).hexdigest()
    )
    hashes = {"n/openedx_1": same, "n/_replicator": same}
    match = manifest.check(made, hashes, id="20261101", here="/x", roots=["/backup"])
    assert match.way and "sorted by language" in match.way and "left out" in match.way


@given(st.data())
def test_nothing_else_is_called_a_match(data: st.DataObject) -> None:
    names = st.sampled_from(["a.json", "node-1/b.json", "node-1/config.tar.gz", manifest.NAME])
    md5s = st.binary(max_size=3).map(lambda raw: hashlib.md5(raw).hexdigest())
    hashes = data.draw(st.dictionaries(names, md5s, min_size=1))
    checksum = data.draw(st.one_of(md5s, st.text(max_size=40)))
    made = manifest.Manifest(backup_date="2026-11-01", nodes=("a",), checksum=checksum)
    match = manifest.check(made, hashes, id="20261101", here="/x", roots=["/backup"])
    assert match.way is None  # no listing of files has the MD5 of three bytes


def test_one_changed_byte_is_a_mismatch(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101")
    file = folder / "node-10.0.1.11/_users.json"
    file.write_bytes(file.read_bytes().replace(b"1-a", b"1-b", 1))
    match = look(folder, f"{tmp_path}/backup")
    assert match.way is None
    assert match.tried > 20


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is empty"),
        (b"{", "not as it should be"),
        (b"[]", "not as it should be"),
        (b'{"backup_date": "2026-11-01T01:00:00Z", "nodes": []}', "names no node"),
        (b'{"backup_date": "yesterday", "nodes": ["a"]}', "no date"),
        (b'{"backup_date": "2026-11-01", "nodes": "10.0.1.10"}', "nodes"),
    ],
)
def test_a_manifest_that_is_none_says_why(raw: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        manifest.parse(raw)


@given(st.binary(max_size=300))
def test_wild_manifests_are_refused_with_a_message(raw: bytes) -> None:
    with pytest.raises(ValueError):
        manifest.parse(raw)
