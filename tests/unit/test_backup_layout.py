"""Backups are found in both places, described by what is in them, and ordered by time."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runbook.backup import choice, layout
from runbook.errors import ActionFailed, CouldNotLook
from runbook.site.model import Backup
from tests.unit.backups import NODES, make_backup
from tests.unit.doubles import make_look, make_site
from tests.unit.here import Here


def test_a_whole_backup(tmp_path: Path) -> None:
    found = layout.describe_local(make_backup(tmp_path / "20261101"))
    assert found.complete
    assert found.made == datetime(2026, 11, 1, 1, 0, 7, tzinfo=UTC)
    assert found.nodes[NODES[0]] == ("_users", "edxapp_files", "openedx_1", "openedx_2", "openedx_3")
    assert found.bytes > 1000


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "20261101")
    (folder / "node-10.0.1.11/_users.json").unlink()
    (folder / "node-10.0.1.12/openedx_1.json").write_bytes(b"")
    found = layout.describe_local(folder)
    assert not found.complete
    assert found.problems == (
        "node 10.0.1.11: lacks _users",
        "node 10.0.1.12: openedx_1.json is empty",
    )


def test_a_node_of_the_manifest_without_a_folder(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "20261101")
    shutil.rmtree(folder / "node-10.0.1.12")
    assert layout.describe_local(folder).problems == ("node 10.0.1.12: no database in it",)


def test_a_backup_that_is_still_being_made(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "20261101", manifest=False)
    assert "is missing" in layout.describe_local(folder).problems[0]
    (folder / "backup_manifest.json").write_bytes(b"")
    assert "is empty" in layout.describe_local(folder).problems[0]


def test_a_replicator_database_need_not_be_everywhere(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "20261101")
    (folder / "node-10.0.1.10/_replicator.json").write_bytes(b"x")
    assert layout.describe_local(folder).complete


def test_expected_databases_are_asked_of_every_node(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "20261101")
    found = layout.describe_local(folder, ["edxapp_files", "openedx_4"])
    assert found.problems == tuple(f"node {node}: lacks openedx_4" for node in NODES)


@pytest.mark.parametrize(
    ("id", "day"),
    [("20261101", "2026-11-01"), ("2026-week44", "2026-11-01"), ("2026-11", "2026-11-01"),
     ("20261301", None), ("2026-week60", None), ("other", None)],
)  # fmt: skip
def test_the_day_an_id_stands_for(id: str, day: str | None) -> None:
    made = layout.made_by_id(id)
    assert (made and f"{made:%Y-%m-%d}") == day


async def test_both_places_newest_first_daily_before_its_copies(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    for day in ("20261031", "20261101"):
        make_backup(root / "daily" / day)
    for copy in ("weekly/2026-week44", "monthly/2026-11"):
        shutil.copytree(root / "daily/20261101", root / copy)
    (root / "daily/20261102.part").mkdir()
    (root / "lost+found").mkdir()
    host = Here("backup", tmp_path / "home")
    found = await layout.find_remote(host, str(root))
    assert [one.title for one in found] == [
        "20261101 (daily)",
        "2026-week44 (weekly)",
        "2026-11 (monthly)",
        "20261031 (daily)",
    ]
    assert all(one.complete for one in found)

    local = make_backup(tmp_path / "pc/20261030").parent
    make_backup(local / "20261101", nodes=NODES[:1], manifest=False)
    (local / "notes").mkdir()
    merged = choice.candidates(found, layout.find_local(local))
    assert [one.id for one in merged] == ["20261101", "2026-week44", "2026-11", "20261031", "20261030"]
    assert merged[0].best.place == "backup"


async def test_an_empty_backup_folder_is_seen_as_incomplete(tmp_path: Path) -> None:
    (tmp_path / "backup/daily/20261101").mkdir(parents=True)
    (found,) = await layout.find_remote(Here("backup", tmp_path / "home"), f"{tmp_path}/backup")
    assert not found.complete


async def test_no_backup_folder_could_not_look(tmp_path: Path) -> None:
    with pytest.raises(CouldNotLook, match="cannot be listed"):
        await layout.find_remote(Here("backup", tmp_path / "home"), f"{tmp_path}/nowhere")


async def test_the_chosen_folder(tmp_path: Path) -> None:
    site = make_site(backup=Backup(local=str(tmp_path)))
    with pytest.raises(ActionFailed, match="No complete backup"):
        await choice.chosen_folder(make_look(site=site))
    make_backup(tmp_path / "20261102", manifest=False)
    good = make_backup(tmp_path / "20261101")
    assert await choice.chosen_folder(make_look(site=site)) == good
    look = make_look(site=site, outputs={"backup_path": str(tmp_path / "gone")})
    with pytest.raises(ActionFailed, match="gone from this PC"):
        await choice.chosen_folder(look)


def test_the_configuration_archive_is_found_in_every_shape(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "20261101")
    own = layout.config_archive(folder, "10.0.1.11")
    assert own == folder / "node-10.0.1.11/config.tar.gz"
    own.unlink()
    assert layout.config_archive(folder, "10.0.1.11") == folder / "node-10.0.1.10/config.tar.gz"
    for one in folder.glob("node-*/config.tar.gz"):
        one.unlink()
    assert layout.config_archive(folder, "10.0.1.11") is None
    (folder / "backup_file.tar.gz").write_bytes(b"x")
    assert layout.config_archive(folder, "10.0.1.11") == folder / "backup_file.tar.gz"
