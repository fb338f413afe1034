"""Rows of a dump as text, and what is in them: many at once, quickly, or one, with its fault.

What has to be known of a row is its id and revision, that its document has the same ones, and whether
the contents of attachments lack. msgspec looks for just that and passes over the rest, which it
holds to JSON's grammar all the same; UTF-8 it does not look at.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

#: what can be the matter with a dump
Kind = Literal[
    "empty",
    "error_page",
    "not_a_dump",
    "gzip",
    "cut_off",
    "trailing",
    "not_json",
    "not_utf8",
    "too_deep",
    "no_doc",
    "mismatch",
    "double",
    "disorder",
    "row_count",
    "stub",
    "too_large",
    "partitioned",
    "replication",
]
#: characters that CouchDB writes around a document in its row, besides id (twice) and revision
_AROUND = len('{"id":"","key":"","value":{"rev":""},"doc":},\r\n')
_REVISION = re.compile(r"[0-9]{1,18}-\S+")
_REVISIONS = re.compile(r"(?:[0-9]{1,18}-[0-9a-f]+\n)*")
_HEX = b"0123456789abcdef"
_PART = 1 << 20
_TOO_DEEP = "is nested too deeply to be read"
_BYTE = re.compile(r"\(byte (\d+)\)")


class _Attachment(msgspec.Struct):
    stub: bool = False
    follows: bool = False
    data: Raw | UnsetType = UNSET


class _Document(msgspec.Struct, gc=False, rename={"id": "_id", "rev": "_rev", "attachments": "_attachments"}):
    id: str
    rev: str
    attachments: dict[str, _Attachment] | UnsetType = UNSET


class _Value(msgspec.Struct, gc=False):
    rev: str


class _Row(msgspec.Struct, gc=False):
    id: str
    value: _Value
    doc: _Document | UnsetType | None = UNSET


class _Whole(msgspec.Struct, gc=False):
    id: str
    value: _Value
    doc: _Document


class _Bytes(msgspec.Struct, gc=False):
    doc: Raw


_row, _wholes = msgspec.json.Decoder(_Row), msgspec.json.Decoder(list[_Whole])
_bytes, _byteses = msgspec.json.Decoder(_Bytes), msgspec.json.Decoder(list[_Bytes])
_any = msgspec.json.Decoder(Raw)


class Batch(NamedTuple):
    """Sound rows in their order: ``ids``, ``revs``; ``stubs``: the ids of those with attachments
    whose contents are not in them; ``size``: bytes of the documents (about: as if CouchDB had
    written what is around them); ``docs``: their JSON, where it was asked for."""

    ids: list[str]
    revs: list[str]
    stubs: list[str]
    size: int
    docs: list[bytes]


class Fault(Exception):
    """A row that cannot be used. ``at``: the offset in the text of the row where that shows."""

    def __init__(self, kind: Kind, what: str, at: int = 0, id: str = "") -> None:
        super().__init__(what)
        self.kind, self.what, self.at, self.id = kind, what, at, id


def many(text: memoryview, docs: bool) -> Batch | None:
    """Rows within ``[`` and ``]``; None when anything is the matter with one of them."""
    if _not_utf8(text) is not None:  # msgspec looks at that only in what it decodes
        return None
    try:
        found = _wholes.decode(text)
        held = [bytes(one.doc) for one in _byteses.decode(text)] if docs else []
    except (ValueError, RecursionError):
        return None
    unset, attached = UNSET, []
    for row in found:
        doc = row.doc
        if row.id != doc.id or row.value.rev != doc.rev:
            return None
        if doc.attachments is not unset:
            attached.append(row)
    stubs = [row.id for row in attached if _lacking(row.doc)]
    ids, revs = [row.id for row in found], [row.value.rev for row in found]
    del found, attached  # attachments refer to the text
    if not _revisions(revs):
        return None
    return Batch(ids, revs, stubs, _size(len(text), ids, revs), held)


def one(text: memoryview, docs: bool) -> Batch:
    """A single row, whose JSON is known to be well formed. Raises Fault."""
    if (wrong := _not_utf8(text)) is not None:
        raise Fault("not_utf8", "is not valid UTF-8", wrong)
    try:
        row = _row.decode(text)
        held = bytes(_bytes.decode(text).doc) if docs and isinstance(row.doc, _Document) else b""
    except RecursionError:
        raise Fault("too_deep", _TOO_DEEP) from None
    except ValueError as error:
        raise Fault("not_json", f"is not a valid row: {error}") from None
    id, doc = row.id, row.doc
    if doc is None or isinstance(doc, UnsetType):
        raise Fault("no_doc", "has no document", id=id)
    if id != doc.id or row.value.rev != doc.rev:
        raise Fault("mismatch", f"({id}) holds another document or revision", id=id)
    if not _REVISION.fullmatch(doc.rev):
        raise Fault("mismatch", f"({id}) has no valid revision", id=id)
    stubs = [id] if _lacking(doc) else []
    return Batch(
        [id], [doc.rev], stubs, len(held) or _size(len(text), [id], [doc.rev]), [held] if docs else []
    )


def _not_utf8(text: memoryview) -> int | None:
    """The first byte that is not UTF-8. Large texts are looked at a part at a time."""
    at = 0
    while at < len(text):
        end = at + _PART
        while end < len(text) and text[end] & 0xC0 == 0x80:  # within a character
            end += 1
        try:
            str(text[at:end], "utf-8")
        except UnicodeDecodeError as error:
            return at + error.start
        at = end
    return None


def _lacking(doc: _Document) -> bool:
    found = doc.attachments
    return not isinstance(found, UnsetType) and any(
        one.stub or one.follows or one.data is UNSET for one in found.values()
    )


def _size(text: int, ids: list[str], revs: list[str]) -> int:
    joined = "".join(ids)
    length = len(joined) if joined.isascii() else len(joined.encode())
    return max(text - 2 * length - len("".join(revs)) - _AROUND * len(ids), 0)


def _revisions(revs: list[str]) -> bool:
    """Are all of them such as CouchDB makes? Revisions of one length are looked at column by column,
    which is many times quicker than one by one."""
    text, count = "\n".join(revs) + "\n", len(revs)
    step, dash = len(revs[0]) + 1, revs[0].find("-")
    columns = text.encode()
    if (
        0 < dash < step - 2
        and len(columns) == step * count
        and columns[step - 1 :: step] == b"\n" * count
        and columns[dash::step] == b"-" * count
        and columns.translate(None, _HEX) == b"-\n" * count
        and all(columns[place::step].isdigit() for place in range(dash))
    ):
        return True
    return _REVISIONS.fullmatch(text) is not None


class Unfinished(Exception):
    """The text ends within the object that begins it; it may go on."""


def end(text: memoryview) -> int:
    """Where the object ends that ``text`` begins with. Raises Unfinished, Fault."""
    try:
        return len(_any.decode(text))
    except RecursionError:
        raise Fault("too_deep", _TOO_DEEP) from None
    except msgspec.DecodeError as error:
        found = _BYTE.search(str(error))
        place = int(found[1]) if found else len(text)
        if "trailing" in str(error):
            at = place - 1  # of what follows
            while text[at - 1] in b" \t\r\n":
                at -= 1
            return at
        if found is None or place >= len(text):
            raise Unfinished from None
        raise Fault("not_json", f"is not JSON ({_said(error)})", _first_wrong(text, place)) from None


def _said(error: Exception) -> str:
    return _BYTE.sub("", str(error).removeprefix("JSON is malformed: ")).strip()


def _first_wrong(text: memoryview, near: int) -> int:
    """The first byte that no JSON can have there; msgspec tells the place to within a word."""
    for end in range(max(near - 8, 1), near + 8):
        if not begins(text[:end]):
            return end - 1
    return near


def valid(text: bytes) -> bool:
    """Is it JSON?"""
    try:
        text.decode()
        _any.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def begins(text: memoryview | bytes) -> bool:
    """Can this be the beginning of something in JSON?"""
    try:
        _any.decode(text)
    except RecursionError:
        return True
    except msgspec.DecodeError as error:
        found = _BYTE.search(str(error))
        return found is None or int(found[1]) >= len(text)
    return True
