"""Freezing and unfreezing on a real crontab program, real links and real copies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.action import NoParams
from runbook.actions.backup import Freeze, Unfreeze
from runbook.backup import freeze
from runbook.errors import ActionFailed, WaitsForPerson
from runbook.site.model import Backup, Site
from tests.unit.backups import make_backup
from tests.unit.doubles import make_context, make_look, make_site
from tests.unit.here import Here

CRONTAB = """# the platform's
MAILTO=ops@example.org
0 1 * * * /home/openedx/scripts/backup-daily.sh >> /var/log/backup.log 2>&1
  30 2 * * 0 /home/openedx/scripts/backup-weekly.sh
# 0 3 * * * /old/backup.sh
15 4 * * * /usr/bin/certbot renew
"""


class World:
    """A backup VM with two dailies, and a PC."""

    def __init__(self, folder: Path) -> None:
        self.root, self.pc, self.runs = folder / "backup", folder / "pc", folder / "runs"
        self.host = Here("backup", folder / "home")
        self.tab = folder / "tab"
        self.tab.write_text(CRONTAB)
        self.host.program("crontab", f'if [ "$1" = -l ]; then cat {self.tab}; else cat > {self.tab}; fi')
        for day in ("20261031", "20261101"):
            make_backup(self.root / "daily" / day)

    @property
    def site(self) -> Site:
        return make_site(backup=Backup(remote=str(self.root), local=str(self.pc)), operator="Ada")

    def context(self, run: str = "run1", **more: object):
        (self.runs / run).mkdir(parents=True, exist_ok=True)
        return make_context(self.host, site=self.site, run_dir=self.runs / run, **more)

    def look(self, run: str = "run1"):
        return make_look(self.host, site=self.site, run_dir=self.runs / run)

    async def freeze(self, run: str = "run1", **more: object):
        context = self.context(run, **more)
        plan = await Freeze().plan(context, NoParams())
        return await Freeze().act(context, NoParams(), plan), context


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_freeze_holds_the_newest(world: World) -> None:
    probe = await Freeze().probe(world.look(), NoParams())
    assert probe.satisfied is False and "backup-daily.sh" in probe.summary

    outcome, context = await world.freeze()

    assert outcome.outputs == {
        "backup_id": "20261101",
        "backup_path": f"{world.pc}/20261101",
        "backup_remote": f"{world.root}/pinned/20261101",
    }
    lines = world.tab.read_text().splitlines()
    assert lines[2] == freeze.MARK + CRONTAB.splitlines()[2]
    assert lines[3] == freeze.MARK + CRONTAB.splitlines()[3]
    assert lines[5] == CRONTAB.splitlines()[5]
    shutil.rmtree(world.root / "daily/20261101")  # pruned
    pinned = world.root / "pinned/20261101"
    assert (pinned / "node-10.0.1.10/openedx_1.json").read_bytes() == (
        world.pc / "20261101/node-10.0.1.10/openedx_1.json"
    ).read_bytes()
    data = next(data for _, data in context.voice.notes if data.get("kind") == "backup")
    assert data["id"] == "20261101" and data["tier"] == "daily" and len(data["checksum"]) == 32
    assert json.loads((world.root / ".runbook-lease.json").read_text())["who"] == "Ada"

    probe = await Freeze().probe(world.look(), NoParams())
    assert probe.satisfied and dict(probe.outputs) == dict(outcome.outputs)


async def test_unfreeze_puts_everything_back(world: World) -> None:
    await world.freeze()
    context = world.context()
    assert (await Unfreeze().probe(context, NoParams())).satisfied is False
    plan = await Unfreeze().plan(context, NoParams())
    await Unfreeze().act(context, NoParams(), plan)
    assert world.tab.read_text() == CRONTAB
    assert not (world.root / ".runbook-lease.json").exists()
    assert (world.root / "pinned/20261101").is_dir()
    assert (await Unfreeze().probe(context, NoParams())).satisfied is True


async def test_a_repeat_after_any_interruption_ends_right(world: World) -> None:
    context = world.context()
    plan = await Freeze().plan(context, NoParams())
    for moment in range(40):
        world.host.stop_at = moment
        try:
            await Freeze().act(context, NoParams(), plan)
            break
        except BaseException:
            continue
        finally:
            world.host.stop_at = None
    else:
        pytest.fail("it never came to its end")
    probe = await Freeze().probe(world.look(), NoParams())
    assert probe.satisfied, probe.summary
    assert world.tab.read_text().count(freeze.MARK) == 2
    assert [one.name for one in (world.root / "pinned").iterdir()] == ["20261101"]


async def test_the_plan_stays_the_same_while_the_world_does(world: World) -> None:
    first = await Freeze().plan(world.look(), NoParams())
    assert first.digest() == (await Freeze().plan(world.look(), NoParams())).digest()
    assert any("pinned/20261101" in item for item in first.items)


async def test_another_lease_is_asked_about(world: World) -> None:
    await world.freeze("theirs")
    with pytest.raises(WaitsForPerson):
        await world.freeze("ours")
    with pytest.raises(ActionFailed, match="left to them"):
        await world.freeze("ours", answers={"choice": "stop"})
    assert json.loads((world.root / ".runbook-lease.json").read_text())["run"] == "theirs"
    _, context = await world.freeze("ours", answers={"choice": "take"})
    assert "Ada" in context.voice.asked[0][1]
    assert any(data.get("kind") == "lease" for _, data in context.voice.notes)
    assert json.loads((world.root / ".runbook-lease.json").read_text())["run"] == "ours"


async def test_an_incomplete_newest_leads_to_a_question(world: World) -> None:
    (world.root / "daily/20261101/backup_manifest.json").write_bytes(b"")
    plan = await Freeze().plan(world.look(), NoParams())
    assert any("not complete" in item for item in plan.items)
    outcome, _ = await world.freeze(answers={"choice": "20261031"})
    assert outcome.outputs["backup_id"] == "20261031"


async def test_no_complete_backup_at_all(world: World) -> None:
    for manifest in world.root.glob("daily/*/backup_manifest.json"):
        manifest.unlink()
    with pytest.raises(ActionFailed, match="No complete backup"):
        await Freeze().plan(world.look(), NoParams())


async def test_a_local_copy_that_differs_is_kept_and_copied_anew(world: World) -> None:
    copy = world.pc / "20261101"
    shutil.copytree(world.root / "daily/20261101", copy)
    (copy / "node-10.0.1.10/_users.json").write_bytes(b"cut off")
    await world.freeze()
    names = sorted(one.name for one in world.pc.iterdir())
    assert names[0] == "20261101" and names[1].startswith("20261101.before-")
    assert (copy / "node-10.0.1.10/_users.json").read_bytes() != b"cut off"


async def test_without_a_crontab(world: World) -> None:
    world.host.program("crontab", 'echo "no crontab for openedx" >&2; exit 1')
    plan = await Freeze().plan(world.look(), NoParams())
    assert any("nothing to stop" in item for item in plan.items)


async def test_a_crontab_that_cannot_be_written(world: World) -> None:
    world.host.program("crontab", f'[ "$1" = -l ] && exec cat {world.tab}; echo denied >&2; exit 1')
    with pytest.raises(ActionFailed, match="denied"):
        await world.freeze()


@given(st.text(st.sampled_from("backup# \n\r\t*0\u2028é")), st.sampled_from(["backup", "0", "é"]))
def test_thaw_undoes_freeze(crontab: str, schedule: str) -> None:
    frozen = freeze.freeze(crontab, schedule)
    assert freeze.thaw(frozen) == crontab
    assert not freeze.active_lines(frozen, schedule)
