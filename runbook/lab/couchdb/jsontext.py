"""JSON as text: slices are kept as they came, so numbers and key order survive.

CouchDB prints compactly and with plain UTF-8; ``compact`` brings a slice into that form without
touching its numbers.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from runbook.lab.couchdb.errors import bad_request

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_STRINGS = re.compile(_STRING, re.DOTALL)
_TOKENS = re.compile(_STRING + rb"|[ \t\r\n]+", re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]")

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
text = msgspec.json.encode


def members(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, each value as its raw slice. Raises HttpError 400."""
    try:
        return _decode_members(data)
    except (msgspec.ValidationError, TypeError):
        raise bad_request("Document must be a JSON object") from None
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise bad_request("invalid UTF-8 JSON") from None


def value(data: bytes | msgspec.Raw) -> Any:
    """JSON as Python values. Raises HttpError 400."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise bad_request("invalid UTF-8 JSON") from None


def compact(slice_: bytes) -> bytes:
    """One JSON value without white space around its tokens and without needless escapes."""
    first = slice_[:1]
    if first == b'"':
        return _plain(slice_) if b"\\" in slice_ else slice_
    if first in (b"{", b"["):
        if b"\\" not in slice_ and not _SPACE.search(_STRINGS.sub(b"", slice_)):
            return slice_
        return _TOKENS.sub(lambda found: _token(found.group()), slice_)
    return slice_.strip()


def _token(found: bytes) -> bytes:
    if found[:1] != b'"':
        return b""
    return _plain(found) if b"\\" in found else found


def _plain(string: bytes) -> bytes:
    try:
        return text(_decode_text(string))
    except (msgspec.DecodeError, UnicodeError):
        raise bad_request("invalid UTF-8 JSON") from None


def line(found: object) -> bytes:
    """A reply's body: compact JSON and a line end."""
    return text(found) + b"\n"
