"""backup.fetch and backup.upload as steps: asked, planned, carried out, asked again."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runbook.actions.backup import Fetch, Upload
from runbook.actions.backup.fetch import FetchParams
from runbook.actions.backup.upload import UploadParams
from runbook.backup import uploading
from runbook.errors import ActionFailed, CouldNotLook
from runbook.hosts import localfiles
from runbook.hosts.local import LocalHost
from tests.unit.doubles import make_context
from tests.unit.fetches import World
from tests.unit.sshserver import SshServer

USERS = "node-10.0.1.10/_users.json"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    server = SshServer(tmp_path / "server")
    await server.start()
    server.trust()
    host = server.host()
    yield World(tmp_path, host)
    await host.close()
    await server.stop()


def context(world: World, tmp_path: Path, **site: object):
    (tmp_path / "state/runs/r").mkdir(parents=True, exist_ok=True)
    return make_context(
        world.host, LocalHost(), site=world.site(**site), run_dir=tmp_path / "state/runs/r", clock=world.clock
    )


async def test_a_fetch(world: World, tmp_path: Path) -> None:
    world.made("20261031")
    world.made("20261101")
    here, action, params = context(world, tmp_path), Fetch(), FetchParams()
    before = await action.probe(here, params)
    assert before.satisfied is False and "not on this PC" in before.summary
    plan = await action.plan(here, params)
    assert plan.digest() == (await action.plan(here, params)).digest()
    assert any("20261101" in item and "there is room" in item for item in plan.items) and not plan.changes
    done = await action.act(here, params, plan)
    assert done.outputs == {"backup_id": "20261101", "backup_path": str(world.pc / "20261101")}
    assert world.same("20261101")
    after = await action.probe(here, params)
    assert after.satisfied and dict(after.outputs) == dict(done.outputs)
    assert any(data.get("kind") == "backup_fetched" for _, data in here.voice.notes)


async def test_it_deletes_only_what_was_confirmed(world: World, tmp_path: Path) -> None:
    for day in ("20261030", "20261031"):
        world.made(day)
        await world.fetch()
    world.made("20261101")
    here, action = context(world, tmp_path, keep=2), Fetch()
    plan = await action.plan(here, FetchParams())
    assert not plan.changes
    plan = await action.plan(here, FetchParams(delete=True))
    assert plan.changes and any("delete" in item and "20261030" in item for item in plan.items)
    await action.act(here, FetchParams(delete=True), plan)
    assert world.names() == ["20261031", "20261101"]


async def test_a_damaged_one_fails_the_step(world: World, tmp_path: Path) -> None:
    (world.made("20261101") / USERS).write_bytes(b"{")
    here, action = context(world, tmp_path), Fetch()
    plan = await action.plan(here, FetchParams())
    with pytest.raises(ActionFailed, match="is damaged on the backup VM"):
        await action.act(here, FetchParams(), plan)
    assert (await action.probe(here, FetchParams())).satisfied is False


async def test_an_upload(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.made("20261101"), world.pc / "20261101")
    shutil.rmtree(world.root)
    here, action, params = context(world, tmp_path), Upload(), UploadParams()
    assert (await action.probe(here, params)).satisfied is False
    plan = await action.plan(here, params)
    done = await action.act(here, params, plan)
    target = world.root / "daily/20261101"
    assert done.outputs == {"backup_id": "20261101", "backup_remote": str(target)}
    assert localfiles.manifest(target) == localfiles.manifest(world.pc / "20261101")
    after = await action.probe(here, params)
    assert after.satisfied and dict(after.outputs) == dict(done.outputs)
    await action.act(here, params, plan)  # again: nothing is sent
    (target / USERS).write_bytes(b"x")
    assert "another one" in (await action.probe(here, params)).summary
    with pytest.raises(ActionFailed, match="Neither was touched"):
        await action.act(here, params, plan)
    assert (target / USERS).read_bytes() == b"x"


async def test_an_upload_of_what_is_not_there(world: World, tmp_path: Path) -> None:
    with pytest.raises(CouldNotLook, match="no backup"):
        await Upload().probe(context(world, tmp_path), UploadParams(path=str(tmp_path / "none")))


async def test_an_upload_of_an_archive(world: World, tmp_path: Path) -> None:
    folder = world.made("20261101")
    shutil.make_archive(str(world.pc / "20261101"), "gztar", folder.parent, folder.name)
    shutil.rmtree(world.root)
    here, params = context(world, tmp_path), UploadParams(path=str(world.pc / "20261101.tar.gz"))
    done = await Upload().act(here, params, await Upload().plan(here, params))
    assert done.outputs["backup_id"] == "20261101"
    assert (world.root / "daily/20261101.tar.gz").read_bytes() == (world.pc / "20261101.tar.gz").read_bytes()


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("20261101", "daily"),
        ("2026-week44", "weekly"),
        ("2026-11", "monthly"),
        ("before-the-update", "pinned"),
        ("20261101.tar.gz", "daily"),
    ],
)
def test_where_it_belongs(name: str, tier: str) -> None:
    assert uploading.place("/backup/", name) == f"/backup/{tier}/{name}"
