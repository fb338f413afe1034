"""One document: read, written, deleted; its attachments; ``_local`` documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook.lab.couchdb import access, documents, fabric, jsontext, revisions
from runbook.lab.couchdb.documents import Draft
from runbook.lab.couchdb.errors import HttpError, conflict, not_found, unsupported
from runbook.lab.couchdb.shards import ShardMap
from runbook.lab.couchdb.tree import Leaf, State
from runbook.lab.couchdb.users import Caller
from runbook.lab.couchdb.web import JSON, Reply, Request, ok, raw
from runbook.lab.couchdb.writing import Writer

if TYPE_CHECKING:
    from runbook.lab.couchdb.node import StandIn


def handle(node: StandIn, request: Request, caller: Caller, found: ShardMap, rest: list[str]) -> Reply:
    """``rest``: the address after the database, ``_design`` and ``_local`` still apart."""
    if rest[0] in ("_design", "_local") and len(rest) > 1:
        rest = ["/".join(rest[:2]), *rest[2:]]
    doc_id, attachment = documents.checked_id(rest[0]), "/".join(rest[1:])
    access.need_member(found, caller, doc_id)
    if doc_id.startswith("_local/"):
        return _local(node, request, found, doc_id)
    if attachment.startswith("_"):
        raise unsupported("/{db}/_design/…/" + attachment.partition("/")[0])
    if attachment:
        request.allow("GET")
        return _attachment(node, request, found, doc_id, attachment)
    request.allow("GET", "PUT", "DELETE")
    if request.method == "PUT":
        return _store(
            node, request, caller, found, documents.parse(request.body, doc_id=doc_id, database=found.name)
        )
    if request.method == "DELETE":
        return _store(node, request, caller, found, Draft(doc_id, deleted=True))
    return _get(node, request, found, doc_id)


def post(node: StandIn, request: Request, caller: Caller, found: ShardMap) -> Reply:
    """A document to the database's own address: its id is in it, or made up."""
    request.need_json()
    draft = documents.parse(request.body, database=found.name)
    draft.id = draft.id or node.network.entropy(16)
    return _store(node, request, caller, found, draft)


def holds(state: State, rev: str) -> bool:
    position, name = revisions.parse(rev)
    return any(leaf.holds(position, name) for leaf in state.leaves)


def _store(node: StandIn, request: Request, caller: Caller, found: ShardMap, draft: Draft) -> Reply:
    given = request.query.get("rev") or request.headers.get("if-match", "").strip('"')
    if given:
        position, name = revisions.parse(given)
        if draft.path and (position, name) != (draft.position, draft.path[0]):
            raise HttpError(
                400, "bad_request", "Document rev from request body and query string have different values"
            )
        draft.position, draft.path = position, draft.path or (name,)
    writer = Writer(node, found, caller)
    writer.check(draft)
    if not request.flag("new_edits", True):
        for refusal in writer.restore([draft]):
            if refusal is not None:
                raise refusal
        return ok({"ok": True, "id": draft.id, "rev": draft.rev}, 201)
    outcomes, complete = writer.edit([draft])
    outcome = outcomes[0]
    if isinstance(outcome, HttpError):
        raise outcome
    done = 200 if request.method == "DELETE" else 201
    return ok({"ok": True, "id": draft.id, "rev": outcome.rev}, done if complete else 202)


def _get(node: StandIn, request: Request, found: ShardMap, doc_id: str) -> Reply:
    state = fabric.state(node, found, doc_id)
    if state is None:
        raise not_found()
    if "open_revs" in request.query:
        return _open_revs(request, state, doc_id)
    leaf = _leaf(state, request.query.get("rev"))
    if request.headers.get("if-none-match") == f'"{leaf.rev}"':
        return Reply(304, b"", {"ETag": f'"{leaf.rev}"'})
    return raw(documents.printed(doc_id, state, leaf, **_shown(request)), ETag=f'"{leaf.rev}"')


def _shown(request: Request) -> dict[str, bool]:
    meta = request.flag("meta")
    return {
        "conflicts": meta or request.flag("conflicts"),
        "deleted_conflicts": meta or request.flag("deleted_conflicts"),
        "revs_info": meta or request.flag("revs_info"),
        "revs": request.flag("revs"),
        "contents": request.flag("attachments"),
    }


def _leaf(state: State, rev: str | None) -> Leaf:
    """The revision asked for, else the winner. Raises HttpError 404."""
    if rev is None:
        if state.winner.deleted:
            raise not_found("deleted")
        return state.winner
    leaf = state.leaf(*revisions.parse(rev))
    if leaf is None:
        raise not_found()
    return leaf


def _open_revs(request: Request, state: State, doc_id: str) -> Reply:
    """Always as a JSON array, which real CouchDB sends only to those who accept JSON."""
    wanted = request.query["open_revs"]
    shown = _shown(request)
    if wanted == "all":
        rows = [b'{"ok":%b}' % documents.printed(doc_id, state, leaf, **shown) for leaf in state.leaves]
        return raw(b"[" + b",".join(rows) + b"]")
    rows = []
    for rev in jsontext.value(wanted.encode()):
        leaf = state.leaf(*revisions.parse(rev))
        if leaf is None:
            rows.append(jsontext.text({"missing": rev}))
        else:
            rows.append(b'{"ok":%b}' % documents.printed(doc_id, state, leaf, **shown))
    return raw(b"[" + b",".join(rows) + b"]")


def _attachment(node: StandIn, request: Request, found: ShardMap, doc_id: str, name: str) -> Reply:
    state = fabric.state(node, found, doc_id)
    if state is None:
        raise not_found()
    for each in _leaf(state, request.query.get("rev")).attachments:
        if each.name == name:
            return Reply(200, each.data or b"", content_type=each.content_type)
    raise not_found("Document is missing attachment")


def _local(node: StandIn, request: Request, found: ShardMap, doc_id: str) -> Reply:
    """Kept by each copy that is within reach; never replicated."""
    request.allow("GET", "PUT", "DELETE")
    held = [each.copy for each in fabric.copies(node, found, found.range_of(doc_id))]
    old = next((copy.locals[doc_id] for copy in held if doc_id in copy.locals), None)
    if request.method in ("PUT", "DELETE"):
        given: Any = request.query.get("rev")
        members = b""
        if request.method == "PUT":
            source = jsontext.members(request.body)
            given = given or (jsontext.value(source["_rev"]) if "_rev" in source else None)
            plain = [(key, value) for key, value in source.items() if key[:1] != "_"]
            members = b",".join(jsontext.text(key) + b":" + jsontext.compact(bytes(v)) for key, v in plain)
        if given != (f"0-{old[0]}" if old else None):
            raise conflict()
        number = (old[0] if old else 0) + 1
        for copy in held:
            if request.method == "PUT":
                copy.locals[doc_id] = (number, members)
            else:
                copy.locals.pop(doc_id, None)
        rev = f"0-{number if request.method == 'PUT' else 0}"
        return ok({"ok": True, "id": doc_id, "rev": rev}, 201 if request.method == "PUT" else 200)
    if old is None:
        raise not_found()
    head = b'"_id":%b,"_rev":"0-%d"' % (jsontext.text(doc_id), old[0])
    return Reply(200, b"{" + head + (b"," + old[1] if old[1] else b"") + b"}\n", content_type=JSON)
