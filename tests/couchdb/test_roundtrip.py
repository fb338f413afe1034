"""Whatever documents there are: restored, dumped, restored and dumped again, each is the same to the byte.

Where a server does not keep all bytes, as declared, the contents are compared as values. A document
that a server refuses has to be named, and only that one may be missing.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from runbook.couch.client import Client
from runbook.couch.comparing import content
from runbook.couch.reading import beside, inspection
from runbook.couch.reading.selection import Selection, choose, find
from runbook.couch.restoring.restore import Restoring
from tests.couchdb import dumps
from tests.couchdb.servers import Server
from tests.unit.couch import ADDRESSES, backup

SOURCE = "openedx_1"
#: what is printed of a number may be another one there
WIDE = ["123456789012345678901234567890", "-0.0", "1e400", "0.1000", "1E5", "1.0", "1e-7"]
TRICKY = [
    '},"doc":',
    '"}},\r\n{"id":"',
    "\u2028\u2029",
    "\\",
    "\x7f",
    "\x01\x1f",
    "]}\n",
    "😀\ue000",
    "\ufeff",
]


def text(value: str) -> str:
    return msgspec.json.encode(value).decode()


def words(server: Server) -> st.SearchStrategy[str]:
    """Unicode, with what is hard in JSON; no NUL, which no server keeps in an id."""
    highest = "\U0010ffff" if server.can("order") else "\ud7ff"
    found = st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0", max_codepoint=ord(highest))
    )
    tricky = [one for one in TRICKY if max(one) <= highest]
    return st.one_of(found, st.sampled_from(tricky), st.lists(st.sampled_from(tricky)).map("".join))


def values(server: Server) -> st.SearchStrategy[str]:
    """JSON as text: a number is the digits it has."""
    numbers = st.integers(-(2**53), 2**53).map(str)
    if server.can("numbers"):
        numbers = st.one_of(numbers, st.sampled_from(WIDE), st.integers().map(str))
    plain = st.one_of(st.sampled_from(["null", "true", "false"]), numbers, words(server).map(text))
    keys = st.one_of(
        words(server), st.sampled_from(["doc", "id", "rows", "value", "_id", "_rev", "_attachments"])
    )
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4).map(lambda all: f"[{','.join(all)}]"),
            st.dictionaries(keys, inner, max_size=4).map(members),
        ),
        max_leaves=12,
    )


def members(fields: Mapping[str, str]) -> str:
    inner = ",".join(f"{text(key)}:{value}" for key, value in fields.items())
    return f"{{{inner}}}"


def documents(server: Server) -> st.SearchStrategy[dict[str, bytes]]:
    """Id -> the document's JSON."""
    ids = words(server).filter(lambda id: id != "" and not id.startswith("_") and len(id) < 200)
    names = words(server).filter(lambda key: key and not key.startswith("_"))
    fields = st.dictionaries(st.one_of(names, st.just("doc")), values(server), max_size=5)
    return st.dictionaries(ids, fields, max_size=25).map(
        lambda found: {id: document(id, fields) for id, fields in found.items()}
    )


def document(id: str, fields: Mapping[str, str], generation: int = 1) -> bytes:
    rev = f"{generation}-{hashlib.md5(id.encode(), usedforsecurity=False).hexdigest()}"
    return members({"_id": text(id), "_rev": text(rev), **fields}).encode()


def dump(docs: Mapping[str, bytes]) -> bytes:
    rows = [
        b'{"id":%b,"key":%b,"value":{"rev":%b},"doc":%b}'
        % (text(id).encode(), text(id).encode(), text(json.loads(doc)["_rev"]).encode(), doc)
        for id, doc in sorted(docs.items())
    ]
    return b'{"total_rows":%d,"offset":0,"rows":[\r\n%b\r\n]}\n' % (len(rows), b",\r\n".join(rows))


class Trip:
    """Restores and dumps on one server, in folders of its own."""

    def __init__(self, server: Server, clients: list[Client], folder: Path) -> None:
        self.server, self.clients, self.folder = server, clients, folder
        self._numbers: Iterator[int] = itertools.count()
        self.refused: set[str] = set()

    def restored(self, path: Path) -> str:
        """A dump's documents, in a new database."""
        database = self.server.database()
        (dumps_,) = find(path).values()
        one = choose(SOURCE, dumps_)
        assert isinstance(one, Selection)
        result = Restoring(replace(one, into=database), self.clients, pause=0.02).run()
        self.refused |= {refusal.id for refusal in result.refused}
        return database

    def dumped(self, database: str) -> Path:
        folder = self.folder / str(next(self._numbers))
        return Path(dumps.taken(self.clients, folder, [database]).path)

    def drop(self, database: str) -> None:
        assert self.clients[0].delete(database).ok


def held(path: Path) -> dict[str, bytes]:
    """The documents of a backup of one database, those with attachments with their contents."""
    ((file,),) = (found.values() for found in find(path).values())
    return {row.id: row.doc for row in beside.whole(file, inspection.rows(file))}


def same(server: Server, docs: Mapping[str, bytes], found: Mapping[str, bytes], *, printed: bool) -> None:
    """``printed``: by this server, so that nothing is left for it to change."""
    assert found.keys() == docs.keys()
    for id, doc in docs.items():
        if server.can("bytes") and (printed or server.can("own")):
            assert found[id] == doc
        else:
            assert content.of(found[id]) == content.of(doc)


def travels(server: Server, clients: list[Client], docs: Mapping[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trip = Trip(server, clients, Path(folder))
        first = trip.restored(backup(Path(folder, "made"), {ADDRESSES[0]: {SOURCE: dump(docs)}}))
        assert not trip.refused or not server.can("own")
        kept = {id: doc for id, doc in docs.items() if id not in trip.refused}
        once = trip.dumped(first)
        same(server, kept, held(once), printed=False)
        trip.refused.clear()
        second = trip.restored(once)
        assert not trip.refused
        twice = trip.dumped(second)
        same(server, held(once), held(twice), printed=True)
        trip.drop(first)
        trip.drop(second)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(data=st.data())
def test_any_documents(server: Server, data: st.DataObject) -> None:
    docs = data.draw(documents(server))
    with server.opened() as clients:
        travels(server, clients, docs)


def examples(server: Server) -> dict[str, bytes]:
    """The hard ones, each for certain."""
    chance = random.Random(1)
    megabytes = base64.b64encode(chance.randbytes(3_000_000)).decode()
    found: dict[str, dict[str, Any]] = {
        "nested doc keys": {"doc": '{"doc":{"doc":[{"_id":"x","doc":null}]}}', "id": '"y"', "rows": "[]"},
        "deep": {"x": "[" * 300 + "]" * 300, "y": '{"a":' * 300 + "1" + "}" * 300},
        "upload.png": {"content_type": '"image/png"', "data": f'"{megabytes}"'},
        "empty": {},
        'id"}},{"id': {"a": text('\\"},"doc":{')},
        "line\u2028end": {"a": text("a\u2028b\u2029c")},
        "z" * 300: {"a": '""'},
        "a/b+c?d#e%2F f": {"": "1"},
    }
    if server.can("numbers"):
        found["numbers"] = {f"n{n}": number for n, number in enumerate(WIDE)}
    return {id: document(id, fields, 7) for id, fields in found.items()}


def test_the_hard_ones(server: Server, clients: list[Client]) -> None:
    travels(server, clients, examples(server))


def test_attachments_travel_with_their_documents(
    server: Server, clients: list[Client], tmp_path: Path
) -> None:
    """Contents, types, names and what the stubs say of them."""
    chance = random.Random(2)
    files = {
        "notes.txt": ("text/plain", b"one line\n" * 5000),
        "ein Bild (1).png": ("image/png", chance.randbytes(200_000)),
        "a/b/c": ("application/octet-stream", b""),
        "日本.json": ("application/json", b'{"x":1}'),
    }
    attached = {
        name: {"content_type": kind, "revpos": 1, "data": base64.b64encode(data).decode()}
        for name, (kind, data) in files.items()
    }
    docs = {id: document(id, {"n": "1", "_attachments": json.dumps(attached)}) for id in ("é", "b")}
    docs["plain"] = document("plain", {"n": "2"})
    database = server.database()
    assert clients[0].bulk(database, list(docs.values())) == []
    trip = Trip(server, clients, tmp_path)
    once = trip.dumped(database)
    again = trip.restored(once)
    assert not trip.refused
    twice = trip.dumped(again)
    same(server, held(once), held(twice), printed=True)
    for name, (kind, data) in files.items():
        reply = clients[-1].get(again, "é", name, raw=True)
        assert reply.body == data and reply.headers["Content-Type"].startswith(kind)


@pytest.mark.needs("names")
@pytest.mark.parametrize("name", ["a/b+c", "x$(y)-z"])
def test_nothing_and_odd_names(server: Server, clients: list[Client], tmp_path: Path, name: str) -> None:
    database = server.database(name)
    trip = Trip(server, clients, tmp_path)
    assert held(trip.dumped(database)) == {}
    docs = {"a": document("a", {"x": "1"})}
    assert clients[0].bulk(database, list(docs.values())) == []
    path = trip.dumped(database)
    assert sorted(find(path)) == [database]
    same(server, docs, held(path), printed=False)
