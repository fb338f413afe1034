"""Verification beside the backup, on a machine over SSH: nothing is copied, the record stays there."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runbook.backup import ledger
from runbook.backup.verifying import reduced, remote
from runbook.backup.verifying.report import Order
from runbook.errors import ActionFailed, CouldNotLook, UseError
from runbook.hosts import ship
from runbook.hosts.ssh import SshHost
from tests.unit.backups import NODES, dump, make_backup
from tests.unit.sshserver import SshServer, until


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SshServer]:
    # the machine has the Python that these tests run with
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    server = SshServer(tmp_path / "server")
    await server.start()
    server.trust()
    yield server
    await server.stop()


@pytest.fixture
async def vm(server: SshServer) -> AsyncIterator[SshHost]:
    host = server.host(jobs_dir="jobs")
    yield host
    await host.close()


@pytest.fixture
def root(server: SshServer) -> Path:
    return server.folder / "backup"


def order(root: Path, path: str) -> Order:
    return Order(path=path, roots=(str(root),), write_sums=True, by="Ada on a laptop")


async def test_it_is_found_verified_and_put_on_record_there(
    vm: SshHost, root: Path, server: SshServer
) -> None:
    make_backup(root / "weekly/2026-week44")
    folder = make_backup(root / "daily/20261101")
    heard: list[tuple[int, int]] = []
    path = await remote.find(vm, str(root), "20261101")
    assert path == str(folder)
    report = await remote.verify(vm, order(root, path), lambda *all: heard.append(all))
    assert (report.verdict, report.machine, report.problems) == ("sound", "vm1", ())
    assert report.documents["10.0.1.10/_users"] == 2
    (entry,) = ledger.read(folder.parent)
    assert (entry.by, entry.print) == ("Ada on a laptop", report.print)
    assert report.written == str(folder) + ".sha256" and Path(report.written).is_file()
    assert not list((server.home / "jobs").iterdir())  # nothing is left of the job
    (folder / f"node-{NODES[1]}/_users.json").write_bytes(dump("x")[:-4])
    report = await remote.verify(vm, order(root, path), lambda *all: None)
    assert report.verdict == "damaged" and any("cut off" in text for text in report.problems)


async def test_what_is_not_there(vm: SshHost, root: Path) -> None:
    make_backup(root / "daily/20261101")
    with pytest.raises(UseError, match=r"There is no backup 20261102 .* There are: 20261101"):
        await remote.find(vm, str(root), "20261102")
    with pytest.raises(CouldNotLook, match="does not exist"):
        await remote.verify(vm, order(root, f"{root}/daily/20261102"), lambda *all: None)


@pytest.mark.parametrize("file", ["", "/pid"])
async def test_a_cut_line_is_followed_on(vm: SshHost, root: Path, server: SshServer, file: str) -> None:
    folder = make_backup(root / "daily/20261101")
    troubles: list[str] = []
    work = asyncio.create_task(
        remote.verify(vm, order(root, str(folder)), lambda *all: None, troubles.append)
    )
    await until(lambda: list(server.home.glob(f"jobs/*{file}")))
    server.cut()
    assert (await work).verdict == "sound"


async def test_another_python_is_told_with_what_can_be_done(
    vm: SshHost, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_backup(root / "daily/20261101")

    async def none(host: object) -> str:
        raise ActionFailed("backup has no Python like this PC's.", next="x")

    monkeypatch.setattr(ship, "python", none)
    with pytest.raises(
        ActionFailed, match=r"no Python like this PC's.*Fetch it and verify it here.*--reduced"
    ):
        await remote.verify(vm, order(root, str(folder)), lambda *all: None)
    found = await reduced.look(vm, str(folder), [str(root)])
    assert found.problems == () and found.way and found.files == 3 * 7 + 1
    (folder / f"node-{NODES[0]}/logs.tar.gz").write_bytes(b"x")
    found = await reduced.look(vm, str(folder), [str(root)])
    assert len(found.problems) == 2 and "gzip -t refuses it" in found.problems[0]
    assert not (root / "daily" / ledger.NAME).exists()


def test_a_reduced_look_says_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    found = reduced.Reduced(machine="backup", path="/b/\x1b[31mx", files=3, way="paths as in /b", problems=())
    assert reduced.show(found, False) == 0
    out = capsys.readouterr().out
    assert out.startswith("REDUCED look") and "Not a verification" in out and "\x1b" not in out
