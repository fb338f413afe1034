"""backup.verify as a step: planned, carried out, on record in the journal and beside the backup."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook.actions.backup.verify import Verify, VerifyParams
from runbook.backup import ledger
from runbook.errors import ActionFailed
from runbook.site.model import Backup
from tests.unit.backups import make_backup
from tests.unit.doubles import make_context, make_look, make_site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_backup(tmp_path / "backup/daily/20261101")


async def test_a_good_one(tmp_path: Path, folder: Path) -> None:
    site = make_site(backup=Backup(remote=f"{tmp_path}/backup"))
    params, action = VerifyParams(path=str(folder)), Verify()
    assert "never verified" in (await action.probe(make_look(site=site), params)).summary
    context = make_context(site=site)
    plan = await action.plan(context, params)
    assert str(folder) in plan.summary and not plan.changes
    done = await action.act(context, params, plan)
    assert done.outputs == {"verified_path": str(folder), "verdict": "sound"}
    (entry,) = ledger.read(folder.parent)
    assert entry.verdict == "sound"
    assert "as sound" in (await action.probe(make_look(site=site), params)).summary


async def test_a_damaged_one_fails_the_step(tmp_path: Path, folder: Path) -> None:
    site = make_site(backup=Backup(remote=f"{tmp_path}/backup"))
    (folder / "node-10.0.1.10/_users.json").write_bytes(b"{")
    context, params = make_context(site=site), VerifyParams()
    chosen = make_context(site=site, outputs={"backup_path": str(folder)})
    plan = await Verify().plan(chosen, params)
    with pytest.raises(ActionFailed, match=r"is damaged\. Nothing of it was changed"):
        await Verify().act(context, params, plan)
    assert ledger.read(folder.parent)[0].verdict == "damaged"
