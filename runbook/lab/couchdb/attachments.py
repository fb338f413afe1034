"""Attachments: inline in a document, as stubs, and their stored form.

Types worth compressing are stored gzipped; the digest is the MD5 of the stored bytes, so that of
a text file is not the MD5 of its contents.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import zlib
from dataclasses import dataclass, replace
from typing import Any

from runbook.lab.couchdb import jsontext
from runbook.lab.couchdb.errors import HttpError, bad_request

_COMPRESSIBLE = ("text/*", "application/javascript", "application/json", "application/xml")


@dataclass(frozen=True, slots=True)
class Attachment:
    name: str
    content_type: str
    revpos: int
    digest: bytes  #: MD5 of the stored bytes
    length: int  #: of the contents
    data: bytes | None  #: the contents; None for a stub that still has to find them

    def printed(self, *, contents: bool = False) -> dict[str, object]:
        """As documents show it: a stub, or with its contents in base64."""
        found: dict[str, object] = {
            "content_type": self.content_type,
            "revpos": self.revpos,
            "digest": "md5-" + base64.b64encode(self.digest).decode(),
        }
        if contents:
            found["data"] = base64.b64encode(self.data or b"").decode()
        else:
            found |= {"length": self.length, "stub": True}
        return found


def made(name: str, content_type: str, data: bytes, revpos: int) -> Attachment:
    return Attachment(name, content_type, revpos, _digest(content_type, data), len(data), data)


def parse(raw: bytes, position: int) -> tuple[Attachment, ...]:
    """``_attachments`` of a document at revision ``position``. Raises HttpError.

    A stub's digest that is no base64 crashes the request, as CouchDB does.
    """
    found = jsontext.value(raw)
    if not isinstance(found, dict):
        raise bad_request("Attachments must be a JSON object")
    return tuple(_one(name, entry, position) for name, entry in found.items())


def _one(name: str, entry: Any, position: int) -> Attachment:
    if not isinstance(entry, dict):
        raise bad_request("Attachment must be a JSON object")
    content_type = str(entry.get("content_type", "application/octet-stream"))
    revpos = int(entry.get("revpos", position))
    if entry.get("stub") is True:
        return Attachment(name, content_type, revpos, _given(entry), int(entry.get("length", 0)), None)
    try:
        data = base64.b64decode(entry.get("data", ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise bad_request(f"Invalid attachment data for {name}") from None
    return made(name, content_type, data, revpos)


def _given(entry: dict[str, Any]) -> bytes:
    kind, _, text = str(entry.get("digest", "md5-")).partition("-")
    try:
        return base64.b64decode(text, validate=True) if kind == "md5" else b""
    except binascii.Error:
        raise HttpError(500, "unknown_error", "function_clause", ref=zlib.crc32(text.encode())) from None


def filled(
    wanted: tuple[Attachment, ...], held: tuple[Attachment, ...], doc_id: str
) -> tuple[Attachment, ...]:
    """``wanted`` with its stubs' contents taken from ``held``. Raises HttpError 412 missing_stub."""
    by_name = {item.name: item for item in held}
    found = []
    for item in wanted:
        if item.data is None:
            source = by_name.get(item.name)
            if source is None:
                reason = f"Invalid attachment stub in {doc_id} for {item.name}"
                raise HttpError(412, "missing_stub", reason)
            item = replace(source, revpos=min(item.revpos, source.revpos))
        found.append(item)
    return tuple(found)


def _digest(content_type: str, data: bytes) -> bytes:
    plain = content_type.partition(";")[0].strip().lower()
    if any(fnmatch.fnmatchcase(plain, pattern) for pattern in _COMPRESSIBLE):
        packer = zlib.compressobj(8, zlib.DEFLATED, 31, 8)
        data = packer.compress(data) + packer.flush()
    return hashlib.md5(data, usedforsecurity=False).digest()
