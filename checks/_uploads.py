"""Uploads of the backup against the restored platform: the same bytes, or not?"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from checks._http import NoReply, Reply
from runbook.check import Finding
from runbook.context import Look
from runbook.errors import ActionFailed, CouldNotLook
from runbook.events import Verdict
from runbook.site.model import Request
from runbook.units import size

DATABASE = "edxapp_files"
#: sends the site's request for a path and a limit of bytes: (reply, reply after redirects)
Send = Callable[[Look, Request, str, int], Awaitable[tuple[Reply, Reply]]]


class _Document(msgspec.Struct, rename={"rev": "_rev"}):
    """An upload as CouchDB holds it: the whole file in base64."""

    rev: str = ""
    data: str | None = None


class Upload(NamedTuple):
    name: str
    rev: str
    bytes: int
    sha256: str  #: of the file itself; "" when its data is not base64


async def compare(look: Look, node: str, send: Send | None) -> Finding:
    """Three uploads of the chosen backup against CouchDB (and the LMS) of ``look.host``."""
    dump = await _dump(look, node)
    wanted = await _stoppable(lambda stop: pick(dump, stop))
    if not wanted:
        raise CouldNotLook(f"{dump} holds no uploads to compare.")
    words, verdicts = [], []
    for upload in wanted:
        verdict, said = await _one(look, upload, send)
        verdicts.append(verdict)
        words.append(f"{upload.name} ({size(upload.bytes)}): {said}")
    places = "CouchDB" + (" and the LMS" if send else "")
    return Finding(
        verdict="fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "pass",
        expected=f"{len(wanted)} uploads of the backup byte for byte in {places}",
        observed="; ".join(words),
        evidence=f"from {dump}; "
        + ", ".join(f"{one.name} SHA-256 {one.sha256 or 'unreadable'}" for one in wanted),
    )


async def _dump(look: Look, node: str) -> Path:
    from runbook.backup.choice import chosen_folder

    try:
        folder = await chosen_folder(look)
    except ActionFailed as error:
        raise CouldNotLook(error.what, next=error.next) from None
    dumps = await asyncio.to_thread(lambda: sorted(folder.glob(f"node-{node or '*'}/{DATABASE}.json")))
    if not dumps:
        raise CouldNotLook(f"{folder} holds no node-{node or '<address>'}/{DATABASE}.json to compare with.")
    return dumps[0]


async def _stoppable(work: Callable[[threading.Event], list[Upload]]) -> list[Upload]:
    """Long reading in a thread, which ends when this is cancelled."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(work, stop)
    finally:
        stop.set()


def pick(dump: Path, stop: threading.Event) -> list[Upload]:
    """The first, the largest and the last upload of a dump. Raises DumpDamaged. Blocking."""
    from runbook.couch.reading.inspection import rows

    first = largest = last = None
    for row in rows(dump):
        if stop.is_set():
            break
        if row.id.startswith("_design/") or b'"data"' not in row.doc:
            continue
        first, last = first or row, row
        largest = row if largest is None or len(row.doc) > len(largest.doc) else largest
    chosen = {row.id: row for row in (first, largest, last) if row}
    return [_upload(row.id, row.doc) for row in chosen.values()]


def _upload(name: str, document: bytes) -> Upload:
    try:
        read = msgspec.json.decode(document, type=_Document)
        content = base64.b64decode(read.data or "", validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return Upload(name, "", len(document), "")
    return Upload(name, read.rev, len(content), hashlib.sha256(content).hexdigest())


async def _one(look: Look, wanted: Upload, send: Send | None) -> tuple[Verdict, str]:
    from runbook.couch.connect import node

    if not wanted.sha256:
        return "warn", "the backup's own copy is no base64, cannot be compared"
    client = await node(look, look.host.machine)
    try:
        reply = await asyncio.to_thread(client.request, "GET", (DATABASE, wanted.name), {}, raw=True)
    finally:
        client.close()
    if reply.status == 404:
        return "fail", "NOT in CouchDB"
    if not reply.ok:
        raise CouldNotLook(f"CouchDB on {look.host.name}: {reply.error}")
    held = await asyncio.to_thread(_upload, wanted.name, reply.body)
    if held.sha256 != wanted.sha256:
        if held.rev != wanted.rev:
            return "warn", f"changed since the backup (revision {wanted.rev}, now {held.rev})"
        return "fail", f"DIFFERS in CouchDB at the same revision ({size(held.bytes)})"
    configured = look.site.requests.upload
    if send is None or configured is None:
        return "pass", "same in CouchDB"
    path = configured.path.replace("{name}", quote(wanted.name, safe=""))
    try:
        served, _ = await send(look, configured, path, wanted.bytes + 1)
    except NoReply as error:
        return "fail", f"same in CouchDB, the LMS: {error}"
    if served.status != configured.status:
        return "fail", f"same in CouchDB, the LMS answers {served.status} {served.reason}"
    if hashlib.sha256(served.body).hexdigest() != wanted.sha256:
        return "fail", f"same in CouchDB, the LMS serves other bytes ({size(len(served.body))})"
    return "pass", "same in CouchDB and from the LMS"
