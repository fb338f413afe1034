"""The rows of an answer that is one long list, decoded as they come, many at once.

``{"total_rows":N,"offset":0,"rows":[`` row ``,`` row … ``]}`` and the same of ``_changes``. Where each
row is a line, as CouchDB writes, or all are on one, the pieces are cut between two rows, so that
memory does not grow with the list. For rows without documents in them; those are a dump's
(see ``reader``).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TypeVar

import msgspec

T = TypeVar("T")
#: bytes read at once
PIECE = 1 << 18
#: a list's row is no longer than this (an id and revisions)
_MAX_ROW = 16 << 20
_HEAD = re.compile(rb'\s*\{(?:\s*"\w+"\s*:\s*(?:-?\d+|null|"[^"]*")\s*,)*\s*"(?:rows|results)"\s*:\s*\[')
_TAIL = re.compile(rb'\s*\](?:\s*,\s*"\w+"\s*:\s*(?:-?\d+|null|"[^"]*"))*\s*\}\s*\Z')


class Broken(Exception):
    """The list ended too early, or became something else; what was said last."""


def batches(body: io.BufferedReader, decoder: msgspec.json.Decoder[list[T]]) -> Iterator[list[T]]:
    """``decoder`` is of a list of rows. Raises Broken, and what reading raises."""
    for rows in texts(body):
        try:
            yield decoder.decode(b"[%b]" % rows)
        except (ValueError, RecursionError):
            raise Broken(_said(rows[-_MAX_SAID:])) from None


def texts(body: io.BufferedReader) -> Iterator[bytes]:
    """The same undecoded: rows with what stands between them. Raises Broken, and what reading raises."""
    buffer = body.read(PIECE)
    head = _HEAD.match(buffer)
    if not head:
        raise Broken(_said(buffer))
    buffer = buffer[head.end() :].lstrip()
    while piece := body.read(PIECE):
        buffer += piece
        end = _between(buffer)
        if end:
            yield buffer[:end]
            buffer = buffer[end:].lstrip(b", \r\n")
        elif len(buffer) > _MAX_ROW:
            raise Broken("a row that has no end")
    tail = _TAIL.search(buffer)
    if not tail:
        raise Broken(_said(buffer))
    if tail.start():
        yield buffer[: tail.start()]


def _between(buffer: bytes) -> int:
    """Where the last row ends that another one follows. A quote within a string is escaped, so
    that neither mark can stand in one."""
    for mark in (b"},\r\n", b"},\n", b'},{"id":'):
        if (found := buffer.rfind(mark)) >= 0:
            return found + 1
    return 0


_MAX_SAID = 300


def _said(text: bytes) -> str:
    """An error that a server put where the next row belonged; else nothing."""
    found = re.search(rb'\{"error".*', text[-4096:], re.DOTALL)
    return found[0][:_MAX_SAID].decode("utf-8", "replace").strip() if found else ""
