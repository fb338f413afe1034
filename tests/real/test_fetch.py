"""A fetch from OpenSSH's own sshd: the line cut three times, the disk full once; nothing is lost."""

from __future__ import annotations

import asyncio
import base64
import random
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from runbook.backup import layout, ledger
from runbook.backup.fetching import fetch, room
from runbook.backup.fetching.fetch import Wish
from runbook.backup.fetching.hearing import Hearing
from runbook.errors import ActionFailed, HostError
from runbook.hosts import localfiles, transfer
from runbook.hosts.local import LocalHost
from tests.real.sshd import Sshd
from tests.unit.backups import NODES, make_backup, write_manifest
from tests.unit.fetches import World

pytestmark = pytest.mark.real("sshd")
#: bytes of each node's uploads
UPLOADS = 9_000_000


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    sshd = Sshd(tmp_path / "sshd")
    sshd.start()
    sshd.trust()
    yield sshd
    sshd.stop()


@pytest.fixture
async def world(tmp_path: Path, sshd: Sshd) -> AsyncIterator[World]:
    host = sshd.host()
    yield World(tmp_path, host)
    await host.close()


def made(world: World) -> Path:
    """In the real layout, with uploads that go by themselves, and many small logs."""
    folder = make_backup(world.root / "daily/20261101")
    data = base64.b64encode(random.Random(1).randbytes(UPLOADS * 3 // 4)).decode()
    row = f'{{"id":"a.pdf","key":"a.pdf","value":{{"rev":"1-a"}},"doc":{{"_id":"a.pdf","_rev":"1-a",' \
        f'"content_type":"application/pdf","data":"{data}"}}}}'  # fmt: skip
    for node in NODES:
        file = folder / f"node-{node}/edxapp_files.json"
        file.write_text(f'{{"total_rows":1,"offset":0,"rows":[\r\n{row}\r\n]}}\n')
    write_manifest(folder)
    return folder


async def go(
    world: World, tick: Callable[[str, int, int], None], folder: Path | None = None
) -> fetch.Fetched:
    wish = Wish(keep=10)
    site = world.site()
    found = await fetch.plan(site, world.host, wish)
    hearing = Hearing(world.said.append, tick)
    return await fetch.carry_out(site, world.host, LocalHost(), found, wish, world.clock, hearing)


async def test_cut_three_times_it_comes_whole(
    world: World, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PAUSE", 0.05)
    folder, cuts = made(world), []

    def cut(what: str, done: int, total: int) -> None:
        if what == "fetching" and len(cuts) < 3 and done > (len(cuts) + 1) * total / 5:
            cuts.extend([1] if sshd.cut() else [])  # none: what came before the last one is still read

    done = await go(world, cut)
    assert len(cuts) == 3
    assert any("lost; going on" in text for text in world.said)
    assert done.verdict in ("sound", "doubtful") and done.report and done.report.way
    assert localfiles.manifest(world.pc / "20261101") == localfiles.manifest(folder)
    assert world.names() == ["20261101"] and ledger.read(world.pc)[0].path == done.path


@pytest.mark.real("root")
async def test_a_full_disk_is_said_and_then_gone_on_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(world)
    total = sum(layout.sizes(folder).values())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={total * 2 // 3}", "tmpfs", str(world.pc)]
    if subprocess.run(mount, capture_output=True).returncode:  # noqa: ASYNC221
        pytest.skip("no tmpfs can be mounted here")
    try:
        with pytest.raises(ActionFailed, match="There is no room"):  # seen before a byte moves
            await go(world, lambda *tick: None)
        assert world.names() == []
        monkeypatch.setattr(room, "free", lambda folder: 1 << 40)  # it fills up meanwhile
        with pytest.raises(HostError, match=r"No space left on device.*is kept") as error:
            await go(world, lambda *tick: None)
        assert "goes on where it stopped" in error.value.next
        assert not layout.find_local(world.pc)
        monkeypatch.undo()
        monkeypatch.setattr(room, "SPARE", 0)
        subprocess.run(["mount", "-o", f"remount,size={total * 2}", str(world.pc)], check=True)  # noqa: ASYNC221
        first: list[int] = []
        done = await go(world, lambda what, done, total: first.append(done) if what == "fetching" else None)
        assert min(first) > total // 10  # what came before is not sent again: at the least of one file
        assert done.verdict != "damaged"
        assert localfiles.manifest(world.pc / "20261101") == localfiles.manifest(folder)
    finally:
        subprocess.run(["umount", "-l", str(world.pc)], check=True)  # noqa: ASYNC221


async def test_uploaded_to_a_new_vm_while_cut(
    world: World, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PAUSE", 0.05)
    folder, cuts = made(world), []
    target = tmp_path / "new" / "backup" / "daily" / "20261101"

    def cut(done: int, total: int) -> None:
        if len(cuts) < 3 and done > (len(cuts) + 1) * total / 5:
            cuts.extend([1] if sshd.cut() else [])  # none: what came before the last one is still read

    await world.host.put_tree(folder, str(target), tick=cut)
    assert len(cuts) == 3
    assert localfiles.manifest(target) == localfiles.manifest(folder)
    assert [one.name for one in target.parent.iterdir()] == ["20261101"]


async def test_interrupted_at_any_moment(world: World, sshd: Sshd) -> None:
    folder, seen = made(world), 0
    for part in (0.1, 0.4, 0.8):
        begun = asyncio.Event()
        task = asyncio.create_task(
            go(world, lambda what, done, total, part=part, begun=begun: done > total * part and begun.set())
        )
        await asyncio.wait([asyncio.ensure_future(begun.wait()), task], return_when="FIRST_COMPLETED")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not layout.find_local(world.pc)
        now = room.held(world.pc)
        assert now >= seen
        seen = now
    await go(world, lambda *tick: None)
    assert localfiles.manifest(world.pc / "20261101") == localfiles.manifest(folder)
