"""Fetching a backup over SSH: whole, verified, and only then under its name."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runbook.backup import layout, ledger
from runbook.backup.fetching import fetch, lock, log, room
from runbook.backup.fetching.fetch import Wish
from runbook.errors import ActionFailed, HostError, StateError, UseError
from runbook.hosts import localfiles, transfer, trees
from tests.unit.backups import write_manifest
from tests.unit.fetches import World
from tests.unit.sshserver import SshServer

USERS = "node-10.0.1.10/_users.json"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    server = SshServer(tmp_path / "server")
    await server.start()
    server.trust()
    yield server
    await server.stop()


@pytest.fixture
async def world(tmp_path: Path, server: SshServer) -> AsyncIterator[World]:
    host = server.host()
    yield World(tmp_path, host)
    await host.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of some bytes count as large ones."""
    monkeypatch.setattr(trees, "SMALL", 100)
    monkeypatch.setattr(transfer, "PAUSE", 0.01)


def grown(folder: Path, count: int = 3) -> None:
    """Large files in it as well."""
    for number in range(count):
        (folder / f"node-10.0.1.10/large{number}").write_bytes(os.urandom(2_000_000))
    write_manifest(folder)


async def test_the_newest_is_brought_verified_and_put_on_record(world: World) -> None:
    for day in ("20261031", "20261101"):
        world.made(day)
    done = await world.fetch()
    assert (done.id, done.path, done.brought) == ("20261101", str(world.pc / "20261101"), True)
    assert done.verdict in ("sound", "doubtful") and done.report and done.report.way
    assert world.names() == ["20261101"] and world.same("20261101")
    (entry,) = ledger.read(world.pc)
    assert (entry.path, entry.verdict) == (done.path, done.verdict)
    assert {what for what, _, _ in world.ticks} == {"fetching", "verifying"}
    assert (world.pc / "20261101").stat().st_mode & 0o077 == 0
    text = (world.pc / log.NAME).read_text()
    assert "+00:00 Fetching" in text and "20261101 is " in text


async def test_an_incomplete_newest_is_passed_over_and_said(world: World) -> None:
    world.made("20261031")
    world.made("20261101", manifest=False)
    found = await fetch.plan(world.site(), world.host, Wish(keep=10))
    assert found.backup.id == "20261031" and "20261101 (daily) is newer" in found.remarks[0]
    with pytest.raises(ActionFailed, match=r"20261101.* is not complete"):
        await world.fetch(id="20261101")
    with pytest.raises(UseError, match="no backup 20990101") as error:
        await world.fetch(id="20990101")
    assert "20261031" in error.value.next


async def test_what_is_here_is_compared_not_fetched(world: World) -> None:
    world.made("20261101")
    await world.fetch()
    before = (world.pc / "20261101").stat().st_ino
    done = await world.fetch()
    assert not done.brought and done.report is None and done.verdict in ("sound", "doubtful")
    assert (world.pc / "20261101").stat().st_ino == before and len(ledger.read(world.pc)) == 1


@pytest.mark.parametrize("same_size", [True, False])
async def test_a_different_one_of_that_name_is_never_overwritten(world: World, same_size: bool) -> None:
    shutil.copytree(world.made("20261101"), world.pc / "20261101")
    file = world.pc / "20261101" / USERS
    file.write_bytes(b"x" * (file.stat().st_size if same_size else 7))
    before = localfiles.manifest(world.pc)
    with pytest.raises(ActionFailed, match=r"_users\.json.*differs.*Neither was touched") as error:
        await world.fetch(keep=1)
    assert "mv " in error.value.next
    after = localfiles.manifest(world.pc)
    assert {name: sum for name, sum in after.items() if name != log.NAME} == before


async def test_a_damaged_one_is_set_aside_and_nothing_is_deleted(world: World) -> None:
    for day in ("20261030", "20261031"):
        world.made(day)
        await world.fetch()
    (world.made("20261101") / USERS).write_bytes(b'{"total_rows":2,"offset":0,"rows":[')
    copy = world.pc / "drive"
    copy.mkdir()
    done = await world.fetch(keep=1, copies=(str(copy),))
    assert done.verdict == "damaged" and ".damaged-" in done.path and not done.deleted and not done.copies
    assert world.names() == ["20261030", "20261031", Path(done.path).name, "drive"]
    assert [one.id for one in layout.find_local(world.pc)] == ["20261031", "20261030"]
    assert not list(copy.iterdir())
    # again: what was brought is not sent again, and there is still one such copy
    world.ticks.clear()
    again = await world.fetch(keep=1)
    assert again.verdict == "damaged" and not [one for one in world.ticks if one[0] == "fetching"]
    assert len(world.names()) == 4
    # once it is repaired there, what differs comes, and the name is given
    shutil.rmtree(world.root / "daily/20261101")
    world.made("20261101")
    repaired = await world.fetch()
    assert repaired.verdict != "damaged" and world.same("20261101")
    assert world.names() == ["20261030", "20261031", "20261101", "drive"]


async def test_cut_off_again_and_again(world: World, server: SshServer, small: None) -> None:
    grown(world.made("20261101"))
    cuts = 0
    hearing = world.hearing

    def cut(what: str, done: int, total: int) -> None:
        nonlocal cuts
        # without a connection: what came before the last cut is still read
        if what == "fetching" and cuts < 3 and server.connections and done > (cuts + 1) * total / 5:
            cuts += 1
            server.cut()

    found = await fetch.plan(world.site(), world.host, Wish(keep=10))
    stage = trees.part_of(world.pc / ".20261101.part" / "20261101")
    task = fetch.carry_out(
        world.site(), world.host, fetch_here(), found, Wish(keep=10), world.clock,
        type(hearing)(hearing.say, cut),
    )  # fmt: skip
    done = await task
    assert cuts == 3 and done.brought and world.same("20261101") and not stage.exists()
    assert any("lost; going on" in text for text in world.said)


def fetch_here() -> Any:
    from runbook.hosts.local import LocalHost

    return LocalHost()


async def test_killed_and_called_again_it_goes_on(world: World, server: SshServer, small: None) -> None:
    folder = world.made("20261101")
    grown(folder, 4)
    found = await fetch.plan(world.site(), world.host, Wish(keep=10))
    begun = asyncio.Event()
    hearing = type(world.hearing)(
        world.said.append, lambda what, done, total: done > total / 2 and begun.set()
    )
    task = asyncio.create_task(
        fetch.carry_out(world.site(), world.host, fetch_here(), found, Wish(keep=10), world.clock, hearing)
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.names() == [".20261101.part"] and not layout.find_local(world.pc)
    assert (await fetch.plan(world.site(), world.host, Wish(keep=10))).needed < found.needed
    server.commands.clear()
    done = await world.fetch()
    assert done.brought and world.same("20261101") and world.names() == ["20261101"]
    first = next(done for what, done, _ in world.ticks if what == "fetching")
    assert first > 1_000_000  # what was there is counted, not sent


async def test_killed_before_it_had_its_name(world: World) -> None:
    """Between the transfer and the verification; what is there is compared anew."""
    folder = world.made("20261101")
    shutil.copytree(folder, world.pc / ".20261101.part" / "20261101")
    (world.pc / ".20261101.part" / "20261101" / USERS).write_bytes(b"x" * (folder / USERS).stat().st_size)
    done = await world.fetch()
    assert done.verdict != "damaged" and world.same("20261101") and world.names() == ["20261101"]


async def test_no_room_is_said_before_a_byte_moves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.made("20261101")
    monkeypatch.setattr(room, "free", lambda folder: 1000)
    with pytest.raises(ActionFailed, match=r"no room in .*pc.*Nothing was fetched"):
        await world.fetch()
    assert world.names() == []


async def test_two_at_once(tmp_path: Path) -> None:
    refused = pytest.raises(StateError, match=f"process {os.getpid()}")
    with lock.alone(tmp_path), refused, lock.alone(tmp_path):
        pytest.fail("both had it")
    with lock.alone(tmp_path):
        pass


async def test_a_single_archive(world: World, tmp_path: Path) -> None:
    world.made("20261031")
    folder = world.made("20261101")
    shutil.make_archive(str(folder), "gztar", folder.parent, folder.name)
    shutil.rmtree(folder)
    done = await world.fetch(id="20261101")
    assert done.path == str(world.pc / "20261101.tar.gz") and done.verdict != "damaged"
    assert (world.pc / "20261101.tar.gz").read_bytes() == Path(f"{folder}.tar.gz").read_bytes()
    assert not (await world.fetch(id="20261101")).brought


async def test_an_old_one_that_is_asked_for_is_not_deleted_at_once(world: World) -> None:
    for day in ("20261030", "20261031", "20261101"):
        world.made(day)
    await world.fetch()
    await world.fetch(id="20261031")
    done = await world.fetch(id="20261030", keep=1)
    assert world.names() == ["20261030", "20261101"] and done.deleted == (str(world.pc / "20261031"),)


# ── a second copy ──────────────────────────────────────────────────────────────────────────
async def test_second_copies_are_compared_and_kept_alike(world: World, tmp_path: Path) -> None:
    drive, away = tmp_path / "drive", tmp_path / "away"
    drive.mkdir()
    for day in ("20261030", "20261031", "20261101"):
        world.made(day)
        done = await world.fetch(world.site(copies=(str(away),)), copies=(str(drive),), keep=2)
    assert [one.name for one in sorted(drive.iterdir()) if one.name[0] != "."] == ["20261031", "20261101"]
    assert localfiles.manifest(drive / "20261101") == localfiles.manifest(world.root / "daily/20261101")
    assert ledger.last(ledger.read(drive), "20261101").path == str(drive / "20261101")  # type: ignore[union-attr]
    assert done.copies[1].absent and not done.problems  # a drive of the settings may be away
    assert not away.exists()
    done = await world.fetch(copies=(str(away),))
    assert "is its drive mounted" in done.problems[0]


async def test_a_second_copy_that_is_another_one_is_not_touched(world: World, tmp_path: Path) -> None:
    world.made("20261101")
    (tmp_path / "drive/20261101").mkdir(parents=True)
    (tmp_path / "drive/20261101/mine").write_text("x")
    done = await world.fetch(copies=(str(tmp_path / "drive"),))
    assert "is another one" in done.problems[0] and world.same("20261101")
    assert [one.name for one in (tmp_path / "drive/20261101").iterdir()] == ["mine"]


# ── bad input ──────────────────────────────────────────────────────────────────────────────
async def test_names_with_newlines_and_escapes(world: World) -> None:
    folder = world.made("20261101")
    for name in (
        "two\nlines",
        "\x1b[2Jescape",
        "back\\nslash",
        "-rf",
        os.fsdecode(b"not utf-8 \xff"),
        "'q \"$(d)",
    ):
        (folder / name).write_text("x")
    await world.fetch()
    copies = list(world.pc.glob("20261101*"))
    assert localfiles.manifest(copies[0]) == localfiles.manifest(folder)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../outside"])
async def test_a_link_out_is_refused(world: World, target: str) -> None:
    (world.made("20261101") / "out").symlink_to(target)
    with pytest.raises(HostError, match=r"out \(link out\)"):
        await world.fetch()
    assert not layout.find_local(world.pc)


async def test_links_in_a_circle_are_not_followed(world: World) -> None:
    folder = world.made("20261101")
    (folder / "round").symlink_to(".")
    await world.fetch()
    (copy,) = world.pc.glob("20261101*")
    assert (copy / "round").readlink() == Path()


async def test_a_file_that_changes_meanwhile_is_never_taken(world: World, small: None) -> None:
    folder = world.made("20261101")
    grown(folder, 1)
    hearing = world.hearing

    def change(what: str, done: int, total: int) -> None:
        if what == "fetching":
            with (folder / "node-10.0.1.10/large0").open("ab") as file:
                file.write(b"x")

    wish = Wish(keep=10)
    found = await fetch.plan(world.site(), world.host, wish)
    with pytest.raises(HostError, match="differs"):
        await fetch.carry_out(
            world.site(),
            world.host,
            fetch_here(),
            found,
            wish,
            world.clock,
            type(hearing)(hearing.say, change),
        )
    assert not layout.find_local(world.pc)


async def test_a_folder_that_vanishes_meanwhile(world: World, small: None) -> None:
    folder = world.made("20261101")
    grown(folder)
    hearing = world.hearing

    def vanish(what: str, done: int, total: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    wish = Wish(keep=10)
    found = await fetch.plan(world.site(), world.host, wish)
    with pytest.raises(HostError):
        await fetch.carry_out(
            world.site(),
            world.host,
            fetch_here(),
            found,
            wish,
            world.clock,
            type(hearing)(hearing.say, vanish),
        )
    assert not layout.find_local(world.pc)
