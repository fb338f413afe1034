"""One file of a backup, read once: hashed, and what is in it judged by what it is."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import msgspec

from runbook.backup import layout, manifest
from runbook.backup.verifying import configuration, relations, uploads
from runbook.backup.verifying.configuration import Configuration
from runbook.backup.verifying.feed import Came, Feed
from runbook.couch.reading import beside, inspection
from runbook.couch.reading.inspection import Inspection
from runbook.couch.reading.reader import database_name
from runbook.errors import ActionFailed, RunbookError
from runbook.platform import archive
from runbook.platform.archive import Member
from runbook.units import size

Kind = Literal["text", "dump", "beside", "settings", "logs", "archive", "gzip", "other"]
_DUMP = re.compile(r"node-[^/]+/[^/]+\.json(\.gz)?", re.DOTALL)
_BESIDE = re.compile(rf"node-[^/]+/{beside.FOLDER}/[^/]+{re.escape(beside.ATTACHED)}", re.DOTALL)


class Examined(msgspec.Struct, kw_only=True):
    """``damage``: why it is not good; ``fact``: what was read. ``stamp``: its size and time (ns) before
    it was read; ``text``: of a small file that belongs to the backup itself."""

    name: str
    kind: Kind
    size: int = 0
    md5: str = ""
    sha256: str = ""
    stamp: tuple[int, int] = (0, 0)
    damage: str = ""
    remark: str = ""
    fact: str = ""
    text: bytes = b""
    dump: Inspection | None = None
    uploads: uploads.Uploads | None = None
    names: relations.Names | None = None
    settings: Configuration | None = None


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """``limit``: the servers' limit for a document, in bytes; ``relate``: gather the names that a dump's
    documents refer to; ``path``: of the file on disk, if it is one; ``keep``: the text of settings."""

    limit: int = 0
    relate: bool = False
    path: str = ""
    keep: bool = False


def kind_of(name: str) -> Kind:
    """``name``: the path below the backup's folder."""
    last = PurePosixPath(name).name
    if name in (manifest.NAME, manifest.SUMS) or (
        f"/{beside.FOLDER}/" in name and last.endswith(beside.META)
    ):
        return "text"
    if _DUMP.fullmatch(name):
        return "dump"
    if _BESIDE.fullmatch(name):
        return "beside"
    if last == layout.LOGS:
        return "logs"
    if last.endswith((".tar.gz", ".tgz")):
        return "settings" if last == layout.CONFIG or "/" not in name else "archive"
    return "gzip" if last.endswith(".gz") else "other"


def examine(source: IO[bytes], name: str, wish: Wish, came: Came | None = None) -> Examined:
    """Reads it to its end. Raises OSError when it cannot be read, InterruptedError from ``came``."""
    found = Examined(name=name, kind=kind_of(name))
    feed = Feed(source, came)
    file = feed.buffered()
    try:
        _judge(file, found, wish)
    except RunbookError as error:
        found.damage = error.what
    feed.rest(file)
    found.size, found.md5, found.sha256 = feed.size, feed.md5, feed.sha256
    if found.dump:
        found.dump = msgspec.structs.replace(found.dump, bytes=feed.size)
    return found


def _judge(file: io.BufferedReader, found: Examined, wish: Wish) -> None:
    match found.kind:
        case "text":
            found.text = file.read(manifest.LARGEST + 1)
        case "dump" | "beside":
            _dump(file, found, wish)
        case "settings":
            _settings(file, found)
        case "logs":
            _logs(file, found)
        case "archive":
            members = archive.list_members(file, found.name)
            found.fact = f"{_files(members)}, safe"
        case "other" if wish.keep:
            found.text = file.read(configuration.SMALL)
        case "gzip":
            archive.count_gzip(file, found.name)
            found.fact = "read to its end"


def _dump(file: io.BufferedReader, found: Examined, wish: Wish) -> None:
    path = Path(wish.path or found.name)
    database = database_name(path)
    files = uploads.Judge() if database == uploads.DATABASE and found.kind == "dump" else None
    names = relations.Judge(accounts=database == "_users") if wish.relate else None

    def watch(text: memoryview) -> None:
        if files:
            files(text)
        if names:
            names(text)

    limit = wish.limit if found.kind == "dump" else 0
    found.dump = inspection.inspect_file(file, path, 0, limit, watch if files or names else None)
    found.uploads = files.found if files else None
    found.names = names.found if names else None


def _settings(file: io.BufferedReader, found: Examined) -> None:
    texts: dict[str, str] = {}

    def take(member: Member, content: IO[bytes]) -> str:
        if not configuration.wanted(member):
            return _hashed(content)
        raw = content.read()
        texts[member.name] = raw.decode("utf-8", "replace")
        return hashlib.sha256(raw).hexdigest()

    members = archive.list_members(file, found.name, take)
    files = tuple(member.name for member in members if member.kind == "file")
    found.settings = Configuration(files=files, bytes=sum(m.size for m in members), texts=texts)
    found.fact = f"{_files(members)}, safe"


def _logs(file: io.BufferedReader, found: Examined) -> None:
    """Logs are read by people and unpacked by nobody: what could land elsewhere is told, no more. One
    without a file in it is what the platform makes where there is no log."""
    if not file.peek(2).startswith(b"\x1f\x8b"):
        found.damage = f"{found.name} is damaged: it is no gzip file"
        return
    try:
        found.fact = _files(archive.list_members(file, found.name))
    except ActionFailed as error:
        if "refused" in error.what:
            found.remark = error.what
        elif "no file in it" in error.what:
            found.remark = f"{found.name} holds no log"
        else:
            raise


def _hashed(content: IO[bytes]) -> str:
    return hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]


def _files(members: tuple[Member, ...]) -> str:
    count = sum(member.kind == "file" for member in members)
    return f"{count} files, {size(sum(member.size for member in members))} unpacked"
