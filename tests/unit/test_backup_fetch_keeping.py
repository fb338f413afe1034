"""The latest N stay; never is the newest verified one deleted, nor one that a run or the settings name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.backup import ledger, sums
from runbook.backup.fetching import keeping
from runbook.backup.layout import Backup
from runbook.backup.ledger import Entry, Verdict
from runbook.errors import ActionFailed

FIRST = datetime(2026, 11, 1, 1, tzinfo=UTC)


def copy(day: int, problems: tuple[str, ...] = (), archive: bool = False) -> Backup:
    made = FIRST + timedelta(days=day)
    name = f"{made:%Y%m%d}"
    return Backup(
        id=name, place="operator", tier="local", path=f"/pc/{name}{'.tar.gz' if archive else ''}", made=made,
        nodes={}, files={"a": 1000}, manifest=None, problems=problems, archive=archive,
    )  # fmt: skip


def verified(backup: Backup, verdict: Verdict = "sound") -> Entry:
    return Entry(id=backup.id, path=backup.path, at=FIRST + timedelta(days=100), verdict=verdict)


def gone(
    backups: list[Backup], entries: list[Entry], keep: int, held: dict[str, str] | None = None
) -> list[str]:
    found = keeping.surplus(backups, entries, keep, held or {})
    return [path.rpartition("/")[2] for path in found.paths]


def test_the_oldest_go_first() -> None:
    copies = [copy(day) for day in range(5)]
    assert gone(copies, [], 3) == ["20261101", "20261102"]
    assert gone(copies, [], 5) == []


def test_what_stays_whatever_is_kept() -> None:
    copies = [copy(day) for day in range(5)]
    assert gone(copies, [verified(copies[1])], 1) == ["20261101", "20261103", "20261104"]
    assert gone(copies, [verified(copies[0]), verified(copies[4])], 1) == [
        "20261101", "20261102", "20261103", "20261104",
    ]  # fmt: skip
    assert gone(copies, [], 1, {"20261102": "run r holds it"}) == ["20261101", "20261103", "20261104"]


def test_what_is_not_good_neither_counts_nor_goes() -> None:
    copies = [copy(0), copy(1), copy(2, ("cut off",)), copy(3)]
    assert gone(copies, [verified(copies[3], "damaged")], 1) == ["20261101"]
    found = keeping.surplus(copies, [verified(copies[3], "damaged")], 1, {})
    assert any("20261104 was found damaged" in text for text in found.spared)
    assert any("20261103 is not complete" in text for text in found.spared)


def test_a_newer_verification_counts() -> None:
    one = copy(0)
    older = msgspec.structs.replace(verified(one, "damaged"), at=FIRST)
    assert gone([one, copy(1), copy(2)], [older, verified(one)], 1) == ["20261102"]


def test_folder_and_archive_of_one_id_are_one() -> None:
    assert gone([copy(0), copy(1), copy(1, archive=True), copy(2)], [], 2) == ["20261101"]


@given(
    st.lists(st.integers(0, 60), unique=True, max_size=20),
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["sound", "doubtful", "damaged"])), max_size=20),
    st.integers(1, 12),
    st.sets(st.integers(0, 60), max_size=3),
)
def test_rules(days: list[int], verdicts: list[tuple[int, Verdict]], keep: int, holds: set[int]) -> None:
    copies = [copy(day) for day in days]
    entries = [verified(copy(day), verdict) for day, verdict in dict(verdicts).items()]
    held = {copy(day).id: "held" for day in holds}
    found = keeping.surplus(copies, entries, keep, held)
    left = [one for one in copies if one.path not in found.paths]
    bad = {one.path for one in entries if one.verdict == "damaged"}
    good = [one for one in left if one.path not in bad]
    assert len(good) >= min(keep, len([one for one in copies if one.path not in bad]))
    assert not {one.id for one in copies if one.path in found.paths} & held.keys()
    known = [one for one in copies if any(e.path == one.path and e.verdict != "damaged" for e in entries)]
    if known:
        assert max(known, key=lambda one: one.id).path not in found.paths
    assert sum(one.bytes for one in copies) == sum(one.bytes for one in left) + found.bytes


# ── on a disk ──────────────────────────────────────────────────────────────────────────────
def test_deleting_takes_the_name_first(tmp_path: Path) -> None:
    folder = tmp_path / "20261101"
    (folder / "node-1").mkdir(parents=True)
    (folder / "node-1/a").write_bytes(b"12345")
    sums.path_beside(folder).write_text("x")
    assert keeping.delete(folder) == 5
    assert not list(tmp_path.iterdir())
    (tmp_path / ".20261101.deleted.part/node-1").mkdir(parents=True)  # interrupted
    keeping.clear(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_deleted_is_said(tmp_path: Path) -> None:
    with pytest.raises(ActionFailed, match="could not be deleted"):
        keeping.delete(tmp_path / "20261101")


def test_nothing_there(tmp_path: Path) -> None:
    assert keeping.look(tmp_path / "none", (), "local") == ((), [])
    assert ledger.read(tmp_path) == []
