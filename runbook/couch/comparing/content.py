"""Is the content of two documents the same? As values, not as text, attachments included.

A server may write the same number or key order in another way. Of an upload, which is a document
with the file in base64 under ``data``, the file's own bytes are compared. An attachment is known by
its contents where they stand in the document, else by the digest of its stub: the MD5 of the stored
bytes, which for text are compressed ones, so that it is not always the MD5 of the contents.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from decimal import Context, Decimal, DecimalException
from typing import Any, NamedTuple


class Attachment(NamedTuple):
    """``digest`` as in a stub; ``inline``: it is that of the contents themselves."""

    type: str
    length: int
    digest: str
    inline: bool


class Content(NamedTuple):
    """``fields``: SHA-256 over the values of the document's own fields."""

    fields: bytes
    attachments: Mapping[str, Attachment]


def of(doc: bytes) -> Content:
    """Of a document's JSON, whatever the order of its members."""
    try:
        found = json.loads(doc, parse_int=_number, parse_float=_number)
    except RecursionError:
        return Content(hashlib.sha256(doc).digest(), {})
    fields = {key: value for key, value in found.items() if not key.startswith("_")}
    if found.get("_deleted") is not None:
        fields["_deleted"] = found["_deleted"]
    if "content_type" in fields and isinstance(fields.get("data"), str):
        try:
            upload = base64.b64decode(fields["data"], validate=True)
            fields["data"] = {"#file": hashlib.sha256(upload).hexdigest()}
        except (binascii.Error, ValueError):
            pass  # not a file after all: compared as text
    attached = found.get("_attachments")
    return Content(
        hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest(),
        {name: _attachment(one) for name, one in attached.items()} if isinstance(attached, dict) else {},
    )


def md5(contents: bytes) -> str:
    """As a stub shows it, where the server stores the contents as they are."""
    return digest_text(hashlib.md5(contents, usedforsecurity=False).digest())


def digest_text(raw: bytes) -> str:
    return f"md5-{base64.b64encode(raw).decode()}"


def unsettled(left: Content, right: Content) -> tuple[str, ...] | None:
    """None: they differ for sure. Else the names of attachments of the same type and length whose
    digests cannot tell; none of them: the contents are the same."""
    if left.fields != right.fields or left.attachments.keys() != right.attachments.keys():
        return None
    names = []
    for name, one in left.attachments.items():
        other = right.attachments[name]
        if (one.type, one.length) != (other.type, other.length):
            return None
        if one.digest != other.digest:
            if one.inline and other.inline:
                return None
            names.append(name)
    return tuple(names)


def _attachment(found: Any) -> Attachment:
    one = found if isinstance(found, dict) else {}
    kind = str(one.get("content_type", "application/octet-stream"))
    if not isinstance(one.get("data"), str):
        length = one.get("length")
        return Attachment(
            kind, int(Decimal(length["#number"])) if length else 0, str(one.get("digest")), False
        )
    try:
        contents = base64.b64decode(one["data"])
    except (binascii.Error, ValueError):
        contents = one["data"].encode()
    return Attachment(kind, len(contents), md5(contents), True)


def _number(text: str) -> Any:
    """A number by its exact value: 1.50 is 1.5, thirty digits are thirty digits, -0.0 is not 0."""
    try:
        value = str(Context(prec=len(text) + 1).normalize(Decimal(text)))
    except DecimalException:
        value = text
    return {"#number": value}
