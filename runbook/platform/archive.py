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
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Literal, NoReturn

import msgspec

from runbook import units
from runbook.errors import ActionFailed

_CHUNK = 1 << 20
#: an archive of settings is small; one that unpacks to more than this is damaged or an attack
MOST_BYTES = 4_000_000_000
MOST_MEMBERS = 200_000
#: names and other words about one member, which tarfile takes into memory at once
_MOST_WORDS = 1_000_000
_WORDS = frozenset(
    (
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    )
)


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

    def __init__(self, file: IO[bytes], name: str, most: int) -> None:
        self.file, self.name, self.most, self.count = file, name, most, 0

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.count += len(data)
        if self.count > self.most:
            _bomb(self.name, self.most)
        return data


class _Info(tarfile.TarInfo):
    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _WORDS and self.size > _MOST_WORDS:
            _refuse(self.name, "its name takes more than 1 MB")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


def read_listing(path: Path) -> Listing:
    """List ``path`` (.tar.gz), reading it to its very end. Blocking.

    Raises ActionFailed: damaged (cut off, CRC), or a member that must not be unpacked.
    """
    try:
        with path.open("rb") as file:
            members = list_members(file, path.name)
        sha256 = _sha256(path)
    except OSError as error:
        raise ActionFailed(f"{path} cannot be read: {error.strerror}; nothing unpacked.") from None
    return Listing(sha256=sha256, members=members)


def list_members(
    stream: IO[bytes], name: str, take: Callable[[Member, IO[bytes]], str] | None = None, most: int = 0
) -> tuple[Member, ...]:
    """The members of a .tar.gz that comes as a stream, which is read to its very end. ``take`` reads a
    file's content and gives its SHA-256; without it, that is all that is done. ``most``: bytes it may
    unpack to. Raises ActionFailed as read_listing does, OSError when the stream does."""
    members: list[Member] = []
    try:
        for member, file in _walk(stream, name, most or MOST_BYTES):
            if file is not None:
                sha256 = take(member, file) if take else _read(file)
                member = Member(member.name, member.kind, member.size, sha256)
            members.append(member)
    except (EOFError, tarfile.ReadError) as error:
        _damaged(name, f"cut off: {error}")
    except (gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        _damaged(name, f"CRC: {error}")
    if not any(member.kind == "file" for member in members):
        _damaged(name, "no file in it")
    return tuple(members)


def _walk(stream: IO[bytes], name: str, most: int) -> Iterator[tuple[Member, IO[bytes] | None]]:
    links: set[str] = set()
    count = size = 0
    with gzip.GzipFile(fileobj=stream) as plain:
        counting = _Counting(plain, name, most)  # type: ignore[arg-type]
        with tarfile.open(fileobj=counting, mode="r|", errorlevel=2, tarinfo=_Info) as archive:  # type: ignore[call-overload]
            for info in archive:
                count, size = count + 1, size + info.size
                if count > MOST_MEMBERS:
                    _refuse(name, f"more than {MOST_MEMBERS} members")
                if size > most:  # a member with holes unpacks to more than the archive holds
                    _bomb(name, most)
                member = _member(info, links)
                yield member, archive.extractfile(info) if member.kind == "file" else None
                archive.members.clear()  # which would grow with the archive
        while counting.read(_CHUNK):  # the padding, and with it gzip's CRC and length
            pass


def count_gzip(stream: IO[bytes], name: str) -> int:
    """Read a gzip stream to its end; the bytes in it. Blocking. Raises ActionFailed when damaged."""
    count = 0
    try:
        with gzip.GzipFile(fileobj=stream) as plain:
            while chunk := plain.read(_CHUNK):
                count += len(chunk)
    except EOFError as error:
        _damaged(name, f"cut off: {error}")
    except (gzip.BadGzipFile, zlib.error) as error:
        _damaged(name, f"CRC: {error}")
    return count


def _member(info: tarfile.TarInfo, links: set[str]) -> Member:
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
    return Member(plain, "file", info.size)


def _read(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _inside(start: PurePosixPath, target: PurePosixPath) -> bool:
    """Does a link stay below the archive's root? ``..`` counts only at the target's beginning:
    behind another link it would climb from where that one leads."""
    climbs = sum(part == ".." for part in target.parts)
    leading = target.parts[:climbs].count("..")
    return not target.is_absolute() and climbs == leading and climbs <= len(start.parts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bomb(name: str, most: int) -> NoReturn:
    raise ActionFailed(
        f"{name} unpacks to more than {units.size(most)}; nothing unpacked.",
        next="It is not what its name says. Look at it, or take another backup.",
    )


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
