"""The manifest of a backup, and its checksum tried in every way it can have been made.

The platform's script makes it on the backup VM, in a folder that later is copied elsewhere:

    find DIR -type f -exec md5sum {} \\; | sort | md5sum      with DIR=/backup/daily/YYYYMMDD

So every hashed line holds the absolute path of back then; the manifest itself was already there,
empty, when it was hashed (other writers leave it out); weekly and monthly copies keep the daily's
checksum with the daily's paths; and helpers drop files into the folder afterwards. A plain
recomputation therefore fails on every good backup. Here each way is tried, and the one that
matched is named; nothing else is ever called a match.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

NAME = "backup_manifest.json"
EMPTY_MD5 = hashlib.md5(b"", usedforsecurity=False).hexdigest()
#: SHA-256 of every file, in the dumps that this program makes
SUMS = "SHA256SUMS"
#: what the platform's fetch script and this program leave beside a backup
LEFT_BY_OTHERS = re.compile(r"calculated_checksum\.txt|SHA256SUMS|logs/.*|\.runbook-.*")
#: a manifest is a few lines; SHA256SUMS a line a file
LARGEST = 4_000_000
_Order = Callable[[bytes], tuple[str | bytes, ...]]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    backup_date: str
    backup_type: str = ""
    nodes: tuple[str, ...] = ()
    checksum: str = ""
    folder: str = ""  #: where it was made; only in the dumps that this program makes

    def made(self) -> datetime | None:
        """``backup_date`` as an aware time (UTC where it names no zone); None: not a date."""
        try:
            moment = datetime.fromisoformat(self.backup_date)
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def md5(self) -> str:
        """The checksum alone (``md5sum`` prints ``<hex>  -``); "" when it is none."""
        word = self.checksum.split()[0].lower() if self.checksum.split() else ""
        return word if re.fullmatch(r"[0-9a-f]{32}", word) else ""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """``way``: the one that gave the manifest's checksum; None: none of the ``tried`` did."""

    way: str | None
    tried: int


def parse(raw: bytes) -> Manifest:
    """Raises ValueError whose text completes "backup_manifest.json …"."""
    if len(raw) > LARGEST:
        raise ValueError("is larger than 4 MB, which no manifest is; it was not read")
    if not raw.strip():
        raise ValueError("is empty: the backup did not end")
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"is not as it should be: {error}") from None
    if not manifest.nodes:
        raise ValueError("names no node")
    if manifest.made() is None:
        raise ValueError(f"has no date in backup_date: {manifest.backup_date!r}")
    return manifest


def read(path: Path) -> bytes | None:
    """Its bytes for parse(), of one that is too large only the beginning; None when there is none.
    Raises OSError."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except FileNotFoundError:
        return None


def checksum(hashes: Mapping[str, str], folder: str) -> str:
    """As the platform's script makes it in ``folder``; ``hashes`` (path below it -> MD5) without the
    manifest, which is there but empty then."""
    text = _listing({**hashes, NAME: EMPTY_MD5}, f"{folder.rstrip('/')}/", _bytes_order)
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def check(
    manifest: Manifest, hashes: Mapping[str, str], *, id: str, here: str, roots: Iterable[str]
) -> Match:
    """Look for the way in which the manifest's checksum was made.

    ``hashes``: path below the folder -> MD5 of every regular file; ``id`` the backup's name; ``here`` its
    folder's path today; ``roots``: folders on the backup VM that may have held the tiers.
    """
    wanted, tried = manifest.md5(), 0
    if not wanted or wanted == EMPTY_MD5:  # of no listing at all: find had failed
        return Match(way=None, tried=0)
    for prefix, where in _folders(manifest, id, here, roots):
        for kept, which in _selections(hashes):
            for order, sorting in ((_bytes_order, ""), (_language_order, ", sorted by language")):
                tried += 1
                text = _listing(kept, prefix, order)
                digest = hashlib.md5(text, usedforsecurity=False).hexdigest()
                if digest == wanted:
                    return Match(way=f"{where}{which}{sorting}", tried=tried)
    return Match(way=None, tried=tried)


def _folders(manifest: Manifest, id: str, here: str, roots: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(text before the relative path, words for it): the likeliest first, none twice."""
    days = [id] if re.fullmatch(r"\d{8}", id) else []
    if made := manifest.made():
        # the folder is named in local time, the date in the manifest may be in UTC
        for shift in (0, -1, 1):
            days.append(f"{made + timedelta(days=shift):%Y%m%d}")
    bases = [root.rstrip("/") for root in roots]
    folders = [manifest.folder.rstrip("/")] if manifest.folder else []
    folders += [f"{base}/daily/{day}" for base in bases for day in days]
    folders += [f"{base}/{tier}/{id}" for base in bases for tier in ("daily", "weekly", "monthly", "pinned")]
    folders += [f"{base}/{id}" for base in bases] + [here.rstrip("/")]
    for folder in dict.fromkeys(folders):
        yield f"{folder}/", f"paths as in {folder}"
    yield "./", "paths from inside the folder (./…)"
    for name in dict.fromkeys([id, *days]):
        yield f"{name}/", f"paths from beside the folder ({name}/…)"
        yield f"./{name}/", f"paths from beside the folder (./{name}/…)"
    yield "", "paths from inside the folder"


def _selections(hashes: Mapping[str, str]) -> Iterator[tuple[dict[str, str], str]]:
    without = {name: md5 for name, md5 in hashes.items() if name != NAME}
    own = {name: md5 for name, md5 in without.items() if not LEFT_BY_OTHERS.fullmatch(name)}
    for files, words in ((own, ""), (without, ", all files beside it included")):
        if files is without and len(own) == len(without):
            return
        yield files | {NAME: EMPTY_MD5}, f", manifest hashed while empty{words}"
        yield files, f", manifest left out{words}"


def _listing(files: Mapping[str, str], prefix: str, order: _Order) -> bytes:
    lines = sorted((_line(md5, prefix + name) for name, md5 in files.items()), key=order)
    return b"".join(line + b"\n" for line in lines)


def _line(md5: str, path: str) -> bytes:
    """As md5sum prints it: a backslash in front when the name had to be escaped."""
    raw = path.encode(errors="surrogateescape")
    escaped = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if escaped != raw else b"") + md5.encode() + b"  " + escaped


def _bytes_order(line: bytes) -> tuple[bytes]:
    return (line,)


def _language_order(line: bytes) -> tuple[str, ...]:
    """Roughly as sort does under LANG=en_US: punctuation counts only between otherwise equal lines.
    Matters where two files have the same content, so that their paths decide."""
    text = line.decode(errors="surrogateescape")
    letters = "".join(char for char in text if char.isalnum())
    return (letters.casefold(), letters.swapcase(), text)
