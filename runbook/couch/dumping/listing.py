"""``_all_docs?include_docs=true`` of one database into a file, its bytes as they come.

A listing that broke off, or whose writer was killed, goes on after the last row that is whole: the
file is cut there and the rest asked for by ``startkey``, of whichever node answers. That works where
each row is a line, as CouchDB writes; any other layout is begun anew.
"""

from __future__ import annotations

import io
import json
import mmap
import os
from pathlib import Path
from typing import Any

import msgspec

from runbook.couch.asking import Asking, CutOff
from runbook.couch.client import Client
from runbook.couch.dumping.dumpfile import opener
from runbook.couch.progress import Progress

#: what is read and written at once
PIECE = 1 << 20
_HEAD = 1 << 16


class _Row(msgspec.Struct):
    id: str
    doc: msgspec.Raw


_row = msgspec.json.Decoder(_Row)


def fetch(path: Path, database: str, asking: Asking, progress: Progress) -> None:
    """List ``database`` into that file, going on with what is there. Its rows are not judged here, and
    only roughly counted; a listing that a server ended too early is. Raises what ``Asking.ask`` does,
    OSError."""
    path.touch(mode=0o600)
    with open(path, "r+b", buffering=0, opener=opener) as file:
        progress.found(*_there(file))
        asking.ask(
            lambda client: _go_on(client, database, file, asking, progress),
            lambda: os.fstat(file.fileno()).st_size,
        )
        os.fsync(file.fileno())


def _go_on(client: Client, database: str, file: io.FileIO, asking: Asking, progress: Progress) -> None:
    last = _cut(file)
    seam = file.seek(0, os.SEEK_END)
    query: dict[str, Any] = {} if last is None else {"startkey": json.dumps(last)}
    with client.stream(database, "_all_docs", include_docs="true", **query) as body:
        head = body.readline(_HEAD)
        if last is None:
            _write(file, head)
        while piece := body.read1(PIECE):
            _write(file, piece)
            progress.came(piece.count(b"\n{"), len(piece))
            asking.go_on()
    if last is not None:
        _mend(file, seam)
    if not _end(file).endswith(b"]}"):
        raise CutOff(client, f"the list of {database}")


def _write(file: io.FileIO, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _there(file: io.FileIO) -> tuple[int, int]:
    rows = size = 0
    file.seek(0)
    while piece := file.read(PIECE):
        rows, size = rows + piece.count(b"\n{"), size + len(piece)
    return rows, size


def _cut(file: io.FileIO) -> str | None:
    """Shorten the file to before its last row that is whole: that row's id. None: nothing is sure,
    and the file is empty now."""
    found, start = None, 0
    if not file.seek(0, os.SEEK_END):
        return None
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        end = view.rfind(b"\n") + 1
        while end > 0:
            start = view.rfind(b"\n", 0, end - 1) + 1
            found = _id(view[start:end]) if start else None
            if found is not None:
                break
            end = start
    file.truncate(start if found is not None else 0)
    return found


def _id(line: bytes) -> str | None:
    try:
        return _row.decode(line.strip().removesuffix(b",")).id
    except (ValueError, RecursionError):
        return None


def _mend(file: io.FileIO, seam: int) -> None:
    """No row came after the seam: the comma before it is one too many."""
    file.seek(seam)
    if not file.read(16).lstrip().startswith(b"]"):
        return
    file.seek(seam - 3)
    if file.read(3) == b",\r\n":
        file.seek(file.truncate(seam - 3))
        _write(file, b"\r\n]}\n")


def _end(file: io.FileIO) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 64))
    return file.read().rstrip()
