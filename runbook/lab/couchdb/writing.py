"""Storing documents: with new revisions (edits) or with the ones they bring (restores, replication)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from runbook.lab.couchdb import access, attachments, auth_design, fabric, jsontext, passwords, revisions
from runbook.lab.couchdb.documents import Draft, check_size
from runbook.lab.couchdb.errors import HttpError, bad_request, conflict
from runbook.lab.couchdb.shards import ShardMap
from runbook.lab.couchdb.tree import Leaf, State, merged
from runbook.lab.couchdb.users import PREFIX, Caller
from runbook.lab.couchdb.validators import Validator, understood

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn

#: what became of a draft: its new leaf, or the error that refused it
Outcome = Leaf | HttpError


class Writer:
    """One request's writes to one database."""

    def __init__(self, node: StandIn, found: ShardMap, caller: Caller) -> None:
        self._node, self._map, self._caller = node, found, caller
        self._validators: list[Validator] | None = None

    def check(self, draft: Draft) -> None:
        """What is refused before anything is stored. Raises HttpError 400, 413."""
        if self._map.name == "_replicator" and not draft.id.startswith("_") and not draft.deleted:
            state = jsontext.value(draft.source.get("_replication_state", b'""'))
            if state not in ("completed", "failed"):
                self._node.note("warning", f"_replicator/{draft.id}: a real server starts replicating now")
        if self._map.partitioned and not draft.id.startswith("_"):
            head, colon, tail = draft.id.partition(":")
            if not (head and colon and tail):
                raise HttpError(400, "illegal_docid", "Doc id must be of form partition:id")
        check_size(draft, self._node.config.number("couchdb", "max_document_size", 8_000_000))

    def restore(self, drafts: Sequence[Draft]) -> list[HttpError | None]:
        """Store drafts under their own revisions: None for each stored one. Raises HttpError 412 for a
        stub without contents, when the documents of other shards are stored already."""
        for draft in drafts:
            if not draft.path:
                reason = "When `new_edits: false`, the document needs `_rev` or `_revisions` specified"
                raise bad_request(reason)
        outcomes: list[HttpError | None] = []
        writes: list[tuple[str, Leaf]] = []
        broken: dict[str, HttpError] = {}
        for draft in drafts:
            self._hash_password(draft)
            refusal = self._refusal(draft)
            outcomes.append(refusal)
            if refusal is not None:
                continue
            try:
                self._fill(draft)
            except HttpError as error:
                broken[self._map.range_of(draft.id)] = error
            writes.append((draft.id, draft.leaf()))
        if broken:
            writes = [each for each in writes if self._map.range_of(each[0]) not in broken]
        fabric.write(self._node, self._map, writes)
        if broken:
            raise next(iter(broken.values()))
        return outcomes

    def edit(self, drafts: Sequence[Draft]) -> tuple[list[Outcome], bool]:
        """Store drafts as new revisions; and whether a write quorum took them."""
        outcomes: list[Outcome] = []
        writes: list[tuple[str, Leaf]] = []
        pending: dict[str, State] = {}
        for draft in drafts:
            try:
                self._hash_password(draft)
                state = pending.get(draft.id) or fabric.state(self._node, self._map, draft.id)
                leaf = self._next(draft, state)
            except HttpError as error:
                outcomes.append(error)
                continue
            pending[draft.id], _ = merged(state, leaf)
            outcomes.append(leaf)
            writes.append((draft.id, leaf))
        return outcomes, fabric.write(self._node, self._map, writes)

    def _next(self, draft: Draft, state: State | None) -> Leaf:
        """Raises HttpError 409, 403, 401, 412."""
        base: Leaf | None = None
        if draft.path:
            base = state.leaf(draft.position, draft.path[0]) if state else None
            if base is None:
                raise conflict()
        elif state is not None:
            base = state.winner
            if not base.deleted:
                raise conflict()
        refusal = self._refusal(draft, base)
        if refusal is not None:
            raise refusal
        position = (base.position if base else 0) + 1
        atts = attachments.filled(draft.attachments, base.attachments if base else (), draft.id)
        given = {each.name for each in draft.attachments if each.data is not None}
        atts = tuple(replace(each, revpos=position) if each.name in given else each for each in atts)
        parent = base.path[0] if base else None
        digests = [(each.name, each.content_type, each.digest) for each in atts]
        name = revisions.next_hash(draft.deleted, position - 1, parent, draft.members, digests)
        path = (name, *(base.path if base else ()))
        return Leaf(position, path, draft.deleted, draft.members, atts)

    def _fill(self, draft: Draft) -> None:
        if not any(each.data is None for each in draft.attachments):
            return
        state = fabric.state(self._node, self._map, draft.id)
        leaves = reversed(state.leaves) if state else ()
        held = tuple(each for leaf in leaves for each in leaf.attachments)
        draft.attachments = attachments.filled(draft.attachments, held, draft.id)

    def _refusal(self, draft: Draft, base: Leaf | None = None) -> HttpError | None:
        """What validation functions say; design documents need an admin instead."""
        if draft.id.startswith("_design/"):
            try:
                access.need_db_admin(self._map, self._caller)
            except HttpError as error:
                return error
            if not draft.deleted and _source(draft.members) and understood(_source(draft.members)) is None:
                note = f"{self._map.name}/{draft.id}: its validation function cannot be run here; all passes"
                self._node.note("warning", note)
            return None
        if self._validators is None:
            self._validators = _validators(self._node, self._map)
        if not self._validators:
            return None
        state = fabric.state(self._node, self._map, draft.id)
        old = base or (state.winner if state and not state.winner.deleted else None)
        before = jsontext.value(b"{%b}" % old.members) if old else None
        try:
            for validate in self._validators:
                validate(draft.fields(), before, self._caller.name, self._caller.roles)
        except HttpError as error:
            return error
        return None

    def _hash_password(self, draft: Draft) -> None:
        if self._map.name != "_users" or not draft.id.startswith(PREFIX) or "password" not in draft.source:
            return
        fields: dict[str, Any] = {
            key: msgspec.Raw(jsontext.compact(bytes(raw)))
            for key, raw in draft.source.items()
            if key[:1] != "_"
        }
        password = jsontext.value(fields["password"])
        if password is None:
            return
        fields["password"] = str(password)
        version = self._node.version
        rounds = self._node.config.number("chttpd_auth", "iterations", passwords.rounds(version))
        made = passwords.user_fields(fields, version, rounds, self._node.network.entropy)
        draft.members = jsontext.text(made)[1:-1]


def make_auth_design(node: StandIn, found: ShardMap) -> None:
    """What the server puts into a new ``_users`` by itself."""
    body = {"language": auth_design.LANGUAGE, "validate_doc_update": auth_design.VALIDATE}
    members = jsontext.text(body)[1:-1]
    name = revisions.next_hash(False, 0, None, members)
    fabric.write(node, found, [(auth_design.ID, Leaf(1, (name,), False, members))])


def _validators(node: StandIn, found: ShardMap) -> list[Validator]:
    held = (each for range_ in found.by_range for each in fabric.copies(node, found, range_))
    functions = []
    for doc_id in sorted({doc_id for each in held for doc_id in each.copy.designs}):
        state = fabric.state(node, found, doc_id)
        if state is None or state.winner.deleted:
            continue
        source = _source(state.winner.members)
        function = understood(source) if source else None
        if function is not None:
            functions.append(function)
    return functions


@lru_cache(maxsize=256)
def _source(members: bytes) -> str:
    """A design document's validation function, "" without one."""
    found = jsontext.value(b"{%b}" % members).get("validate_doc_update", "")
    return found if isinstance(found, str) else ""
