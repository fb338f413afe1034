"""Documents for the tests of this folder: made, written, dumped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runbook.couch.client import Client
from runbook.errors import OutcomeUnknown
from tests.unit.couch import dump

Doc = dict[str, Any]


def doc(id: str, number: int = 1, **fields: Any) -> Doc:
    """With a revision as CouchDB makes them; ``number`` is its generation."""
    rev = hashlib.md5(f"{id} {number}".encode(), usedforsecurity=False).hexdigest()
    return {"_id": id, "_rev": f"{number}-{rev}", **fields}


def many(count: int, **fields: Any) -> list[Doc]:
    return [doc(f"d{n:06}", n % 3 + 1, n=n, text="é漢" * 3, **fields) for n in range(count)]


def put(client: Client, database: str, docs: Iterable[Mapping[str, Any] | bytes]) -> None:
    sent = [one if isinstance(one, bytes) else json.dumps(one, ensure_ascii=False).encode() for one in docs]
    for start in range(0, len(sent), 1000):
        some = sent[start : start + 1000]
        try:
            refused = client.bulk(database, some)
        except OutcomeUnknown:  # the connection that was kept had gone stale
            refused = client.bulk(database, some)
        assert refused == []


def dumped(folder: Path, database: str, docs: Iterable[Mapping[str, Any]]) -> Path:
    """A dump of these documents, as ``_all_docs`` shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{database.replace('/', '%2F')}.json"
    path.write_bytes(dump(list(docs)))
    return path
