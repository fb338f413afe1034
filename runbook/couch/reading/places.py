"""Where the parts of a dump stand in its text: head and tail, and where rows begin, in any layout.

Rows that have their fields in CouchDB's order are told by how they begin; what stands between them is
learned from the first two, so that no layout has to be known.
"""

from __future__ import annotations

import re

from runbook.couch.reading.dumptext import PIECE, Text

#: a row larger than this is not a document (CouchDB's own limit for a request is 4 GB)
MAX_ROW = 1 << 30
#: a head, a tail, how a row begins: never larger
SMALL = 1 << 16

BOM = b"\xef\xbb\xbf"
_S, _STRING = rb"[ \t\r\n]*", rb'"[^"\\]*(?:\\.[^"\\]*)*"'


def _pattern(text: bytes) -> bytes:
    """JSON's spaces for each space, a string for each ``~``."""
    return text.replace(b" ", _S).replace(b"~", _STRING)


_FIELD = rb'"(?:total_rows|offset|update_seq)" : (?:-?(?:0|[1-9]\d*)|null|~)'
HEAD = re.compile(_pattern(rb"(?:" + BOM + rb")? \{(?: " + _FIELD + rb' ,)* "rows" : \['))
HEAD_BEGUN = re.compile(rb"(?:" + BOM + rb')?\s*\{(?:\s*"(?:total_rows|offset|update_seq|rows)"|\s*"?\w*$)')
TAIL = re.compile(_pattern(rb"\](?: , " + _FIELD + rb")* \} "))
_LAST = re.compile(TAIL.pattern + rb"\Z")
TOTAL = re.compile(rb'"total_rows"\s*:\s*(-?\d{1,18})(?!\d)')
ERROR = re.compile(rb'\s*\{\s*"error"')
_GAP = re.compile(_S)
#: how a row begins whose fields stand in CouchDB's order
_BEGIN = re.compile(_pattern(rb'\{ "id" : (~) , "key" : \1 , "value"'), re.DOTALL)
_NEXT = re.compile(_pattern(rb", (?=") + _BEGIN.pattern + rb")", re.DOTALL)
_BETWEEN = re.compile(_pattern(rb' , \{ "id"'))


def visible(text: Text) -> int:
    """Where the next thing stands that is no space; 0: nothing follows."""
    while True:
        gap = _GAP.match(text.data, text.start + 1, text.end)
        assert gap is not None
        if gap.end() < text.end:
            return gap.end()
        text.drop(text.end - 1)
        if not text.more():
            return 0


def longer(text: Text, at: int, between: bytes) -> bool:
    """More of a row that is not all there: as far as the next one begins, if that can be seen, else a
    quarter; not so little that it is looked at again and again. False: there is no more."""
    before, size = text.end, text.end - at
    while text.end - at < MAX_ROW:
        place = max(at, text.end - len(between))
        if not text.more():
            break
        if text.data.find(between, place, text.end) >= 0 if between else text.end - before >= size // 4:
            return True
    return text.end > before


def between(text: Text, comma: int) -> bytes:
    """What stands between the rows' fields, when the next row is seen to begin as CouchDB's do."""
    found = _BETWEEN.match(text.data, text.start + 1, text.end)
    if found is None or not _BEGIN.match(text.data, text.data.index(b"{", comma), text.end):
        return b""
    return bytes(found[0])


def border(text: Text, at: int, between: bytes) -> int:
    """The comma before the last row that begins in sight; 0: only one does."""
    if not between:
        return 0
    brace, comma = between.index(b"{"), between.index(b",")
    for place in (min(text.end, at + 2 * PIECE), text.end):
        for _ in range(4):  # how the last ones begin may not be in sight as a whole
            place = text.data.rfind(between, at + 1, place)
            if place < 0:
                break
            if _BEGIN.match(text.data, place + brace, text.end):
                return place + comma
    return 0


def next_row(text: Text, at: int) -> bool:
    """Go on after damage: to the comma before the next row that begins as CouchDB's do, or to the end
    of the dump. False: neither is there."""
    text.drop(at)
    while True:
        if found := _NEXT.search(text.data, text.start + 1, text.end):
            text.drop(found.start())
            return True
        text.drop(max(text.start, text.end - SMALL))
        if not text.more():
            break
    if end := _LAST.search(text.data, text.start + 1, text.end):
        text.drop(end.start() - 1)
        return True
    return False
