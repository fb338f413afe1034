"""Files and folders: whole or not at all, compared, the same on this PC and over SSH."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.errors import HostError
from runbook.hosts import listing, localfiles, tarstream, transfer
from runbook.hosts.base import Host
from runbook.hosts.local import LocalHost
from runbook.hosts.ssh import SshHost
from tests.unit.sshserver import SshServer, until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    server = SshServer(tmp_path / "server")
    await server.start()
    server.trust()
    yield server
    await server.stop()


@pytest.fixture
async def vm(server: SshServer) -> AsyncIterator[SshHost]:
    host = server.host()
    yield host
    await host.close()


@pytest.fixture
def home(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(server.home))
    return server.home


@pytest.fixture(params=["local", "ssh"])
def host(request: pytest.FixtureRequest, home: Path, vm: SshHost) -> Host:
    return vm if request.param == "ssh" else LocalHost()


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(3_000_000))
    return path


ODD = "o'd\n $(d) \\ü"


# ── small files ────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", ["a", "~/in/side/a", f"x/{ODD}", "-n"])
async def test_written_is_read(host: Host, home: Path, path: str) -> None:
    data = bytes(range(256)) * 100
    await host.write_bytes(path, data)
    assert await host.read_bytes(path) == data
    file = home / path.removeprefix("~/")
    assert file.stat().st_mode & 0o777 == 0o600
    await host.write_bytes(path, b"", mode=0o644)
    assert await host.read_bytes(path) == b""
    assert file.stat().st_mode & 0o777 == 0o644
    assert [item.name for item in file.parent.iterdir()] == [file.name]


async def test_no_such_file_is_none_and_the_rest_an_error(host: Host, home: Path) -> None:
    assert await host.read_bytes("nothing") is None
    assert await host.read_bytes("no/where") is None
    (home / "folder").mkdir()
    (home / "long").write_bytes(b"x" * 11)
    with pytest.raises(HostError, match="cannot be read"):
        await host.read_bytes("folder")
    with pytest.raises(HostError, match="larger than 10 bytes"):
        await host.read_bytes("long", limit=10)
    assert await host.read_bytes("long", limit=11) == b"x" * 11


async def test_a_write_that_fails_leaves_the_old_file(host: Host, home: Path) -> None:
    (home / "file").write_text("not a folder")
    with pytest.raises(HostError, match="could not be written"):
        await host.write_bytes("file/below", b"x")
    assert (home / "file").read_text() == "not a folder"


async def test_input_cut_off_is_never_renamed(vm: SshHost, server: SshServer, home: Path) -> None:
    (home / "file").write_text("old")
    task = asyncio.create_task(vm.write_bytes("file", b"x" * 30_000_000))
    await until(lambda: any(path.name.startswith(".file.") for path in home.iterdir()) or task.done())
    server.cut()
    await asyncio.gather(task, return_exceptions=True)
    assert (home / "file").read_text() in ("old", "x" * 30_000_000)


# ── big files ──────────────────────────────────────────────────────────────────────────────
async def test_a_file_there_and_back(host: Host, home: Path, big: Path, tmp_path: Path) -> None:
    ticks: list[tuple[int, int]] = []
    await host.put_file(big, f"~/up/{ODD}", mode=0o640, tick=lambda done, total: ticks.append((done, total)))
    there = home / "up" / ODD
    assert there.read_bytes() == big.read_bytes()
    assert there.stat().st_mode & 0o777 == 0o640
    await host.get_file(f"up/{ODD}", tmp_path / "down" / "file")
    assert (tmp_path / "down" / "file").read_bytes() == big.read_bytes()
    await asyncio.sleep(0)
    assert ticks[-1] == (3_000_000, 3_000_000)
    assert not list(home.rglob("*.part"))


async def test_an_empty_file(host: Host, home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    await host.put_file(tmp_path / "empty", "empty")
    await host.get_file("empty", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


async def test_what_is_not_there_is_said(host: Host, home: Path, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"No such file"):
        await host.put_file(tmp_path / "nothing", "x")
    with pytest.raises(HostError, match=r"No such file"):
        await host.get_file("nothing", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("right", [True, False])
async def test_a_right_prefix_is_kept_and_a_wrong_one_is_not(
    vm: SshHost, home: Path, big: Path, tmp_path: Path, right: bool
) -> None:
    prefix = big.read_bytes()[:2_000_000] if right else b"?" * 2_000_000
    first = 2_000_000 if right else 0
    (home / "up.part").write_bytes(prefix)
    ticks: list[int] = []
    await vm.put_file(big, "up", tick=lambda done, total: ticks.append(done))
    assert (home / "up").read_bytes() == big.read_bytes()
    assert ticks[0] == first + transfer.BLOCK
    (tmp_path / "down.part").write_bytes(prefix)
    ticks.clear()
    await vm.get_file("up", tmp_path / "down", tick=lambda done, total: ticks.append(done))
    assert (tmp_path / "down").read_bytes() == big.read_bytes()
    assert first < ticks[0] <= first + transfer.BLOCK


async def test_a_part_longer_than_the_file(vm: SshHost, home: Path, big: Path, tmp_path: Path) -> None:
    (home / "up.part").write_bytes(big.read_bytes() + b"more")
    await vm.put_file(big, "up")
    (tmp_path / "down.part").write_bytes(big.read_bytes() + b"more")
    await vm.get_file("up", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == (home / "up").read_bytes() == big.read_bytes()


async def test_a_lost_connection_is_resumed(
    vm: SshHost, server: SshServer, home: Path, big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PAUSE", 0.05)
    cuts = 0

    def cut(done: int, total: int) -> None:
        nonlocal cuts
        if done > 1_000_000 * (cuts % 2 + 1) and cuts < 4:
            cuts += 1
            server.cut()

    await vm.put_file(big, "up", tick=cut)
    await vm.get_file("up", tmp_path / "down", tick=cut)
    assert cuts == 4
    assert (tmp_path / "down").read_bytes() == big.read_bytes()


async def test_a_source_that_changes_meanwhile_is_never_taken(
    vm: SshHost, home: Path, big: Path, tmp_path: Path
) -> None:
    (home / "up").write_bytes(big.read_bytes())

    def change(done: int, total: int) -> None:
        with (home / "up").open("ab") as file:
            file.write(b"x")

    (tmp_path / "down").write_text("old")
    with pytest.raises(HostError, match="differs"):
        await vm.get_file("up", tmp_path / "down", tick=change)
    assert (tmp_path / "down").read_text() == "old"


async def test_a_target_that_cannot_be_written(host: Host, home: Path, big: Path) -> None:
    (home / "file").touch()
    with pytest.raises(HostError):
        await host.put_file(big, "file/x")


async def test_cancelled_midway(vm: SshHost, home: Path, big: Path) -> None:
    began = asyncio.Event()
    task = asyncio.create_task(vm.put_file(big, "up", tick=lambda done, total: began.set()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (home / "up").exists()
    await vm.put_file(big, "up")


# ── folders ────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "empty").mkdir(parents=True)
    (root / "a" / "b").mkdir(parents=True)
    for n in range(300):
        (root / "a" / f"file{n}").write_text(f"{n}\n" * n)
    (root / "a" / "b" / ODD).write_bytes(bytes(range(256)))
    (root / "a" / "b" / ("long" * 50)).write_text("long")
    (root / os.fsdecode(b"not utf-8 \xff")).write_text("x")
    (root / "-rf").write_text("x")
    (root / "link").symlink_to("a/file1")
    return root


async def test_a_folder_there_and_back(host: Host, home: Path, tree: Path, tmp_path: Path) -> None:
    ticks: list[int] = []
    await host.put_tree(tree, "deep/down/tree", tick=lambda done, total: ticks.append(done))
    await host.get_tree("~/deep/down/tree", tmp_path / "back" / "tree")
    back = tmp_path / "back" / "tree"
    assert (
        localfiles.manifest(back) == localfiles.manifest(tree) == localfiles.manifest(home / "deep/down/tree")
    )
    assert (back / "link").readlink() == Path("a/file1")
    assert (back / "empty").is_dir()
    assert ticks
    assert not [*home.rglob("*.part"), *tmp_path.glob("back/*.part")]


async def test_what_is_there_is_never_replaced(host: Host, home: Path, tree: Path, tmp_path: Path) -> None:
    (home / "there").mkdir()
    (tmp_path / "here").mkdir()
    with pytest.raises(HostError, match="already there"):
        await host.put_tree(tree, "there")
    await host.put_tree(tree, "new")
    with pytest.raises(HostError, match="already there"):
        await host.get_tree("new", tmp_path / "here")
    assert not [*(home / "there").iterdir(), *(tmp_path / "here").iterdir()]


async def test_left_over_parts_are_begun_afresh(host: Host, home: Path, tree: Path, tmp_path: Path) -> None:
    for part in (home / "new.part", tmp_path / "back.part"):
        part.mkdir()
        (part / "stale").touch()
        (part / "a").symlink_to("/etc")
        (part / "-rf").mkdir()
    await host.put_tree(tree, "new")
    await host.get_tree("new", tmp_path / "back")
    assert localfiles.manifest(tmp_path / "back") == localfiles.manifest(tree)


async def test_no_such_folder(host: Host, home: Path, tmp_path: Path) -> None:
    with pytest.raises(HostError):
        await host.get_tree("nothing", tmp_path / "back")
    assert not (tmp_path / "back").exists()


async def test_a_link_out_is_refused_both_ways(vm: SshHost, home: Path, tree: Path, tmp_path: Path) -> None:
    (tree / "a" / "out").symlink_to("../../../etc/passwd")
    with pytest.raises(HostError, match=r"Archive refused: member \./a/out \(link out\)"):
        await vm.put_tree(tree, "new")
    assert not (home / "new").exists()
    (home / "bad").mkdir()
    (home / "bad" / "out").symlink_to("/etc/passwd")
    with pytest.raises(HostError, match=r"member \./out \(link out\)"):
        await vm.get_tree("bad", tmp_path / "back")
    assert not (tmp_path / "back").exists()


async def test_a_copy_that_differs_is_not_taken(
    vm: SshHost, home: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = listing.sums

    async def other(host: SshHost, folder: str, names: Any, **more: Any) -> dict[str, str]:
        found = await true(host, folder, names, **more)
        return found | {"a/file7": "0" * 64} if "a/file7" in found else found

    await vm.put_tree(tree, "new")
    monkeypatch.setattr(listing, "sums", other)
    with pytest.raises(HostError, match="'a/file7' differs"):
        await vm.get_tree("new", tmp_path / "back")
    with pytest.raises(HostError, match="'a/file7' differs"):
        await vm.put_tree(tree, "another")
    assert not (tmp_path / "back").exists()
    assert not (home / "another").exists()


async def test_a_folder_copy_can_be_cancelled(vm: SshHost, home: Path, tree: Path, tmp_path: Path) -> None:
    (tree / "huge").write_bytes(os.urandom(20_000_000))
    began = asyncio.Event()
    task = asyncio.create_task(vm.put_tree(tree, "new", tick=lambda done, total: began.set()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (home / "new").exists()
    (home / "big").write_bytes(os.urandom(20_000_000))
    began.clear()
    task = asyncio.create_task(vm.get_tree(".", tmp_path / "back", tick=lambda done, total: began.set()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (tmp_path / "back").exists()
    assert (await vm.run(["true"])).ok


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (member("/etc/passwd"), "absolute"),
        (member("a/../../b"), "'..'"),
        (member("a", tarfile.SYMTYPE, "../b"), "link out"),
        (member("a/b", tarfile.SYMTYPE, "../../b"), "link out"),
        (member("a", tarfile.SYMTYPE, "/etc"), "link out"),
        (member("a", tarfile.LNKTYPE, "../b"), "link out"),
        (member("a", tarfile.CHRTYPE), "device"),
        (member("a", tarfile.BLKTYPE), "device"),
        (member("a", tarfile.FIFOTYPE), "device"),
        (member("a", mode=0o4755), "setuid"),
        (member("a", mode=0o2755), "setuid"),
    ],
)
def test_unsafe_members_are_refused(info: tarfile.TarInfo, reason: str) -> None:
    with pytest.raises(HostError) as failure:
        tarstream.refuse_unsafe(info, "vm1")
    assert f"({reason})" in failure.value.what


@pytest.mark.parametrize(
    "info",
    [member("./a/b"), member("a/b", tarfile.SYMTYPE, "../c"), member("a/b", tarfile.LNKTYPE, "a/c")],
)
def test_safe_members_pass(info: tarfile.TarInfo) -> None:
    tarstream.refuse_unsafe(info, "vm1")


def packed(*members: tarfile.TarInfo) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for one in members:
            archive.addfile(one, io.BytesIO(b"x" * one.size))
    buffer.seek(0)
    return buffer


def test_links_that_climb_out_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    climbing = packed(member("a/up", tarfile.SYMTYPE, ".."), member("b", tarfile.SYMTYPE, "a/up/.."))
    with pytest.raises(HostError, match="link out"):
        tarstream.unpack_links(climbing, tmp_path / "in", "vm1", {"a/up", "b"})


@pytest.mark.parametrize("other", [member("b", tarfile.SYMTYPE, "a"), member("a"), member("b")])
def test_what_was_not_asked_for_is_refused(tmp_path: Path, other: tarfile.TarInfo) -> None:
    archive = packed(member("a", tarfile.SYMTYPE, "b"), other)
    with pytest.raises(HostError, match="was not asked for"):
        tarstream.unpack_links(archive, tmp_path, "vm1", {"a"})
    assert not list(tmp_path.iterdir())


names = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)


@given(st.lists(st.lists(names, min_size=1, max_size=5, unique=True), max_size=4))
def test_manifests_of_any_names(batches: list[list[bytes]]) -> None:
    raw, want = b"", {}
    for batch in batches:
        raw += b"".join(b"./" + name + b"\0" for name in batch) + b"\0"
        for name in batch:
            digest = hashlib.sha256(name).hexdigest()
            raw += (b"\\" if b"\n" in name else b"") + digest.encode() + b"\n"
            want[os.fsdecode(name)] = digest
        raw += b"\0"
    assert listing.parse_sums(raw) == want


@given(st.binary(max_size=300))
def test_manifest_garbage_is_refused_or_empty(raw: bytes) -> None:
    try:
        found = listing.parse_sums(raw)
    except ValueError:
        return
    assert all(len(digest) == 64 for digest in found.values())


def test_a_missing_sum_is_noticed() -> None:
    digest = "0" * 64
    for raw in (f"./a\0./b\0\0{digest}\n\0", f"./a\0\0{digest}\n{digest}\n\0", "./a\0"):
        with pytest.raises(ValueError, match=r"changed|cut off"):
            listing.parse_sums(raw.encode())


async def test_a_machine_that_has_only_busybox(
    vm: SshHost, home: Path, tree: Path, big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("no busybox")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)  # noqa: ASYNC221
    (tmp_path / "bin").mkdir()
    for name in listed.stdout.split():
        (tmp_path / "bin" / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tree / "a" / "b" / ODD).unlink()  # its sums cannot be told apart when a name has two lines
    await vm.write_bytes("small", b"x")
    assert await vm.read_bytes("small") == b"x"
    assert await vm.read_bytes("nothing") is None
    await vm.put_file(big, "up")
    (tmp_path / "down.part").write_bytes(big.read_bytes()[:1_000_000])
    await vm.get_file("up", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == big.read_bytes()
    await vm.put_tree(tree, "new")
    await vm.get_tree("new", tmp_path / "back")
    assert localfiles.manifest(tmp_path / "back") == localfiles.manifest(tree)
    (home / "new" / "two\nlines").touch()
    with pytest.raises(HostError, match="could not be compared"):
        await vm.get_tree("new", tmp_path / "again")
    assert not (tmp_path / "again").exists()
