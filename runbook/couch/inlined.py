"""Documents with the contents of their attachments inline, as ``GET doc?attachments=true`` shows them."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from runbook.couch.reader import Row


class _Attachment(msgspec.Struct):
    length: int = 0  #: of a stub
    data: Raw | UnsetType = UNSET


class _Document(msgspec.Struct, rename={"id": "_id", "rev": "_rev", "attachments": "_attachments"}):
    id: str = ""
    rev: str = ""
    attachments: dict[str, _Attachment] = {}


_document = msgspec.json.Decoder(_Document)


def length(row: Row) -> int | None:
    """Bytes of all attachments whose contents are not in the row; None: it has none such."""
    if not row.stubs:
        return None
    return sum(one.length for one in _document.decode(row.doc).attachments.values() if one.data is UNSET)


def complete(doc: bytes, id: str, rev: str, length: int) -> bool:
    """Is that the whole of this document in this revision, with ``length`` bytes of attachments?"""
    try:
        found = _document.decode(doc)
    except (ValueError, RecursionError):
        return False
    contents = [one.data for one in found.attachments.values()]
    held = sum(_decoded(one) for one in contents if not isinstance(one, UnsetType))
    return (found.id, found.rev, held) == (id, rev, length) and UNSET not in contents


def _decoded(text: Raw) -> int:
    """Bytes that a base64 string stands for."""
    coded = memoryview(text)[1:-1]
    padding = bytes(coded[-2:]).count(b"=")
    return len(coded) * 3 // 4 - padding
