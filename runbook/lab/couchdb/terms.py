"""Erlang's external term format, as far as document revisions need it.

CouchDB hashes documents in this form (``term_to_binary`` with ``minor_version`` 1). A JSON object is a
1-tuple holding a list of pairs; a string is a binary; a list of small integers is a byte string.
"""

from __future__ import annotations

import struct
from typing import Any

_ATOMS = {True: b"d\0\4true", False: b"d\0\5false", None: b"d\0\4null"}


def encode(value: Any) -> bytes:
    """``value`` as an external term: JSON values, bytes, and tuples."""
    out: list[bytes] = [b"\x83"]
    _append(value, out)
    return b"".join(out)


def _append(value: Any, out: list[bytes]) -> None:
    if value is None or value is True or value is False:
        out.append(_ATOMS[value])
    elif isinstance(value, int):
        out.append(_integer(value))
    elif isinstance(value, float):
        out.append(b"F" + struct.pack(">d", value))
    elif isinstance(value, str):
        _append(value.encode("utf-8", "surrogatepass"), out)
    elif isinstance(value, bytes):
        out.append(b"m" + struct.pack(">I", len(value)))
        out.append(value)
    elif isinstance(value, tuple):
        out.append(b"h" + bytes([len(value)]))
        for item in value:
            _append(item, out)
    elif isinstance(value, dict):
        out.append(b"h\x01")
        _append(list(value.items()), out)
    elif isinstance(value, list):
        _append_list(value, out)
    else:
        raise TypeError(f"no Erlang term for {type(value).__name__}")


def _integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"a" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"b" + struct.pack(">i", value)
    size = (abs(value).bit_length() + 7) // 8
    head = b"n" + bytes([size]) if size < 256 else b"o" + struct.pack(">I", size)
    return head + bytes([value < 0]) + abs(value).to_bytes(size, "little")


def _append_list(value: list[Any], out: list[bytes]) -> None:
    if not value:
        out.append(b"j")
    elif len(value) < 65536 and all(type(item) is int and 0 <= item < 256 for item in value):
        out.append(b"k" + struct.pack(">H", len(value)) + bytes(value))
    else:
        out.append(b"l" + struct.pack(">I", len(value)))
        for item in value:
            _append(item, out)
        out.append(b"j")
