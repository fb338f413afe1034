"""``runbook backup verify`` on the lab: beside the backup over SSH, and here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runbook.backup import ledger
from runbook.errors import UseError
from tests.lab.conftest import Lab
from tests.lab.test_backup_look import Command


@pytest.fixture
def backup(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(lab, capsys)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_every_tier_is_sound_where_it_lies(lab: Lab, backup: Command) -> None:
    root = lab.layout.remote_backups
    newest = sorted(one.name for one in (root / "daily").iterdir())[-1]
    monthly = sorted(one.name for one in (root / "monthly").iterdir())[-1]
    before, here = content(root / "daily" / newest), content(lab.layout.backups)
    code, found = await backup.json("verify", newest, "--on", "backup")
    assert (code, found["verdict"], found["machine"]) == (0, "sound", "backup")
    assert found["way"] and sum(found["documents"].values()) > 15_000
    code, text = await backup.text("verify", f"backup:{root}/monthly/{monthly}")
    assert code == 0 and "SOUND" in text and "Rebuildable from this alone: no" in text
    assert [one.id for one in ledger.read(root / "daily")] == [newest]
    assert content(root / "daily" / newest) == before and content(lab.layout.backups) == here
    with pytest.raises(UseError, match="There is no backup 20000101"):
        await backup.text("verify", "20000101", "--on", "backup")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("cut-dump", "is cut off after row"),
        ("unsafe-tar", "Archive refused"),
        ("missing-dump", "lacks edxapp_files"),
    ],
)
async def test_what_the_lab_breaks_is_found(lab: Lab, backup: Command, fault: str, words: str) -> None:
    await lab.call("break", fault=fault, machine="")
    newest = sorted(one.name for one in (lab.layout.remote_backups / "daily").iterdir())[-1]
    code, text = await backup.text("verify", newest, "--on", "backup")
    said = " ".join(text.split())
    assert code == 1 and "DAMAGED" in said and words in said
    assert "another copy will be the same" in said  # it was damaged when its checksum was made
    code, text = await backup.text("verify", newest, "--on", "backup", "--reduced")
    assert "REDUCED look" in text and code == (1 if fault == "missing-dump" else 0)


async def test_the_copy_on_this_pc(lab: Lab, backup: Command) -> None:
    (mine,) = (one for one in lab.layout.backups.iterdir() if one.name.isdigit())
    code, text = await backup.text("verify", mine.name, "--write-sums")
    assert code == 0 and "SOUND" in text
    assert await asyncio.to_thread(mine.with_name(f"{mine.name}.sha256").is_file)
    code, found = await backup.json("verify", mine.name)
    checksum = next(one for one in found["findings"] if one["aspect"] == "checksum")
    assert checksum["state"] == "proven" and checksum["text"].endswith("calculated_checksum.txt")
    assert found["listed"] and not any("leaves out" in one for one in found["unproven"])
