"""Damaged backups: as a backup script that met trouble would have left them, checksum included."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

from runbook.lab import sampleconfig
from runbook.lab.layout import PRODUCTION, Layout
from runbook.lab.samplebackup import platform_checksum

MANIFEST = "backup_manifest.json"


class Newest:
    """The newest daily backup in one place; ``remote`` is the folder whose paths its checksum has."""

    def __init__(self, folder: Path, remote: Path, label: str) -> None:
        self.folder, self._remote, self._label = folder, remote, label

    def keep(self, where: Path) -> None:
        """Remember the undamaged files (by hard links: damage is always written as a new file)."""
        kept = where / self._label
        if not kept.exists():
            shutil.copytree(self.folder, kept, copy_function=os.link)

    def restore(self, where: Path) -> None:
        kept = where / self._label
        if kept.exists():
            shutil.rmtree(self.folder)
            shutil.copytree(kept, self.folder, copy_function=os.link)

    def write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        new = path.with_name(f"{path.name}.new")
        new.write_bytes(data)
        new.chmod(0o644)
        new.replace(path)

    def rehash(self) -> None:
        """The backup script hashed what it had written, damaged or not."""
        hashes = {
            str(path.relative_to(self.folder)): hashlib.md5(
                path.read_bytes(), usedforsecurity=False
            ).hexdigest()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name not in (MANIFEST, "calculated_checksum.txt")
        }
        manifest = json.loads((self.folder / MANIFEST).read_bytes())
        manifest["checksum"] = platform_checksum(hashes, self._remote)
        self.write(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def newest(layout: Layout) -> list[Newest]:
    """On the backup VM, and on this PC when it has been fetched."""
    dailies = sorted((layout.remote_backups / "daily").glob("[0-9]*"))
    if not dailies:
        return []
    remote = dailies[-1]
    found = [Newest(remote, remote, "remote")]
    local = layout.backups / remote.name
    return [*found, Newest(local, remote, "local")] if local.is_dir() else found


def cut_dump(backup: Newest) -> None:
    """The connection to CouchDB went while the first node's courses were read."""
    name = f"node-{PRODUCTION[0].internal}/openedx_1.json"
    data = (backup.folder / name).read_bytes()
    backup.write(name, data[: len(data) * 3 // 5])


def missing_dump(backup: Newest) -> None:
    for path in backup.folder.glob("node-*/edxapp_files.json"):
        path.unlink()


def unsafe_tar(backup: Newest) -> None:
    for spec in PRODUCTION:
        plain = io.BytesIO(gzip.decompress(_archive(spec.index)))
        with tarfile.open(fileobj=plain, mode="a") as archive:
            out = tarfile.TarInfo("docker/config/certificates")
            out.type, out.linkname = tarfile.SYMTYPE, "../../../.ssh"
            archive.addfile(out)
            key = b"ssh-ed25519 AAAA attacker\n"
            member = tarfile.TarInfo("../../.ssh/authorized_keys")
            member.size = len(key)
            archive.addfile(member, io.BytesIO(key))
        backup.write(f"node-{spec.internal}/config.tar.gz", gzip.compress(plain.getvalue()))


def move_compose(backup: Newest) -> None:
    """The other shape in which such archives occur, with another folder's name."""
    for spec in PRODUCTION:
        moved = {
            f"openedx-ha/deploy/{name.removeprefix('docker/')}"
            if name.startswith("docker/")
            else f"openedx-ha/{name}": text
            for name, text in sampleconfig.files(spec.index).items()
        }
        made = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()
        backup.write(f"node-{spec.internal}/config.tar.gz", sampleconfig.tar_gz(moved, made))


def _archive(index: int) -> bytes:
    made = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()
    return sampleconfig.config_archive(index, made)
