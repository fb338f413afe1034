"""Does a folder of this PC lie on an encrypted device? True, false, or why that cannot be seen.

Linux: dm-crypt (LUKS and the like) below the file system, fscrypt on the folder, ZFS's property, file
systems that encrypt. macOS: FileVault and APFS, as diskutil tells. Elsewhere a person has to say.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import platform
import plistlib
import struct
from collections.abc import Callable
from pathlib import Path
from xml.parsers.expat import ExpatError

import msgspec

from runbook.backup.safeguards import devices, mounts
from runbook.backup.safeguards.mounts import Mount
from runbook.errors import CouldNotLook, HostError
from runbook.hosts.base import Host
from runbook.platform.lastwords import last_words

_ENCRYPTING = frozenset(
    ("ecryptfs", "fuse.gocryptfs", "fuse.encfs", "fuse.cryfs", "fuse.securefs", "fuse.cryptomator")
)
_MEMORY = frozenset(("tmpfs", "ramfs"))
#: FS_IOC_GETFLAGS and its flag for fscrypt (linux/fs.h)
_GETFLAGS, _ENCRYPT_FLAG = 0x80086601, 0x800


class Encryption(msgspec.Struct, frozen=True, kw_only=True):
    encrypted: bool
    how: str


def by_fscrypt(folder: Path) -> bool:
    """Has the folder an encryption policy? False as well where its file system knows of none."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        raw = fcntl.ioctl(handle, _GETFLAGS, struct.pack("l", 0))
        return bool(struct.unpack("l", raw)[0] & _ENCRYPT_FLAG)
    except OSError:
        return False
    finally:
        os.close(handle)


async def look(
    folder: Path,
    host: Host,
    *,
    root: Path = Path("/"),
    system: str = platform.system(),
    fscrypt: Callable[[Path], bool] = by_fscrypt,
) -> Encryption:
    """``host``: this PC. ``root`` holds proc/ and sys/. A folder that is not there yet is judged by where
    it would be made. Raises CouldNotLook, HostError."""
    there = await asyncio.to_thread(_existing, folder)
    if system == "Darwin":
        return await _macos(there, host)
    if system != "Linux":
        raise CouldNotLook(f"whether {there} is encrypted cannot be seen on {system or 'this system'}")
    if await asyncio.to_thread(fscrypt, there):
        return Encryption(encrypted=True, how="fscrypt")
    return await _linux(str(there), host, root, 4)


async def _linux(path: str, host: Host, root: Path, depth: int) -> Encryption:
    mount = await asyncio.to_thread(mounts.holding, path, root)
    if mount.fstype in _ENCRYPTING:
        return Encryption(encrypted=True, how=mount.fstype.removeprefix("fuse."))
    if mount.fstype in _MEMORY:
        raise CouldNotLook(f"{path} lies in memory ({mount.fstype}): it is gone when the PC is switched off")
    if mount.fstype == "zfs":
        return await _zfs(mount, host)
    names = await asyncio.to_thread(devices.beneath, mount, root)
    for name in names:
        if await asyncio.to_thread(devices.encrypted, name, root):
            continue
        if depth and (file := await asyncio.to_thread(devices.backing_file, name, root)):
            below = await _linux(file, host, root, depth - 1)
            if below.encrypted:
                continue
        how = f"{name} below {mount.point} is not encrypted by dm-crypt"
        return Encryption(encrypted=False, how=f"{how} (a drive's own encryption cannot be seen)")
    return Encryption(encrypted=True, how=f"dm-crypt below {mount.point} ({', '.join(names)})")


async def _zfs(mount: Mount, host: Host) -> Encryption:
    argv = ["zfs", "get", "-H", "-o", "value", "encryption", "--", mount.source]
    done = await _asked(host, argv, f"whether the data set {mount.source} is encrypted")
    value = done.decode(errors="replace").strip()
    if value in ("", "-"):
        raise CouldNotLook(f"ZFS does not tell whether the data set {mount.source} is encrypted")
    return Encryption(encrypted=value != "off", how=f"ZFS, encryption={value} of {mount.source}")


async def _macos(path: Path, host: Host) -> Encryption:
    point = path
    while not await asyncio.to_thread(os.path.ismount, point) and point != point.parent:
        point = point.parent
    done = await _asked(host, ["diskutil", "info", "-plist", str(point)], f"whether {point} is encrypted")
    try:
        told = plistlib.loads(done)
        values = [told[key] for key in ("FileVault", "Encryption") if isinstance(told.get(key), bool)]
    except (ValueError, AttributeError, RecursionError, ExpatError):
        values = []
    if values:
        return Encryption(encrypted=any(values), how=f"diskutil, of the volume {point}")
    said = (await _asked(host, ["fdesetup", "status"], "whether FileVault is on")).decode(errors="replace")
    if point == Path("/") and "FileVault is O" in said:
        return Encryption(encrypted="FileVault is On" in said, how="FileVault, as fdesetup tells")
    raise CouldNotLook(f"diskutil does not tell whether the volume {point} is encrypted")


async def _asked(host: Host, argv: list[str], what: str) -> bytes:
    try:
        done = await host.run(argv, timeout=30)
    except HostError as error:
        raise CouldNotLook(f"{what} cannot be asked: {error}") from None
    if not done.ok:
        raise CouldNotLook(f"{what} cannot be asked: {last_words(done)}")
    return done.stdout


def _existing(folder: Path) -> Path:
    folder = folder.expanduser().resolve()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder
