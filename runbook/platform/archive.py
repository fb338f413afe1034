"""Reading tar archives that came from elsewhere: listed, judged and read to the end before anything
is unpacked anywhere.

GNU tar extracts device nodes and setuid bits as root, and follows links that stand in the
destination, all with exit status 0. So whatever could land outside its folder is refused here.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Literal, NoReturn

import msgspec

from runbook.errors import ActionFailed

_CHUNK = 1 << 20
#: an archive of settings is small; one that unpacks to more than this is damaged or an attack
MOST_BYTES = 4_000_000_000
MOST_MEMBERS = 200_000


class Member(msgspec.Struct, frozen=True):
    """``name`` without a leading ``./``; ``sha256`` of a file's bytes, else empty."""

    name: str
    kind: Literal["file", "folder", "link"]
    size: int = 0
    sha256: str = ""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A safe and whole archive."""

    sha256: str  #: of the archive file
    members: tuple[Member, ...]

    @property
    def bytes(self) -> int:
        return sum(member.size for member in self.members)

    def top(self) -> str:
        """The one folder that holds everything (``openedx-ha``); "" when there is none or when it
        is one of the platform's own (docker, config)."""
        first = {member.name.partition("/")[0] for member in self.members}
        files_at_top = any("/" not in member.name and member.kind != "folder" for member in self.members)
        if len(first) != 1 or files_at_top or first <= {"docker", "config"}:
            return ""
        return first.pop()

    def files(self, *, strip: str = "") -> dict[str, str]:
        """Path as unpacked -> SHA-256. Of a name that comes twice the last one counts, as in tar."""
        prefix = f"{strip}/" if strip else ""
        return {m.name.removeprefix(prefix): m.sha256 for m in self.members if m.kind == "file"}


class _Counting:
    """Reads on and remembers how much; tarfile only sees ``read``."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.file, self.name, self.count = file, name, 0

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.count += len(data)
        if self.count > MOST_BYTES:
            raise ActionFailed(
                f"{self.name} unpacks to more than {MOST_BYTES // 10**9} GB; nothing unpacked.",
                next="It is not an archive of settings. Look at it, or take another backup.",
            )
        return data


def read_listing(path: Path) -> Listing:
    """List ``path`` (.tar.gz), reading it to its very end. Blocking.

    Raises ActionFailed: damaged (cut off, CRC), or a member that must not be unpacked.
    """
    members: list[Member] = []
    links: set[str] = set()
    try:
        with gzip.open(path, "rb") as plain:
            counting = _Counting(plain, path.name)  # type: ignore[arg-type]
            with tarfile.open(fileobj=counting, mode="r|", errorlevel=2) as archive:  # type: ignore[call-overload]
                for info in archive:
                    members.append(_member(archive, info, links))
                    if len(members) > MOST_MEMBERS:
                        _refuse(path.name, f"more than {MOST_MEMBERS} members")
            while counting.read(_CHUNK):  # the padding, and with it gzip's CRC and length
                pass
        sha256 = _sha256(path)
    except (EOFError, tarfile.ReadError) as error:
        _damaged(path.name, f"cut off: {error}")
    except (gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        _damaged(path.name, f"CRC: {error}")
    except OSError as error:
        raise ActionFailed(f"{path} cannot be read: {error.strerror}; nothing unpacked.") from None
    if not any(member.kind == "file" for member in members):
        _damaged(path.name, "no file in it")
    return Listing(sha256=sha256, members=tuple(members))


def read_gzip(path: Path) -> int:
    """Read a gzip file to its end; the bytes in it. Blocking. Raises ActionFailed when damaged."""
    count = 0
    try:
        with gzip.open(path, "rb") as plain:
            while chunk := plain.read(_CHUNK):
                count += len(chunk)
    except EOFError as error:
        _damaged(path.name, f"cut off: {error}")
    except (gzip.BadGzipFile, zlib.error) as error:
        _damaged(path.name, f"CRC: {error}")
    return count


def _member(archive: tarfile.TarFile, info: tarfile.TarInfo, links: set[str]) -> Member:
    name = info.name
    path = PurePosixPath(name)
    if name.startswith("/"):
        _refuse(name, "absolute")
    if ".." in path.parts:
        _refuse(name, "'..'")
    if "\0" in name:
        _refuse(name, "a NUL in its name")
    if not (info.isfile() or info.isdir() or info.issym() or info.islnk()):
        _refuse(name, "device")
    if info.mode & 0o6000:
        _refuse(name, "setuid")
    plain = str(path)
    if any(str(parent) in links for parent in path.parents):
        _refuse(name, "lies behind a link of the same archive")
    if info.issym() or info.islnk():
        # a symbolic link starts in its own folder, a hard link at the archive's root
        start = path.parent if info.issym() else PurePosixPath()
        if not _inside(start, PurePosixPath(info.linkname)):
            _refuse(name, "link out")
        links.add(plain)
        return Member(plain, "link")
    if info.isdir():
        return Member(plain, "folder")
    digest = hashlib.sha256()
    file = archive.extractfile(info)
    while file and (chunk := file.read(_CHUNK)):
        digest.update(chunk)
    return Member(plain, "file", info.size, digest.hexdigest())


def _inside(start: PurePosixPath, target: PurePosixPath) -> bool:
    """Does a link stay below the archive's root? ``..`` counts only at the target's beginning:
    behind another link it would climb from where that one leads."""
    climbs = sum(part == ".." for part in target.parts)
    leading = target.parts[:climbs].count("..")
    return not target.is_absolute() and climbs == leading and climbs <= len(start.parts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse(member: str, why: str) -> NoReturn:
    raise ActionFailed(
        f"Archive refused: member {member} ({why}). Nothing was unpacked.",
        next="Look at where the archive comes from; take another node's or an older backup.",
    )


def _damaged(name: str, why: str) -> NoReturn:
    raise ActionFailed(
        f"{name} is damaged ({why}); nothing unpacked.",
        next="Take another copy of the backup, another node's archive, or an older backup.",
    )
