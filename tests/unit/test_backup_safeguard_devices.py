"""Is a folder on an encrypted device? By a made-up /proc and /sys, and by what programs answer."""

from __future__ import annotations

import os
import plistlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.backup.safeguards import encryption, mounts
from runbook.backup.safeguards.encryption import Encryption
from runbook.errors import CouldNotLook
from runbook.hosts.base import Completed
from tests.unit.doubles import ScriptedHost


class Pc:
    """A root folder with proc/ and sys/ of a PC that is not this one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[str] = []
        (root / "sys/class/block").mkdir(parents=True)
        (root / "proc/self").mkdir(parents=True)

    def mount(self, point: str, device: str, fstype: str, source: str) -> None:
        number = 20 + len(self.lines)
        self.lines.append(f"{number} 1 {device} / {point} rw,relatime shared:1 - {fstype} {source} rw")
        (self.root / "proc/self/mountinfo").write_text("\n".join(self.lines) + "\n")

    def block(
        self,
        name: str,
        device: str,
        *,
        uuid: str = "",
        dm: str = "",
        slaves: tuple[str, ...] = (),
        disk: str = "",
        file: str = "",
    ) -> None:
        folder = self.root / "sys/devices" / (f"{disk}/{name}" if disk else name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dev").write_text(f"{device}\n")
        (folder / "slaves").mkdir(exist_ok=True)
        for one in slaves:
            (folder / "slaves" / one).write_text("")
        if uuid or dm:
            (folder / "dm").mkdir()
            (folder / "dm/uuid").write_text(f"{uuid}\n")
            (folder / "dm/name").write_text(f"{dm}\n")
        if disk:
            (folder / "slaves").rmdir()
            (folder / "partition").write_text("1\n")
        if file:
            (folder / "loop").mkdir()
            (folder / "loop/backing_file").write_text(f"{file}\n")
        (self.root / "sys/class/block" / name).symlink_to(
            os.path.relpath(folder, self.root / "sys/class/block")
        )

    async def look(self, folder: str = "/", host: ScriptedHost | None = None) -> Encryption:
        return await encryption.look(
            Path(folder),
            host or ScriptedHost("operator"),
            root=self.root,
            system="Linux",
            fscrypt=lambda path: False,
        )


@pytest.fixture
def pc(tmp_path: Path) -> Pc:
    found = Pc(tmp_path)
    found.block("sda", "8:0")
    found.block("sda1", "8:1", disk="sda")
    found.block("sda2", "8:2", disk="sda")
    return found


async def test_luks_below_lvm(pc: Pc) -> None:
    pc.block("dm-0", "253:0", uuid="CRYPT-LUKS2-0123-luks", dm="luks", slaves=("sda2",))
    pc.block("dm-1", "253:1", uuid="LVM-abc", dm="vg-root", slaves=("dm-0",))
    pc.mount("/", "253:1", "ext4", "/dev/mapper/vg-root")
    found = await pc.look()
    assert found == Encryption(encrypted=True, how="dm-crypt below / (dm-1)")


async def test_a_plain_partition(pc: Pc) -> None:
    pc.mount("/", "8:1", "ext4", "/dev/sda1")
    found = await pc.look()
    assert not found.encrypted and "sda1 below / is not encrypted by dm-crypt" in found.how


@pytest.mark.parametrize("uuid", ["CRYPT-VERITY-1", "CRYPT-INTEGRITY-1", "LVM-x", ""])
async def test_what_encrypts_nothing(pc: Pc, uuid: str) -> None:
    pc.block("dm-0", "253:0", uuid=uuid, dm="x", slaves=("sda1",))
    pc.mount("/", "253:0", "ext4", "/dev/mapper/x")
    assert not (await pc.look()).encrypted


async def test_a_raid_is_as_good_as_its_worst_member(pc: Pc) -> None:
    pc.block("dm-0", "253:0", uuid="CRYPT-LUKS1-a", dm="a", slaves=("sda1",))
    pc.block("dm-1", "253:1", uuid="CRYPT-PLAIN-b", dm="b", slaves=("sda2",))
    pc.block("md0", "9:0", slaves=("dm-0", "dm-1"))
    pc.block("md1", "9:1", slaves=("dm-0", "sda2"))
    pc.mount("/", "9:0", "xfs", "/dev/md0")
    assert (await pc.look()).encrypted
    pc.mount("/", "9:1", "xfs", "/dev/md1")  # over the first
    assert not (await pc.look()).encrypted


async def test_btrfs_over_several_devices(pc: Pc) -> None:
    pc.block("dm-0", "253:0", uuid="CRYPT-LUKS2-a", dm="crypt a", slaves=("sda1",))
    pc.mount("/", "0:34", "btrfs", "/dev/mapper/crypt\\040a")
    assert (await pc.look()).encrypted
    devices = pc.root / "sys/fs/btrfs/1234/devices"
    devices.mkdir(parents=True)
    for name in ("dm-0", "sda2"):
        (devices / name).write_text("")
    assert not (await pc.look()).encrypted


async def test_a_file_on_an_encrypted_disk(pc: Pc) -> None:
    pc.block("dm-0", "253:0", uuid="CRYPT-LUKS2-a", dm="a", slaves=("sda1",))
    pc.block("loop0", "7:0", file="/home/me/disk.img")
    pc.mount("/", "253:0", "ext4", "/dev/mapper/a")
    pc.mount("/tmp", "7:0", "ext4", "/dev/loop0")
    assert (await pc.look("/tmp")).encrypted


async def test_devices_in_a_circle(pc: Pc) -> None:
    pc.block("dm-0", "253:0", uuid="LVM-a", dm="a", slaves=("dm-1",))
    pc.block("dm-1", "253:1", uuid="LVM-b", dm="b", slaves=("dm-0",))
    pc.mount("/", "253:0", "ext4", "/dev/mapper/a")
    with pytest.raises(CouldNotLook, match="cannot be looked at"):
        await pc.look()


@pytest.mark.parametrize(
    ("fstype", "source", "words"),
    [
        ("nfs4", "server:/x", "no block device"),
        ("overlay", "overlay", "no block device"),
        ("9p", "hgfs", "no block device"),
        ("tmpfs", "tmpfs", "lies in memory"),
    ],
)
async def test_where_it_cannot_be_seen(pc: Pc, fstype: str, source: str, words: str) -> None:
    pc.mount("/", "0:50", fstype, source)
    with pytest.raises(CouldNotLook, match=words):
        await pc.look()


async def test_file_systems_that_encrypt(pc: Pc) -> None:
    pc.mount("/", "0:50", "fuse.gocryptfs", "/home/me/.cipher")
    assert await pc.look() == Encryption(encrypted=True, how="gocryptfs")


async def test_fscrypt_on_the_folder(pc: Pc) -> None:
    found = await encryption.look(
        Path("/"), ScriptedHost("operator"), root=pc.root, system="Linux", fscrypt=lambda path: True
    )
    assert found == Encryption(encrypted=True, how="fscrypt")


def test_a_folder_of_this_pc_is_asked_for_its_policy(tmp_path: Path) -> None:
    assert encryption.by_fscrypt(tmp_path) is encryption.by_fscrypt(tmp_path.parent)
    assert encryption.by_fscrypt(tmp_path / "nowhere") is False


@pytest.mark.parametrize(("said", "encrypted"), [("aes-256-gcm\n", True), ("off\n", False)])
async def test_zfs(pc: Pc, said: str, encrypted: bool) -> None:
    pc.mount("/", "0:60", "zfs", "tank/-home")
    host = ScriptedHost("operator").on("zfs get", said)
    assert (await pc.look(host=host)).encrypted is encrypted
    assert host.calls[0][-2:] == ["--", "tank/-home"]


@pytest.mark.parametrize("said", [Completed(1, b"", b"zfs: not found"), b"-\n", b""])
async def test_zfs_that_does_not_tell(pc: Pc, said: Completed | bytes) -> None:
    pc.mount("/", "0:60", "zfs", "tank/home")
    with pytest.raises(CouldNotLook):
        await pc.look(host=ScriptedHost("operator").on("zfs get", said))


async def test_no_proc_and_no_sys(tmp_path: Path) -> None:
    with pytest.raises(CouldNotLook, match="mountinfo cannot be read"):
        await Pc(tmp_path / "a").look()
    pc = Pc(tmp_path / "b")
    pc.mount("/", "8:1", "ext4", "/dev/sda1")
    (pc.root / "sys/class/block").rmdir()
    with pytest.raises(CouldNotLook, match="block cannot be read"):
        await pc.look()


# ── macOS and elsewhere ────────────────────────────────────────────────────────────────────
async def mac(*replies: tuple[str, Completed | bytes]) -> Encryption:
    host = ScriptedHost("operator", dict(replies))
    return await encryption.look(Path("/"), host, system="Darwin")


async def test_macos() -> None:
    for told in (True, False):
        plist = plistlib.dumps({"FileVault": told, "Encryption": told, "MountPoint": "/"})
        assert (await mac(("diskutil info -plist /", plist))).encrypted is told
    bare = plistlib.dumps({"MountPoint": "/"})
    found = await mac(("diskutil", bare), ("fdesetup status", b"FileVault is On.\n"))
    assert found.encrypted and "fdesetup" in found.how
    assert not (await mac(("diskutil", bare), ("fdesetup status", b"FileVault is Off.\n"))).encrypted


@pytest.mark.parametrize("told", [b"", b"nonsense", b"<plist><dict>", b"bplist00\xff", plistlib.dumps([1])])
async def test_macos_that_does_not_tell(told: bytes) -> None:
    with pytest.raises(CouldNotLook):
        await mac(("diskutil", told), ("fdesetup", b"?"))


async def test_other_systems() -> None:
    with pytest.raises(CouldNotLook, match="cannot be seen on FreeBSD"):
        await encryption.look(Path("/"), ScriptedHost("operator"), system="FreeBSD")


# ── mountinfo ──────────────────────────────────────────────────────────────────────────────
@given(st.text())
def test_any_table_is_read(text: str) -> None:
    for mount in mounts.parse(text):
        assert mount.fstype is not None


def test_names_with_blanks_and_prefixes_of_names(pc: Pc) -> None:
    pc.mount("/", "8:1", "ext4", "/dev/sda1")
    pc.mount("/media/my\\040drive", "8:2", "ext4", "/dev/sda2")
    assert mounts.holding("/media/my drive/x", pc.root).device == "8:2"
    assert mounts.holding("/media/my drive2", pc.root).device == "8:1"
