"""Backups as calendars: each day, week and month with a word for what is there or lacks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from runbook.backup.inventory import Inventory, Item, Place
from runbook.backup.ledger import Entry, Verdict
from runbook.backup.overview import Row, rows

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)  # a Thursday
VM = Place(name="backup VM", path="/backup", state="looked")


def item(id: str, tier: str = "daily", made: datetime | None = None, **more: object) -> Item:
    known: dict[str, object] = {
        "place": "backup VM" if tier != "local" else "this PC",
        "path": f"/backup/{tier}/{id}",
        "bytes": 1000,
        "files": 9,
        "nodes": ("10.0.1.10",),
        "archive": False,
        "manifest": "there",
        "complete": True,
        "problems": (),
        "verified": None,
    }
    return Item(id=id, tier=tier, made=made, **(known | more))  # type: ignore[arg-type]


def daily(day: int, **more: object) -> Item:
    return item(f"202611{day:02}", made=datetime(2026, 11, day, 1, tzinfo=UTC), **more)


def verified(verdict: Verdict) -> Entry:
    return Entry(id="x", path="/x", at=NOW - timedelta(days=1), verdict=verdict)


def drawn(backups: list[Item], *places: Place, now: datetime = NOW, zone: timezone = UTC) -> list[Row]:
    return rows(Inventory(at=now, places=places or (VM,), backups=tuple(backups)), zone)


def words(row: Row) -> dict[str, str]:
    return {cell.id: cell.word for cell in row.cells}


def test_each_day_has_its_word() -> None:
    found = [
        daily(26, verified=verified("sound")),
        daily(25, verified=verified("doubtful")),
        daily(24, verified=verified("damaged")),
        daily(23, complete=False, problems=("node 10.0.1.10: lacks _users",)),
        daily(21),
        daily(20),
    ]
    row = drawn(found)[0]
    assert row.title == "Backup VM, daily"
    assert words(row) == {
        "20261126": "verified",
        "20261125": "doubtful",
        "20261124": "damaged",
        "20261123": "partial",
        "20261122": "missing",
        "20261121": "present",
        "20261120": "present",
    }
    assert [cell.label for cell in row.cells][:2] == ["Thu 26 Nov", "Wed 25 Nov"]
    assert row.cells[4].item is None and any("20261122" in text for text in row.remarks)


def test_what_is_not_late_yet_is_due_and_not_missing() -> None:
    night = datetime(2026, 11, 26, 0, 30, tzinfo=UTC)
    found = [daily(day) for day in range(19, 26)]
    row = drawn(found, now=night)[0]
    assert words(row)["20261126"] == "due" and "missing" not in words(row).values()
    making = drawn([*found, daily(26, complete=False)], now=night + timedelta(minutes=50))[0]
    assert words(making)["20261126"] == "making"
    late = drawn(found, now=night + timedelta(hours=9))[0]
    assert words(late)["20261126"] == "missing"


def test_the_day_is_the_one_at_the_backup_vm() -> None:
    west = timezone(timedelta(hours=-8))
    row = drawn([daily(day) for day in range(19, 26)], now=NOW.replace(hour=3), zone=west)[0]
    assert row.cells[0].id == "20261125"  # there it is still the 25th


def test_weeks_months_pinned_and_other_places() -> None:
    found = [
        item("2026-week47", "weekly", datetime(2026, 11, 22, 1, tzinfo=UTC)),
        item("2026-11", "monthly", datetime(2026, 11, 1, 1, tzinfo=UTC)),
        item("20261101", "pinned"),
        item("20261020", "local"),
        item("20261021", "local", archive=True),
    ]
    absent = Place(name="copy 1", path="/mnt/usb", state="absent")
    unknown = Place(name="copy 2", path="/mnt/nas", state="unknown", problem="/mnt/nas cannot be read: I/O")
    here = Place(name="this PC", path="/home/me/backups", state="looked")
    made = {row.title: row for row in drawn(found, VM, here, absent, unknown)}
    assert words(made["Backup VM, weekly"])["2026-week47"] == "present"
    assert made["Backup VM, monthly"].cells[0].label == "Nov 2026"
    assert words(made["Backup VM, pinned"]) == {"20261101": "present"}
    assert words(made["This PC"]) == {"20261020": "present", "20261021": "archive"}
    assert made["copy 1"].remarks == ("/mnt/usb is not there now",)
    assert "cannot be read" in made["copy 2"].remarks[0] and not made["copy 2"].cells


def test_names_that_no_schedule_gives_are_shown_all_the_same() -> None:
    row = drawn([daily(26), item("before-upgrade")])[0]
    assert words(row)["before-upgrade"] == "present"
