"""The lab's CouchDB, asked without the program under test; and a kill in the middle of a database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

from runbook.events import StepEnded
from runbook.lab import control
from runbook.lab.samplesite import SECRETS
from tests.lab.conftest import Lab
from tests.lab.runs import LIMIT, event, records, still_runs
from tests.lab.standin_client import Client

#: of the largest ones, the first that is restored; it takes four requests, the second of them to SLOW
LARGEST = "openedx_1"
SLOW = "vm2"
#: seconds every request to SLOW waits; what is looked for happens within
DELAY = 2.0
#: what CouchDB makes by itself, and what is never restored
OWN = {"_users": {"_design/_auth"}}
NEVER = "_replicator"

Documents = dict[str, dict[str, Any]]


def backed_up(state: Path) -> dict[str, Documents]:
    """Database -> id -> document, in the newest backup: the first node's, which lacks nothing."""
    node = max((state / "lab" / "backups").glob("2*")) / "node-10.0.1.10"
    found = {}
    for path in node.glob("*.json"):
        if path.stem != NEVER:
            rows = json.loads(path.read_bytes())["rows"]
            found[path.stem] = _by_id(path.stem, rows)
    return found


async def restored(state: Path) -> dict[str, Documents]:
    """The same of the cluster."""
    async with _lab(state) as lab:
        ask = await _couch(lab, "vm1")
        return {name: await _documents(ask, name) for name in backed_up(state)}


async def kill_in_the_middle(process: subprocess.Popen[bytes], state: Path) -> tuple[int, int]:
    """SIGKILL the program while LARGEST holds a part of its documents: one node is slow, so that
    the batch sent there is on its way; it gets lost. How many documents there are then, of how many."""
    end = time.monotonic() + LIMIT
    while not event(StepEnded, step="databases")(await asyncio.to_thread(records, state)):
        still_runs(process, state)
        assert time.monotonic() < end, "the restore never began"
        await asyncio.sleep(0.01)
    whole = len(backed_up(state)[LARGEST])
    async with _lab(state) as lab:
        await lab.call("couch", name=SLOW, do="delay", seconds=DELAY)
        ask, slow = await _couch(lab, "vm1"), await _couch(lab, SLOW)
        while not 0 < (count := await _count(ask)) < whole:
            assert count == 0, f"all {count} documents arrived before the program could be killed"
            still_runs(process, state)
            assert time.monotonic() < end, f"{LARGEST} stayed empty"
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        await lab.call("couch", name=SLOW, do="drop_connections", n=1)
        # requests wait equally long: once this one is through, those sent before it are too
        with contextlib.suppress(OSError, HTTPException):
            await asyncio.to_thread(slow, "GET", "/")
        await lab.call("couch", name=SLOW, do="drop_connections", n=0)
        await lab.call("couch", name=SLOW, do="delay", seconds=0)
        return await _count(ask), whole


@asynccontextmanager
async def _lab(state: Path) -> AsyncIterator[Lab]:
    info = await control.status(state)
    assert info is not None
    lab = Lab(state, info)
    try:
        yield lab
    finally:
        await lab.close()


async def _couch(lab: Lab, machine: str) -> Client:
    connection = await lab.ssh(machine)
    listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", 5984)
    login = f"admin:{SECRETS['COUCHDB_PASSWORD']}"
    return Client(None, login, port=listener.get_port())  # type: ignore[arg-type]


async def _count(ask: Client) -> int:
    status, found = await asyncio.to_thread(ask, "GET", f"/{LARGEST}")
    assert status == 200, found
    return int(found["doc_count"])


async def _documents(ask: Client, name: str) -> Documents:
    status, found = await asyncio.to_thread(ask, "GET", f"/{name}/_all_docs?include_docs=true")
    assert status == 200, found
    return _by_id(name, found["rows"])


def _by_id(name: str, rows: list[dict[str, Any]]) -> Documents:
    return {row["id"]: row["doc"] for row in rows if row["id"] not in OWN.get(name, ())}
