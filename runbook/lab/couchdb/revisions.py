"""Revisions: ``<position>-<hash>``; the same hashes that CouchDB computes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from runbook.lab.couchdb.errors import bad_request
from runbook.lab.couchdb.terms import encode

#: name, content type and MD5 (of the stored form) of an attachment, as they enter the hash
Digest = tuple[str, str, bytes]

_HEX = re.compile(r"[0-9a-fA-F]{32}")


def parse(text: object) -> tuple[int, str]:
    """``"3-abc"`` as (3, "abc"). Raises HttpError 400 for anything else."""
    if not isinstance(text, str):
        raise bad_request("Invalid rev format")
    position, dash, name = text.partition("-")
    if not dash or not position.isascii() or not position.isdigit():
        raise bad_request("Invalid rev format")
    return int(position), name.lower() if _HEX.fullmatch(name) else name


def raw(name: str) -> bytes:
    """The bytes that CouchDB keeps for a hash: 16 for 32 hex digits, else the text itself."""
    return bytes.fromhex(name) if _HEX.fullmatch(name) else name.encode()


def next_hash(
    deleted: bool, start: int, parent: str | None, members: bytes, attachments: Sequence[Digest] = ()
) -> str:
    """The hash of a new revision made on top of ``start``-``parent``.

    It is the MD5 of the term ``[Deleted, OldStart, OldRev, Body, Attachments]``; ``members`` is the
    body's JSON text without its braces.
    """
    body = json.loads(b"{%b}" % members)
    old: object = 0 if parent is None else raw(parent)
    digests = [tuple(item) for item in reversed(attachments)]
    return hashlib.md5(encode([deleted, start, old, body, digests]), usedforsecurity=False).hexdigest()
