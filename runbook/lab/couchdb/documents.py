"""Documents as they come in (``Draft``) and as they are printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from runbook.lab.couchdb import attachments, jsontext, revisions
from runbook.lab.couchdb.errors import HttpError, bad_request
from runbook.lab.couchdb.tree import Leaf, State

#: what the replicator notes in its documents; allowed in ``_replicator`` alone
REPLICATOR_MEMBERS = frozenset(
    f"_replication_{name}" for name in ("state", "state_time", "state_reason", "id", "stats")
)
_IGNORED = {"_conflicts", "_deleted_conflicts", "_local_seq", "_revs_info"}


@dataclass(slots=True)
class Draft:
    """A document on its way in. ``path`` is empty when it names no revision."""

    id: str
    position: int = 0
    path: tuple[str, ...] = ()
    deleted: bool = False
    members: bytes = b""
    attachments: tuple[attachments.Attachment, ...] = ()
    source: dict[str, msgspec.Raw] = field(default_factory=dict, repr=False)

    @property
    def rev(self) -> str:
        return f"{self.position}-{self.path[0]}" if self.path else "0"

    def fields(self) -> dict[str, Any]:
        """The document's members as values (for validation functions)."""
        found: dict[str, Any] = jsontext.value(b"{%b}" % self.members)
        found["_id"] = self.id
        if self.deleted:
            found["_deleted"] = True
        return found

    def leaf(self) -> Leaf:
        return Leaf(self.position, self.path, self.deleted, self.members, self.attachments)


def parse(raw: bytes | msgspec.Raw, *, doc_id: str | None = None, database: str = "") -> Draft:
    """A document's JSON as a draft for ``database``. Raises HttpError: no JSON object, a bad revision, a
    reserved member."""
    source = jsontext.members(raw)
    kept = REPLICATOR_MEMBERS if database == "_replicator" else frozenset()
    draft = Draft(doc_id or "", source=source)
    plain: list[bytes] = []
    revs: tuple[int, tuple[str, ...]] | None = None
    stubs: bytes | None = None
    for key, raw_value in source.items():
        if key[:1] != "_" or key in kept:
            plain.append(jsontext.text(key) + b":" + jsontext.compact(bytes(raw_value)))
        elif key == "_id":
            draft.id = doc_id or checked_id(jsontext.value(raw_value))
        elif key == "_rev":
            position, name = revisions.parse(jsontext.value(raw_value))
            draft.position, draft.path = position, (name,)
        elif key == "_deleted":
            draft.deleted = jsontext.value(raw_value) is True
        elif key == "_attachments":
            stubs = bytes(raw_value)
        elif key == "_revisions":
            revs = _revisions(jsontext.value(raw_value))
        elif key not in _IGNORED:
            raise HttpError(400, "doc_validation", f"Bad special document member: {key}")
    if revs is not None:
        draft.position, draft.path = revs
    draft.members = b",".join(plain)
    if stubs is not None:
        draft.attachments = attachments.parse(stubs, draft.position or 1)
    return draft


def _revisions(found: Any) -> tuple[int, tuple[str, ...]]:
    try:
        start, ids = found["start"], found["ids"]
        return start, tuple(revisions.parse(f"{start}-{name}")[1] for name in ids)
    except (TypeError, KeyError):
        raise bad_request("_revisions must hold start and ids") from None


def checked_id(doc_id: object) -> str:
    """A legal document id. Raises HttpError 400 illegal_docid."""
    if not isinstance(doc_id, str):
        raise HttpError(400, "illegal_docid", "Document id must be a string")
    if not doc_id:
        raise HttpError(400, "illegal_docid", "Document id must not be empty")
    if doc_id[0] == "_" and not doc_id.startswith(("_design/", "_local/")):
        reason = "Only reserved document ids may start with underscore."
        raise HttpError(400, "illegal_docid", reason)
    return doc_id


def check_size(draft: Draft, limit: int) -> None:
    """``max_document_size`` counts the body alone: no attachments, no ``_id`` and ``_rev``."""
    if len(draft.members) + 2 > limit:
        raise HttpError(413, "document_too_large", draft.id)


def printed(
    doc_id: str,
    state: State,
    leaf: Leaf | None = None,
    *,
    conflicts: bool = False,
    deleted_conflicts: bool = False,
    revs: bool = False,
    revs_info: bool = False,
    contents: bool = False,
) -> bytes:
    """A revision (the winner unless told) as CouchDB prints it: ``_id`` and ``_rev`` first, the
    members in their own order, ``_deleted``, what was asked for, attachments last."""
    leaf = leaf or state.winner
    parts = [b'"_id":' + jsontext.text(doc_id), b'"_rev":' + jsontext.text(leaf.rev)]
    if leaf.members:
        parts.append(leaf.members)
    if leaf.deleted:
        parts.append(b'"_deleted":true')
    extra: dict[str, object] = {}
    if revs:
        extra["_revisions"] = {"start": leaf.position, "ids": list(leaf.path)}
    if revs_info:
        extra["_revs_info"] = [
            {"rev": f"{leaf.position - back}-{name}", "status": _status(leaf, back)}
            for back, name in enumerate(leaf.path)
        ]
    if conflicts and (found := state.conflicts(deleted=False)):
        extra["_conflicts"] = [each.rev for each in found]
    if deleted_conflicts and (found := state.conflicts(deleted=True)):
        extra["_deleted_conflicts"] = [each.rev for each in found]
    if leaf.attachments:
        extra["_attachments"] = {each.name: each.printed(contents=contents) for each in leaf.attachments}
    if extra:
        parts.append(jsontext.text(extra)[1:-1])
    return b"{" + b",".join(parts) + b"}"


def _status(leaf: Leaf, back: int) -> str:
    if back:
        return "missing"
    return "deleted" if leaf.deleted else "available"
