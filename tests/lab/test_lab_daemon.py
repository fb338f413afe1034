"""The daemon: one a folder, outlives its caller, leaves nothing behind, comes back after a kill."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from runbook.lab import LabError, control, processes
from runbook.lab.layout import SOCKET_PATH_LIMIT, Layout
from tests.lab.conftest import Lab, until


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


async def test_up_again_is_the_same_lab(lab: Lab) -> None:
    again = await control.up(lab.state)
    assert again == lab.info
    assert (await control.status(lab.state)) == lab.info


async def test_two_at_once_start_one(tmp_path: Path) -> None:
    try:
        one, two = await asyncio.gather(control.up(tmp_path), control.up(tmp_path))
        assert one == two
    finally:
        await control.down(tmp_path)


async def test_down_leaves_nothing(tmp_path: Path) -> None:
    info = await control.up(tmp_path)
    lab = Lab(tmp_path, info)
    connection = await lab.ssh("backup", "backup-user")
    ran = await connection.run("setsid -f sleep 600 >/dev/null 2>&1 </dev/null; echo ok")
    assert ran.stdout == "ok\n"
    assert processes.marked(f"{info.id}/")
    assert await control.down(tmp_path) is True
    await lab.close()
    assert not Layout.of(tmp_path).root.exists()
    assert not Path(info.socket).exists()
    assert not processes.marked(f"{info.id}/")

    async def dead() -> bool:
        return not alive(info.pid)

    await until(dead)
    assert await control.down(tmp_path) is False


async def test_a_killed_daemon_is_cleared_away(tmp_path: Path) -> None:
    before = await control.up(tmp_path)
    os.kill(before.pid, signal.SIGKILL)

    async def dead() -> bool:
        return not alive(before.pid)

    await until(dead)
    assert await control.status(tmp_path) is None
    try:
        after = await control.up(tmp_path)
        assert after.id != before.id
        assert after.pid != before.pid
    finally:
        await control.down(tmp_path)


async def test_a_removed_folder_ends_the_daemon(tmp_path: Path) -> None:
    info = await control.up(tmp_path)
    await asyncio.to_thread(shutil.rmtree, tmp_path / "lab")

    async def dead() -> bool:
        return not alive(info.pid)

    await until(dead)


async def test_fresh_is_another_lab(lab: Lab) -> None:
    await lab.create("vm1")
    other = await control.up(lab.state, fresh=True)
    assert other.id != lab.info.id
    status = await control.call(lab.state, "status")
    assert [name for name, vm in status["machines"].items() if vm["exists"]] == ["backup"]


async def test_without_a_lab_calls_say_so(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="not running"):
        await control.call(tmp_path, "status")


async def test_unknown_verbs_and_arguments_are_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="knows no 'dance'"):
        await lab.call("dance")
    with pytest.raises(LabError, match="there is no machine 'vm9'"):
        await lab.call("server_create", name="vm9")
    with pytest.raises(LabError, match="unexpected keyword"):
        await lab.call("server_create", machine="vm1")


def test_long_folders_get_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * SOCKET_PATH_LIMIT)
    assert len(str(Layout.of(deep).socket)) <= SOCKET_PATH_LIMIT
    assert Layout.of(Path("/s")).socket == Path("/s/lab/control.sock")
