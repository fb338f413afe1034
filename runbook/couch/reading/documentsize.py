"""How large a document is for CouchDB's limit (``max_document_size``).

It measures what it would write itself, compactly and without the fields whose names begin with ``_``
(so not the contents of attachments).
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from msgspec import Raw

_fields = msgspec.json.Decoder(dict[str, Raw])
#: what CouchDB may write in another way than the dump has it
_OTHERWISE = re.compile(rb"[\\ \t\r\n]")


def measured(doc: bytes) -> int:
    """Bytes. Of what is large only views are made: a file in base64 is not copied."""
    try:
        fields = _fields.decode(doc)
    except RecursionError:
        return len(doc)
    kept = {name: value for name, value in fields.items() if not name.startswith("_")}
    names = sum(len(json.dumps(name, ensure_ascii=False).encode()) + 2 for name in kept)
    return max(2, 1 + names + sum(_value(memoryview(value)) for value in kept.values()))


def _value(text: memoryview) -> int:
    if not _OTHERWISE.search(text):
        return len(text)
    try:
        value = json.loads(bytes(text), parse_int=_as_wide, parse_float=_as_wide)
    except RecursionError:
        return len(text)
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _as_wide(number: str) -> Any:
    """Something that takes as many bytes as this number, of whatever size it is."""
    short = len(number) < 18 and number.lstrip("-").isdigit()
    return int(number) if short else "x" * (len(number) - 2)
