"""The platform's folder on a VM: what lies there, and whether it is what an archive holds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

from runbook.backup import choice, layout
from runbook.context import Look
from runbook.errors import ActionFailed
from runbook.hosts.base import Host
from runbook.platform import archive
from runbook.platform.archive import Listing
from runbook.platform.compose import FILES

MARKER = ".runbook-unpacked"
#: file names in one command line
_AT_ONCE = 400


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Left in the unpacked folder: which archive it is, and its files' SHA-256."""

    sha256: str
    source: str
    compose_dir: str
    files: dict[str, str]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The archive for one machine, judged safe."""

    path: str
    listing: Listing
    strip: str
    compose: str  #: the compose folder in it ("docker"; "." for its top)

    @property
    def files(self) -> dict[str, str]:
        return self.listing.files(strip=self.strip)


def folder(look: Look) -> str:
    """The platform's folder on a VM, as its commands see it from home."""
    return look.site.platform.folder.removeprefix("~/").rstrip("/")


async def archive_path(look: Look) -> Path:
    """The configuration archive for ``look.host``. Raises ActionFailed."""
    chosen = await choice.chosen_folder(look)
    found = await asyncio.to_thread(layout.config_archive, chosen, look.host.machine.internal)
    if found is None:
        raise ActionFailed(
            f"No config.tar.gz in {chosen}, neither of {look.host.machine.internal} nor of another node.",
            next="Choose another backup, or put the configuration on the VMs by hand.",
        )
    return found


async def source(look: Look) -> Source:
    """The archive, listed and read to its end. Raises ActionFailed: damaged, unsafe, no compose file."""
    path = await archive_path(look)
    listing = await asyncio.to_thread(archive.read_listing, path)
    strip = listing.top()
    found = compose_folder(listing.files(strip=strip))
    if found is None:
        raise ActionFailed(
            f"{path} holds no compose file ({', '.join(FILES)}). Nothing was changed.",
            next="Take another node's archive or an older backup.",
        )
    return Source(path=str(path), listing=listing, strip=strip, compose=found)


def compose_folder(files: Mapping[str, str]) -> str | None:
    """The folder of the compose file: ``docker`` if it is there, else the one nearest to the top."""
    found = {str(PurePosixPath(name).parent) for name in files if PurePosixPath(name).name in FILES}
    return min(found, key=lambda name: (name != "docker", name.count("/"), name != ".", name), default=None)


async def read_marker(host: Host, where: str) -> Marker | None:
    raw = await host.read_bytes(f"{where}/{MARKER}")
    try:
        return msgspec.json.decode(raw, type=Marker) if raw else None
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        return None


async def changed(host: Host, where: str, files: Mapping[str, str]) -> list[str]:
    """Files below ``where`` that are missing or have other contents, by sha256sum there."""
    names = sorted(files)
    found: dict[str, str] = {}
    for start in range(0, len(names), _AT_ONCE):
        argv = ["sha256sum", *(f"./{name}" for name in names[start : start + _AT_ONCE])]
        done = await host.run(argv, cwd=where, timeout=300, limit=16_000_000)
        found |= parse_sums(done.stdout)
    return [name for name in names if found.get(name) != files[name]]


def parse_sums(output: bytes) -> dict[str, str]:
    """What sha256sum printed: name (without ``./``) -> hash. A backslash in front: an escaped name."""
    found = {}
    for line in output.decode(errors="surrogateescape").split("\n"):
        escaped = line.startswith("\\")
        digest, sign, name = line.removeprefix("\\").partition("  ")
        if sign:
            if escaped:
                parts = name.split("\\\\")
                name = "\\".join(part.replace("\\n", "\n").replace("\\r", "\r") for part in parts)
            found[name.removeprefix("./")] = digest
    return found
