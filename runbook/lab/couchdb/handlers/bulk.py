"""Many documents at once: ``_bulk_docs`` and ``_bulk_get``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from runbook.lab.couchdb import documents, fabric, jsontext, revisions
from runbook.lab.couchdb.documents import Draft
from runbook.lab.couchdb.errors import HttpError, bad_request
from runbook.lab.couchdb.shards import ShardMap
from runbook.lab.couchdb.users import Caller
from runbook.lab.couchdb.web import Reply, Request, ok, raw
from runbook.lab.couchdb.writing import Writer

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn


class _Body(msgspec.Struct):
    docs: list[msgspec.Raw]
    new_edits: bool = True


_decode = msgspec.json.Decoder(_Body).decode


def docs(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    request.allow("POST")
    request.need_json()
    try:
        body = _decode(request.body)
    except msgspec.ValidationError:
        raise bad_request("POST body must include `docs` parameter.") from None
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise bad_request("invalid UTF-8 JSON") from None
    writer = Writer(node, found, caller)
    drafts = []
    for each in body.docs:
        draft = documents.parse(each, database=found.name)
        draft.id = draft.id or node.network.entropy(16)
        writer.check(draft)
        drafts.append(draft)
    if not body.new_edits:
        refusals = zip(drafts, writer.restore(drafts), strict=True)
        return ok([_refused(draft, error) for draft, error in refusals if error is not None], 201)
    outcomes, _ = writer.edit(drafts)
    rows: list[dict[str, object]] = []
    for draft, outcome in zip(drafts, outcomes, strict=True):
        if isinstance(outcome, HttpError):
            rows.append({"id": draft.id, "error": outcome.error, "reason": outcome.reason})
        else:
            rows.append({"ok": True, "id": draft.id, "rev": outcome.rev})
    return ok(rows, 201)


def _refused(draft: Draft, error: HttpError) -> dict[str, object]:
    return {"id": draft.id, "rev": draft.rev, "error": error.error, "reason": error.reason}


def get(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    request.allow("POST")
    wanted = request.fields().get("docs")
    if not isinstance(wanted, list):
        raise bad_request("Missing JSON list of 'docs'.")
    shown = {"revs": request.flag("revs"), "contents": request.flag("attachments")}
    rows = []
    for each in wanted:
        found_docs = b",".join(_versions(node, found, each, shown))
        rows.append(b'{"id":%b,"docs":[%b]}' % (jsontext.text(each.get("id")), found_docs))
    return raw(b'{"results":[' + b",".join(rows) + b"]}")


def _versions(node: StandIn, found: ShardMap, wanted: dict[str, Any], shown: dict[str, bool]) -> list[bytes]:
    doc_id, rev = str(wanted.get("id")), wanted.get("rev")
    state = fabric.state(node, found, doc_id)
    leaves = []
    if state is not None:
        leaf = state.leaf(*revisions.parse(rev)) if rev else None
        leaves = [leaf] if leaf else [] if rev else list(state.leaves)
    if state is None or not leaves:
        error = {"id": doc_id, "rev": rev or "undefined", "error": "not_found", "reason": "missing"}
        return [jsontext.text({"error": error})]
    return [b'{"ok":%b}' % documents.printed(doc_id, state, leaf, **shown) for leaf in leaves]
