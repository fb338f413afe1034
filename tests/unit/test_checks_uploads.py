"""openedx.upload: files of the backup against what CouchDB holds and the LMS serves."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from checks import openedx
from runbook.errors import CouldNotLook
from runbook.site.model import Request, Requests
from tests.unit.doubles import ScriptedHost, make_look, make_site
from tests.unit.webs import Answer, Asked, web

FILES = {"a.pdf": b"first", "b/big é.bin": bytes(range(256)) * 500, "c.png": b"in between", "z.txt": b""}


def document(name: str, content: bytes, rev: str = "1-abc") -> dict[str, Any]:
    data = base64.b64encode(content).decode()
    return {"_id": name, "_rev": rev, "content_type": "x/y", "data": data}


def write_dump(folder: Path, documents: list[dict[str, Any]]) -> None:
    rows = [
        json.dumps({"id": one["_id"], "key": one["_id"], "value": {"rev": one["_rev"]}, "doc": one})
        for one in documents
    ]
    head = f'{{"total_rows":{len(rows)},"offset":0,"rows":['
    text = "\r\n".join([head, ",\r\n".join(rows), "]}\n"])
    node = folder / "node-10.0.1.10"
    node.mkdir(parents=True)
    (node / "edxapp_files.json").write_text(text)


class World:
    """A backup, and a VM whose CouchDB and LMS hold the same files until a test changes them."""

    def __init__(self, backup: Path) -> None:
        self.backup = backup
        documents = [document(name, content) for name, content in FILES.items()]
        write_dump(backup, [{"_id": "_design/x", "_rev": "1-a", "views": {}}, *documents])
        self.couch = {one["_id"]: one for one in documents}
        self.served = dict(FILES)
        self.host = ScriptedHost("vm1")

    def answer(self, asked: Asked) -> Answer:
        place, _, name = asked.path.lstrip("/").partition("/")
        name = unquote(name)
        if place == "edxapp_files" and name in self.couch:
            return 200, {"Content-Type": "application/json"}, json.dumps(self.couch[name]).encode()
        if place == "uploads" and name in self.served:
            return 200, {}, self.served[name]
        return 404, {"Content-Type": "application/json"}, b'{"error":"not_found","reason":"missing"}'

    async def look(self, *, lms: bool = False) -> Any:
        requests = Requests(upload=Request(path="/uploads/{name}") if lms else None)
        outputs = {"backup_path": str(self.backup)}
        return await openedx.upload(make_look(self.host, site=make_site(requests=requests), outputs=outputs))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path / "20261101")
    with web(one.answer) as (endpoint, _):
        one.host.forwards = {("127.0.0.1", 5984): endpoint, ("127.0.0.1", 8000): endpoint}
        yield one


async def test_first_largest_and_last_are_compared(world: World) -> None:
    found = await world.look()
    assert found.verdict == "pass", found.observed
    assert found.observed == (
        "a.pdf (5 B): same in CouchDB; b/big é.bin (128.0 kB): same in CouchDB; z.txt (0 B): same in CouchDB"
    )
    assert "SHA-256" in found.evidence
    found = await world.look(lms=True)
    assert found.verdict == "pass" and found.observed.count("same in CouchDB and from the LMS") == 3


async def test_a_missing_upload_fails(world: World) -> None:
    del world.couch["a.pdf"]
    found = await world.look()
    assert found.verdict == "fail" and "a.pdf (5 B): NOT in CouchDB" in found.observed


async def test_the_same_revision_with_other_bytes_fails_a_newer_one_warns(world: World) -> None:
    world.couch["a.pdf"] = document("a.pdf", b"other")
    found = await world.look()
    assert found.verdict == "fail" and "DIFFERS in CouchDB" in found.observed
    world.couch["a.pdf"] = document("a.pdf", b"newer", "2-def")
    found = await world.look()
    assert found.verdict == "warn" and "changed since the backup" in found.observed


@pytest.mark.parametrize("served", [b"cut", FILES["b/big é.bin"] + b"more", None])
async def test_other_bytes_from_the_lms_fail(world: World, served: bytes | None) -> None:
    if served is None:
        del world.served["b/big é.bin"]
    else:
        world.served["b/big é.bin"] = served
    assert (await world.look()).verdict == "pass"
    found = await world.look(lms=True)
    assert found.verdict == "fail" and "same in CouchDB, the LMS" in found.observed


async def test_what_is_no_base64_in_the_backup_is_a_remark(tmp_path: Path, world: World) -> None:
    world.backup = tmp_path / "odd"
    write_dump(world.backup, [{"_id": "a", "_rev": "1-a", "data": "***"}])
    found = await world.look()
    assert found.verdict == "warn" and "no base64" in found.observed


async def test_without_a_dump_or_uploads_it_is_unknown(tmp_path: Path, world: World) -> None:
    world.backup = tmp_path / "empty"
    write_dump(world.backup, [])
    with pytest.raises(CouldNotLook, match="no uploads"):
        await world.look()
    world.backup = tmp_path
    with pytest.raises(CouldNotLook, match="edxapp_files"):
        await world.look()
