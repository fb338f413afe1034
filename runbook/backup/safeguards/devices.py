"""Is a block device encrypted by dm-crypt, itself or all that it is made of? By sysfs alone.

A drive that encrypts by itself cannot be seen from here, and does not count.
"""

from __future__ import annotations

from pathlib import Path

from runbook.backup.safeguards.mounts import Mount
from runbook.errors import CouldNotLook

#: what cryptsetup calls its mappings; CRYPT-VERITY and CRYPT-INTEGRITY encrypt nothing
_CRYPT = tuple(f"CRYPT-{kind}" for kind in ("LUKS", "PLAIN", "LOOPAES", "TCRYPT", "BITLK", "FVAULT2"))
#: layers of devices (partition, RAID, LVM, cache …) that are gone through
_DEEPEST = 12


def beneath(mount: Mount, root: Path = Path("/")) -> tuple[str, ...]:
    """Names of the block devices that a mounted file system is made of. ``root`` holds sys/. Raises
    CouldNotLook."""
    known = _all(root)
    names = {name for name, folder in known.items() if _text(folder / "dev") == mount.device}
    if not names and mount.source.startswith("/dev/"):
        # file systems of several devices (btrfs) have a number of their own
        base = mount.source.rpartition("/")[2]
        names = {
            name
            for name, folder in known.items()
            if name == base or ("/mapper/" in mount.source and _text(folder / "dm/name") == base)
        }
    if not names:
        raise CouldNotLook(f"{mount.source} ({mount.fstype}) is no block device that is known here")
    for devices in (root / "sys/fs/btrfs").glob("*/devices"):
        members = {one.name for one in devices.iterdir()}
        if members & names:
            names |= members
    return tuple(sorted(names))


def encrypted(name: str, root: Path = Path("/")) -> bool:
    """Is it encrypted, or everything it is made of? Raises CouldNotLook."""
    return _encrypted(name, _all(root), _DEEPEST)


def backing_file(name: str, root: Path = Path("/")) -> str:
    """The file that a loop device is made of; "" when it is none."""
    return _text(_all(root).get(name, root) / "loop/backing_file")


def _encrypted(name: str, known: dict[str, Path], depth: int) -> bool:
    folder = known.get(name)
    if folder is None or depth == 0:
        raise CouldNotLook(f"the block device {name} cannot be looked at")
    if _text(folder / "dm/uuid").startswith(_CRYPT):
        return True
    slaves = [one.name for one in (folder / "slaves").iterdir()] if (folder / "slaves").is_dir() else []
    if not slaves and (folder / "partition").exists():
        slaves = [folder.resolve().parent.name]  # a partition: of its disk
    return bool(slaves) and all(_encrypted(one, known, depth - 1) for one in slaves)


def _all(root: Path) -> dict[str, Path]:
    blocks = root / "sys/class/block"
    try:
        return {one.name: one for one in blocks.iterdir()}
    except OSError as error:
        raise CouldNotLook(f"{blocks} cannot be read: {error.strerror}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4096).decode(errors="surrogateescape").rstrip("\n")
    except OSError:
        return ""
