"""A backup with everything in it that a restore may meet, restores of it as processes of their own,
and what two databases have in common afterwards."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from runbook.couch.client import Client
from runbook.couch.reading.beside import FOLDER
from runbook.couch.reading.selection import Selection, choose, find
from tests.couchdb.servers import Server
from tests.unit.couch import ADDRESSES, backup, dump

#: the database the dump is of
SOURCE = "openedx_1"


def rev(id: str, generation: int = 1) -> str:
    return f"{generation}-{hashlib.md5(id.encode(), usedforsecurity=False).hexdigest()}"


def documents(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Small and large, with ids of all kinds, a design document and attachments among them."""
    chance = random.Random(seed)
    found: list[dict[str, Any]] = []
    for n in range(count):
        id = chance.choice(["course", "a/b", "Z", "ü", "漢字", "😀", "x+y"]) + f"-{n:05}"
        made: dict[str, Any] = {
            "_id": id,
            "_rev": rev(id, n % 9 + 1),
            "n": n,
            "doc": {"doc": ['},"doc":', None]},
        }
        made["text"] = "é \u2028 x" * chance.randrange(60)
        if n % 400 == 7:
            made |= {
                "content_type": "image/png",
                "data": base64.b64encode(chance.randbytes(900_000)).decode(),
            }
        if n % 100 == 3:
            made["_attachments"] = {
                f"logo {n}.png": attachment(chance.randbytes(3000), "image/png", made["_rev"]),
                "notes.txt": attachment(b"one line\n" * n, "text/plain", made["_rev"]),
            }
        found.append(made)
    design = {"language": "javascript", "views": {"all": {"map": "function(doc) { emit(doc._id, null); }"}}}
    found.append({"_id": "_design/views", "_rev": rev("_design/views")} | design)
    return found


def attachment(data: bytes, kind: str, rev: str) -> dict[str, Any]:
    return {
        "content_type": kind,
        "revpos": int(rev.partition("-")[0]),
        "data": base64.b64encode(data).decode(),
    }


def stub(attachment: dict[str, Any]) -> dict[str, Any]:
    data = base64.b64decode(attachment["data"])
    digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    rest = {"digest": f"md5-{digest}", "length": len(data), "stub": True}
    return {key: value for key, value in attachment.items() if key != "data"} | rest


def saved(folder: Path, docs: Sequence[dict[str, Any]], *, whole: bool = True, **meta: Any) -> Path:
    """A backup as ours is; without ``whole``, as the platform's is: no contents of attachments."""
    stubs = [
        one | {"_attachments": {name: stub(a) for name, a in one["_attachments"].items()}}
        if "_attachments" in one
        else one
        for one in docs
    ]
    backup(folder, {ADDRESSES[0]: {SOURCE: dump(stubs)}})
    attached = [one for one in docs if "_attachments" in one]
    if whole:
        place = folder / f"node-{ADDRESSES[0]}" / FOLDER
        place.mkdir()
        facts = {"database": SOURCE, "documents": len(docs), "deleted": 0, "sequence": "0"} | meta
        (place / f"{SOURCE}.meta.json").write_text(json.dumps(facts | {"attached": len(attached)}))
        (place / f"{SOURCE}.attached.json").write_bytes(dump(attached))
    return folder


def selected(folder: Path, into: str) -> Selection:
    one = choose(SOURCE, find(folder)[SOURCE])
    assert isinstance(one, Selection)
    return replace(one, into=into)


# ── a restore that can be killed ───────────────────────────────────────────────────────────
@contextmanager
def worker(urls: Sequence[str], like: Server, folder: Path, into: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that restores; it has said that it begins. Killed at the end of the block."""
    order = {"urls": list(urls), "user": like.user, "password": like.password}
    order |= {"folder": str(folder), "into": into}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.couchdb.restores"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.close()
        process.stdin = None
        assert process.stdout.readline() == b"begun\n", process.stderr and process.stderr.read().decode()
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[bytes]) -> bool:
    """Wait for its end: True done, False killed. Anything else fails the test."""
    out, err = process.communicate(timeout=120)
    if process.returncode == -signal.SIGKILL:
        return False
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["refused"] == []
    return True


def main() -> None:
    from runbook.couch.restoring.restore import Restoring
    from runbook.secrets import Secret

    order = json.loads(sys.stdin.readline())
    password = Secret(order["password"], "password")
    clients = [Client(url, order["user"], password, f"vm{n}") for n, url in enumerate(order["urls"], 1)]
    chosen = selected(Path(order["folder"]), order["into"])
    print("begun", flush=True)
    result = Restoring(chosen, clients, batch=50).run()
    print(json.dumps({"stored": result.stored, "refused": [one.id for one in result.refused]}), flush=True)


# ── what came of it ────────────────────────────────────────────────────────────────────────
def content(server: Server, client: Client, database: str) -> dict[str, Any]:
    """Every document by id, with its conflicts and the contents of its attachments."""
    reply = client.need(database, "_all_docs", include_docs=True, conflicts=True, attachments=True)
    found = {row["id"]: row["doc"] for row in reply["rows"]}
    for id, doc in found.items():
        if "_attachments" in doc and "data" not in next(iter(doc["_attachments"].values())):
            found[id] = client.need(database, id, attachments=True, conflicts=True)  # PouchDB
    info = client.need(database)
    assert info["doc_count"] == len(found)
    assert info.get("doc_del_count", 0) == 0
    return found


def same(server: Server, clients: Sequence[Client], database: str, docs: Sequence[dict[str, Any]]) -> None:
    """The database holds these documents as they were dumped, on every node: ids, revisions, bodies,
    attachments; no conflicts, no deletions, nothing else."""
    wanted = {one["_id"]: plain(one) for one in docs}
    for client in clients:
        found = content(server, client, database)
        assert found.keys() == wanted.keys()
        assert not [id for id, doc in found.items() if "_conflicts" in doc]
        assert {id: plain(doc) for id, doc in found.items()} == wanted


def plain(doc: dict[str, Any]) -> dict[str, Any]:
    """Without what a server adds to an attachment."""
    if "_attachments" not in doc:
        return doc
    kept = ("content_type", "data", "revpos")
    files = {name: {key: one[key] for key in kept} for name, one in doc["_attachments"].items()}
    return doc | {"_attachments": files}


if __name__ == "__main__":
    main()
