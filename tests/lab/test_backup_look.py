"""``runbook backup list|retention|safeguards`` on the lab: real SSH, real find, crontab, date, df."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

import pytest

from runbook.backup.cli import main
from runbook.workbench import Workbench
from tests.lab.conftest import Lab


class Command:
    def __init__(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        self._bench = Workbench(lab.state, lab.layout.site / "runbook.toml")
        self._capsys = capsys

    async def text(self, *argv: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, list(argv), self._bench)
        return code, self._capsys.readouterr().out

    async def json(self, *argv: str) -> tuple[int, Any]:
        code, out = await self.text(*argv, "--json")
        return code, json.loads(out)


@pytest.fixture
def backup(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(lab, capsys)


async def test_list(lab: Lab, backup: Command) -> None:
    code, found = await backup.json("list")
    tiers = [one["tier"] for one in found["backups"]]
    counts = {tier: tiers.count(tier) for tier in set(tiers)}
    assert code == 0 and counts == {"daily": 7, "weekly": 4, "monthly": 12, "local": 1}
    assert all(one["complete"] and len(one["nodes"]) == 3 for one in found["backups"])
    assert {one["manifest"] for one in found["backups"]} == {"there"}
    days = [one["made"] for one in found["backups"]]
    assert days == sorted(days, reverse=True)
    code, text = await backup.text("list")
    assert code == 0 and all(len(line) <= 80 for line in text.splitlines())

    await lab.call("break", fault="missing-dump", machine="")
    code, text = await backup.text("list")
    assert code == 1 and "lacks edxapp_files" in text
    await lab.call("break", fault="vm-down", machine="backup")
    code, found = await backup.json("list")
    assert code == 4 and found["places"][0]["state"] == "unknown"
    assert [one["tier"] for one in found["backups"]] == ["local"]


async def test_retention(lab: Lab, backup: Command) -> None:
    code, found = await backup.json("retention")
    assert code == 0 and found["zone"] == "+0000" and found["room"]["free"] > 0
    assert [(one["found"], one["keep"]) for one in found["tiers"]] == [(7, 7), (4, 4), (12, 12)]
    assert len(found["schedule"]["active"]) == 3

    gone = sorted(one.name for one in (lab.layout.remote_backups / "monthly").iterdir())[4]
    shutil.rmtree(lab.layout.remote_backups / "monthly" / gone)
    code, text = await backup.text("retention")
    assert code == 1 and f"missing: {gone}" in text
    assert all(len(line) <= 80 for line in text.splitlines())


async def test_safeguards(lab: Lab, backup: Command) -> None:
    code, found = await backup.json("safeguards")
    verdicts = {one["check"].removeprefix("safeguard."): one["verdict"] for one in found}
    assert code == 1
    assert verdicts["second_copy"] == "fail" and verdicts["media"] == "unknown"
    assert verdicts["retention"] == "pass" and verdicts["verified"] == "fail"
    code, text = await backup.text("safeguards", "--answer", "media", "in the safe")
    assert "in the safe" in text and all(len(line) <= 80 for line in text.splitlines())
