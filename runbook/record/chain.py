"""The journal's lines: how a record is written, and how a chain of them is proved.

One line a record, JSON:
``{"v":1,"seq":N,"at":"…","prev":"<hash>","event":{…},"hash":"<hash>"}``. ``hash`` is the SHA-256 of
the line's raw bytes before ``,"hash":"``; ``prev`` is the hash of the record before, 64 zeros in
the first. Whoever can write the file can also compute a new chain: what proves a run is the last
hash, kept elsewhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from runbook.events import Event, Record, Unknown

VERSION = 1
FIRST = "0" * 64
_SUFFIX = b',"hash":"'
_TAIL = len(_SUFFIX) + 64 + len(b'"}')
#: a damaged journal is described by its first problems
_MOST_PROBLEMS = 20

_TAGS = {kind.__struct_config__.tag for kind in get_args(Event)}


class _Line(msgspec.Struct):
    v: int
    seq: int
    at: str
    prev: str
    event: Event
    hash: str


class _AnyLine(msgspec.Struct):
    v: int
    seq: int
    at: str
    prev: str
    event: msgspec.Raw
    hash: str


class _Tagged(msgspec.Struct):
    type: str


_known = msgspec.json.Decoder(_Line)
_any = msgspec.json.Decoder(_AnyLine)
_tagged = msgspec.json.Decoder(_Tagged)
_encode = msgspec.json.Encoder().encode


@dataclass
class Scan:
    """What is in a journal's bytes. ``good`` is the length of the whole lines, ``tail`` what
    follows them (a line that was cut off); ``problems`` name the record and what is wrong."""

    records: list[Record]
    head: str
    good: int
    tail: bytes
    problems: list[str]


def line(seq: int, at: str, prev: str, event: dict[str, Any]) -> tuple[bytes, str]:
    """(the line with its line end, its hash)."""
    try:
        body = _body(seq, at, prev, event)
    except (UnicodeEncodeError, OverflowError):
        body = _body(seq, at, prev, _encodable(event))
    digest = hashlib.sha256(body).hexdigest()
    return body + _SUFFIX + digest.encode() + b'"}\n', digest


def _body(seq: int, at: str, prev: str, event: Any) -> bytes:
    return _encode({"v": VERSION, "seq": seq, "at": at, "prev": prev, "event": event})[:-1]


def _encodable(value: Any) -> Any:
    """Without what JSON cannot hold: halves of characters (file names that are not UTF-8) become
    U+FFFD, numbers of more than 64 bits become text."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return str(value) if isinstance(value, int) and value.bit_length() > 63 else value


def scan(data: bytes, first: int = 1, before: str = FIRST) -> Scan:
    """Read all records, and prove each line and its link to the one before. ``first`` and ``before``:
    the number of the first record, and the hash of the one before it, where ``data`` is a journal's end."""
    good = data.rfind(b"\n") + 1
    found = Scan([], before, good, data[good:], [])
    problems = 0
    for number, raw in enumerate(data[:good].split(b"\n")[:-1], first):
        problem = _take(found, number, raw)
        problems += bool(problem)
        if problem and problems <= _MOST_PROBLEMS:
            found.problems.append(f"record {number}: {problem}")
    if problems > _MOST_PROBLEMS:
        found.problems.append(f"and {problems - _MOST_PROBLEMS} more records are damaged")
    return found


def scan_end(data: bytes) -> Scan:
    """scan() of a journal's last lines, the first of them whole: what it takes for granted is that one's
    own number and link."""
    parsed = parse(data[: data.find(b"\n")])
    return scan(data, parsed[0].seq, parsed[1]) if parsed else scan(data)


def parse(raw: bytes) -> tuple[Record, str, int] | None:
    """(record, hash of the one before, schema version) of a line; None when it is none.
    Proves nothing."""
    try:
        known = _known.decode(raw)
        return Record(known.seq, known.at, known.event, known.hash), known.prev, known.v
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        other = _any.decode(raw)
        kind = _tagged.decode(other.event).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Record(other.seq, other.at, Unknown(kind, bytes(other.event)), other.hash), other.prev, other.v


def _take(found: Scan, number: int, raw: bytes) -> str:
    """Add the line to ``found``; returns what is wrong with it, or ""."""
    body, suffix = raw[:-_TAIL], raw[-_TAIL:]
    digest = hashlib.sha256(body).hexdigest()
    proved = suffix == _SUFFIX + digest.encode() + b'"}'
    parsed = parse(raw)
    if parsed is None:
        found.head = digest
        return "is not a journal line" if not proved else "is of no known form"
    record, prev, version = parsed
    before, found.head = found.head, record.hash
    found.records.append(record)
    if not proved:
        return "was changed (its hash does not fit its text)"
    if prev != before:
        return "does not follow the record before it (its link does not fit)"
    if record.seq != number:
        return f"has the number {record.seq}"
    if version != VERSION:
        return f"is of schema version {version}; this program knows {VERSION}"
    return ""
