"""The ledger of verifications: appended, read back, damage passed over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runbook.backup import ledger
from runbook.backup.ledger import Entry, Verdict

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def entry(id: str, verdict: Verdict = "sound", hours: int = 0) -> Entry:
    return Entry(id=id, path=f"/b/{id}", at=NOW + timedelta(hours=hours), verdict=verdict)


def test_what_was_added_is_read_back(tmp_path: Path) -> None:
    assert ledger.read(tmp_path) == []
    added = [entry("20261101"), entry("20261102", "damaged"), entry("20261101", "doubtful", 1)]
    for one in added:
        ledger.add(tmp_path, one)
    assert ledger.read(tmp_path) == added
    assert ledger.last(added, "20261101") == added[2] and ledger.last(added, "20261103") is None
    assert (tmp_path / ledger.NAME).stat().st_mode & 0o777 == 0o600


def test_the_newest_counts_whatever_its_line() -> None:
    assert ledger.last([entry("a", "damaged", 5), entry("a", "sound", 1)], "a") == entry("a", "damaged", 5)


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    ledger.add(tmp_path, entry("20261101"))
    with (tmp_path / ledger.NAME).open("ab") as file:
        file.write(b'{"id":"cut off\n\xff\xfe\n{"id":"x","path":"p","at":"no time","verdict":"sound"}\n')
    ledger.add(tmp_path, entry("20261102"))
    assert [one.id for one in ledger.read(tmp_path)] == ["20261101", "20261102"]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("untouched")
    (tmp_path / ledger.NAME).symlink_to(other)
    with pytest.raises(OSError):
        ledger.add(tmp_path, entry("20261101"))
    assert other.read_text() == "untouched"
