"""``runbook backup fetch`` on the lab, with nobody at a terminal: what it says, does, and exits with."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from runbook.backup.cli import main
from runbook.backup.fetching import lock, log
from runbook.errors import StateError, UseError, WaitsForPerson
from runbook.hosts import localfiles
from runbook.workbench import Workbench
from tests.lab.conftest import Lab


class Fetch:
    def __init__(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        self.site = lab.layout.site / "runbook.toml"
        self.pc = lab.layout.backups
        self._state, self._capsys = lab.state, capsys

    async def __call__(self, *argv: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)"""
        bench = Workbench(self._state, self.site)
        code = await asyncio.to_thread(main, ["fetch", *argv], bench)
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err

    def setting(self, old: str, new: str) -> None:
        text = self.site.read_text()
        assert old in text
        self.site.write_text(text.replace(old, new))

    def backups(self) -> list[str]:
        return sorted(one.name for one in self.pc.iterdir() if one.name[0] in "2")


@pytest.fixture
def fetch(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Fetch:
    return Fetch(lab, capsys)


async def test_a_dry_run_changes_nothing(fetch: Fetch) -> None:
    before = localfiles.manifest(fetch.pc)
    code, out, err = await fetch("--dry-run", "--keep", "1")
    assert code == 0 and not out and "to move" in err and "Nothing was done" in err
    assert "would be deleted" in err  # the sample's older copy
    assert localfiles.manifest(fetch.pc) == before


async def test_the_newest_is_brought_and_without_yes_nothing_goes(lab: Lab, fetch: Fetch) -> None:
    (old,) = fetch.backups()
    code, _, err = await fetch("--keep", "1")
    assert code == 0 and "is sound" in err and "Nothing is deleted: nobody is here" in err
    newest = max(one.name for one in (lab.layout.remote_backups / "daily").iterdir())
    assert fetch.backups() == [old, newest]
    there = lab.layout.remote_backups / "daily" / newest
    assert localfiles.manifest(fetch.pc / newest) == localfiles.manifest(there)
    code, out, err = await fetch("--keep", "1", "--yes", "--json")
    found: dict[str, Any] = json.loads(out)
    assert code == 0 and not found["brought"] and found["verdict"] == "sound"
    assert [Path(path).name for path in found["deleted"]] == [old] and fetch.backups() == [newest]
    assert f"Deleted {fetch.pc / old}" in (fetch.pc / log.NAME).read_text()


async def test_damaged_on_the_vm(lab: Lab, fetch: Fetch) -> None:
    newest = max((lab.layout.remote_backups / "daily").iterdir())
    dump = next(newest.glob("node-*/_users.json"))
    dump.write_bytes(dump.read_bytes()[:-100])
    before = fetch.backups()
    code, _, err = await fetch("--yes", "--keep", "1")
    assert code == 1 and "DAMAGED" in err and "What next" in err
    aside = [name for name in fetch.backups() if ".damaged-" in name]
    assert len(aside) == 1 and sorted([*before, *aside]) == fetch.backups()


async def test_an_unknown_key_waits_for_a_person(fetch: Fetch, tmp_path: Path) -> None:
    fetch.setting("known_hosts = ", f'known_hosts = "{tmp_path}/none" # ')
    with pytest.raises(WaitsForPerson, match="SHA256:") as error:
        await fetch()
    assert "Once, on a terminal: runbook --site" in error.value.next
    assert not (tmp_path / "none").exists()


async def test_what_cannot_be_done_is_told_by_its_exit_code(lab: Lab, fetch: Fetch) -> None:
    with pytest.raises(UseError, match="no backup 20990101"):
        await fetch("--id", "20990101")
    with lock.alone(fetch.pc), pytest.raises(StateError, match="under way"):
        await fetch()
    code, _, err = await fetch("--copy-to", str(fetch.pc / "nowhere"))
    assert code == 1 and "is its drive mounted" in err
    await lab.call("break", fault="vm-down", machine="backup")
    code, out, err = await fetch()
    assert code == 4 and not out and "cannot be reached" in err
