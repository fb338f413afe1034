"""Every backup of every place in one table, with what is known of it and what could not be looked at."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.backup import inventory, layout, ledger
from runbook.backup.cli import list as listing
from runbook.backup.cli.looked import as_json
from runbook.backup.inventory import Inventory
from runbook.backup.ledger import Entry
from runbook.context import Look
from runbook.errors import EXIT_FAILED, EXIT_OK, EXIT_UNKNOWN, HostError, OutcomeUnknown, Unreachable
from runbook.site.model import Backup
from tests.unit.backups import make_backup
from tests.unit.doubles import FakeClock, ScriptedHost, make_look, make_site
from tests.unit.here import Here

NOW = FakeClock().now()


def shown(found: Inventory) -> str:
    """As it is printed, where lines end left aside."""
    return " ".join(listing.text(found).split())


class World:
    """A backup VM, this PC and two further folders, all of them folders of the test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.vm, self.pc, self.drive = root / "backup", root / "pc", root / "drive"
        self.host: ScriptedHost = Here("backup", root / "home")
        make_backup(self.vm / "daily/20261124")
        make_backup(self.pc / "20261120")

    def look(self) -> Look:
        settings = Backup(
            remote=str(self.vm), local=str(self.pc), copies=(str(self.drive), str(self.root / "absent"))
        )
        return make_look(
            ScriptedHost("operator"),
            self.host,
            site=make_site(backup=settings),
            clock=FakeClock(),
            run_dir=self.root,
        )

    async def take(self) -> Inventory:
        return await inventory.take(self.look())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def entry(path: Path | str, at: datetime = NOW, verdict: ledger.Verdict = "sound", first: str = "") -> Entry:
    return Entry(id=Path(path).name, path=str(path), at=at, verdict=verdict, first=first)


async def test_every_place_newest_first(world: World) -> None:
    shutil.copytree(world.vm / "daily/20261124", world.vm / "weekly/2026-week47")
    shutil.copytree(world.pc / "20261120", world.drive / "20261120")
    (world.vm / "daily/20261123.tar.gz").write_bytes(b"x" * 2000)
    (world.pc / "20261119.tar.gz").write_bytes(b"x" * 3000)
    found = await world.take()
    assert [(listing.where(one), one.id) for one in found.backups] == [
        ("VM daily", "20261124"),
        ("VM weekly", "2026-week47"),
        ("VM daily", "20261123"),
        ("this PC", "20261120"),
        ("copy 1", "20261120"),
        ("this PC", "20261119"),
    ]
    assert [one.state for one in found.places] == ["looked", "looked", "looked", "absent"]
    text = listing.text(found)
    assert all(len(line) <= 80 for line in text.splitlines() if "/" not in line)
    assert "absent is not there now" in shown(found)
    assert listing.exit_code(found) == EXIT_OK
    archive = found.backups[5]
    assert archive.archive and archive.bytes == 3000 and archive.nodes == ()
    assert "unpack it into a folder '20261119'" in shown(found)


async def test_a_machine_that_cannot_be_reached_is_a_line(world: World) -> None:
    world.host = ScriptedHost("backup")
    world.host.down = Unreachable("backup", "No connection to backup\x1b[2J.")
    found = await world.take()
    assert [one.id for one in found.backups] == ["20261120"]
    assert "? backup VM could not be looked at: No connection to backup." in listing.text(found)
    assert listing.exit_code(found) == EXIT_UNKNOWN


async def test_nothing_anywhere(world: World) -> None:
    shutil.rmtree(world.vm / "daily/20261124")
    shutil.rmtree(world.pc)
    found = await world.take()
    assert "backup VM: no backup in" in listing.text(found) and listing.exit_code(found) == EXIT_FAILED


# ── what is known of a verification ────────────────────────────────────────────────────────
async def test_verifications_lie_beside_the_backups_there_or_here(world: World) -> None:
    day = world.vm / "daily/20261124"
    ledger.add(day.parent, entry(day, NOW - timedelta(days=3)))
    ledger.add(world.pc, entry(day, NOW - timedelta(days=1), "doubtful"))
    ledger.add(world.pc, entry(world.pc / "20261120", NOW - timedelta(days=2), "damaged", "a row is gone"))
    found = await world.take()
    assert [listing.verified(one) for one in found.backups] == ["2026-11-23 doubtful", "2026-11-22 damaged"]
    assert listing.exit_code(found) == EXIT_FAILED
    assert "! 20261120 (this PC): damaged: a row is gone" in listing.text(found)


async def test_what_was_said_of_another_copy_is_not_said_of_this_one(world: World) -> None:
    shutil.copytree(world.pc / "20261120", world.drive / "20261120")
    ledger.add(world.pc, entry(world.pc / "20261120"))
    found = await world.take()
    verified = {one.place: listing.verified(one) for one in found.backups}
    assert verified["this PC"] == "2026-11-24 sound" and verified["copy 1"] == "never"


async def test_a_drive_mounted_elsewhere_keeps_its_verifications(world: World) -> None:
    shutil.copytree(world.pc / "20261120", world.drive / "20261120")
    ledger.add(world.drive, entry("/media/other/20261120"))
    found = await world.take()
    assert [listing.verified(one) for one in found.backups if one.place == "copy 1"] == ["2026-11-24 sound"]


def test_what_is_dated_in_the_future_is_not_believed(tmp_path: Path) -> None:
    backup = layout.describe_local(make_backup(tmp_path / "20261120"))
    early, late = entry(backup.path, NOW - timedelta(days=9)), entry(backup.path, NOW + timedelta(days=400))
    assert inventory.last_verified(backup, [early, late], [], NOW) == early
    assert inventory.last_verified(backup, [late], [], NOW) is None
    naive = entry(backup.path, datetime(2026, 11, 1))
    assert inventory.last_verified(backup, [naive], [], NOW) is None


async def test_a_ledger_beyond_all_measure_is_read_at_its_end(world: World) -> None:
    for backup in (world.vm / "daily/20261124", world.pc / "20261120"):
        with (backup.parent / ledger.NAME).open("wb") as file:
            file.truncate(1_000_000_000)  # sparse: a gigabyte of NUL, no line end
        ledger.add(backup.parent, entry(backup))
    found = await world.take()
    assert [listing.verified(one) for one in found.backups] == ["2026-11-24 sound", "2026-11-24 sound"]


# ── bad input ──────────────────────────────────────────────────────────────────────────────
async def test_names_with_line_ends_escapes_and_bytes(world: World) -> None:
    names = ["a\nb", "\x1b]0;x\x07red", os.fsdecode(b"\xff\xfe"), "-rf", "$(id)", "x" * 200]
    for name in names:
        make_backup(world.vm / "daily" / name, made="2026-11-01T01:00:00+00:00")
        make_backup(world.pc / name, made="2026-11-01T01:00:00+00:00")
    found = await world.take()
    assert {one.id for one in found.backups} == {"20261124", "20261120", *names}
    text = listing.text(found)
    assert "\x1b" not in text and "\x07" not in text
    assert all(len(line) <= 80 for line in text.splitlines() if "/" not in line)
    again = json.loads(as_json(found))
    assert {one["id"] for one in again["backups"]} == {one.id for one in found.backups}


async def test_a_manifest_of_a_gigabyte_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_bytes(path: str, *, limit: int = 0) -> bytes:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(world.host, "read_bytes", read_bytes)
    for folder in (world.vm / "daily/20261124", world.pc / "20261120"):
        with (folder / "backup_manifest.json").open("wb") as file:
            file.truncate(1_000_000_000)
    found = await world.take()
    assert all(
        "larger than 4 MB" in one.problems[0] and one.manifest == "bad" and not one.complete
        for one in found.backups
    )


async def test_links_in_circles_and_folders_that_are_no_backups(world: World) -> None:
    (world.pc / "loop").symlink_to(world.pc)
    (world.pc / "20261120/loop").symlink_to(world.pc)
    (world.pc / "20261118.part").mkdir()
    (world.pc / ".tar.gz").write_bytes(b"x")
    (world.pc / "notes").mkdir()
    (world.vm / "daily/20261122.part").mkdir()
    found = await world.take()
    assert [one.id for one in found.backups] == ["20261124", "20261120"]


async def test_what_cannot_be_read_is_told_and_the_rest_is_shown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_backup(world.pc / "20261101")
    really = os.listdir

    def listdir(path: str | Path) -> list[str]:
        if str(path).endswith("20261101"):
            raise PermissionError(13, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr("runbook.backup.layout.os.listdir", listdir)
    assert isinstance(world.host, Here)
    world.host.program("find", '/usr/bin/find "$@"; echo "find: /x: Permission denied" >&2; exit 1')
    found = await world.take()
    assert [one.id for one in found.backups] == ["20261124", "20261120"]
    text = shown(found)
    assert "20261101 cannot be read: Permission denied" in text
    assert "? backup VM: find: /x: Permission denied" in text
    assert listing.exit_code(found) == EXIT_UNKNOWN


@pytest.mark.parametrize("lost", [False, True])
async def test_a_manifest_that_cannot_be_read_and_a_connection_that_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    async def read_bytes(path: str, *, limit: int = 0) -> bytes:
        raise OutcomeUnknown("backup", "lost") if lost else HostError("backup", "Permission denied")

    monkeypatch.setattr(world.host, "read_bytes", read_bytes)
    found = await world.take()
    if lost:
        assert found.places[0].state == "unknown" and [one.id for one in found.backups] == ["20261120"]
    else:
        assert found.backups[0].problems[0] == "backup_manifest.json cannot be read"


async def test_manifests(world: World) -> None:
    (world.pc / "20261120/backup_manifest.json").write_text("{}")
    make_backup(world.pc / "20261119", manifest=False)
    (world.pc / "20261118.tar.gz").write_bytes(b"x")
    found = await world.take()
    assert [one.manifest for one in found.backups] == ["there", "bad", "none", "unknown"]


async def test_a_file_where_the_folder_should_be(world: World) -> None:
    shutil.rmtree(world.pc)
    world.pc.write_text("x")
    found = await world.take()
    assert [one.id for one in found.backups] == ["20261124"]


async def test_the_root_may_be_a_link_to_a_volume(world: World) -> None:
    real = world.root / "volume"
    world.vm.rename(real)
    world.vm.symlink_to(real)
    assert "20261124" in [one.id for one in (await world.take()).backups]


def test_an_archive_is_never_chosen_by_itself(tmp_path: Path) -> None:
    (tmp_path / "20261125.tar.gz").write_bytes(b"x")
    (tmp_path / "20261126.tar.gz").write_bytes(b"")
    found = layout.find_local(tmp_path)
    assert [(one.id, one.complete) for one in found] == [("20261126", False), ("20261125", False)]
    assert found[0].problems == ("is an empty file",)


@given(st.integers(0, 5000), st.booleans())
def test_ages_keep_their_width(hours: int, future: bool) -> None:
    made = NOW + timedelta(hours=hours + 1) if future else NOW - timedelta(hours=hours)
    assert len(listing.age(made, NOW)) <= 7
    assert (listing.age(made, NOW) == "future") is future


def test_the_verb(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from runbook.workbench import Workbench

    make_backup(tmp_path / "pc/20261120")
    settings = make_site(backup=Backup(local=str(tmp_path / "pc"), remote="/backup"))
    machines = type(settings.machines)(production=settings.machines.production)
    site = make_site(backup=settings.backup, machines=machines)
    bench = Workbench(tmp_path / "state", site=site, clock=FakeClock())
    code = listing.run(argparse.Namespace(bench=bench, from_run="", json=True))
    told = json.loads(capsys.readouterr().out)
    assert code == EXIT_UNKNOWN
    assert told["places"][0]["state"] == "unknown" and told["backups"][0]["id"] == "20261120"
    assert datetime.fromisoformat(told["at"]) == datetime(2026, 11, 24, 3, tzinfo=UTC)
