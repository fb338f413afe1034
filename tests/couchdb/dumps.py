"""Dumps of the servers of this suite: taken here, or in a process of their own that can be killed."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runbook.couch.asking import Asking
from runbook.couch.client import Client
from runbook.couch.dumping.dump import Dumped, Dumping
from runbook.couch.dumping.dumpplan import DumpPlan, planned
from runbook.couch.dumping.dumpproof import problems
from runbook.couch.reading.selection import find
from runbook.errors import RunbookError
from runbook.secrets import Secret
from tests.couchdb.servers import Server


def plan(clients: Sequence[Client], databases: Sequence[str], **more: Any) -> DumpPlan:
    return asyncio.run(planned({one.node: one for one in clients}, databases, **more))


def dumping(clients: Sequence[Client], folder: Path, databases: Sequence[str], **more: Any) -> Dumping:
    named = {one.node: one for one in clients}
    return Dumping(folder, plan(clients, databases), named, pause=0.02, **more)


def taken(clients: Sequence[Client], folder: Path, databases: Sequence[str]) -> Dumped:
    return dumping(clients, folder, databases).run()


def node_folder(done: Dumped) -> Path:
    (found,) = Path(done.path).glob("node-*")
    return found


def file(done: Dumped, database: str) -> Path:
    return node_folder(done) / f"{database.replace('/', '%2F')}.json"


def proven(backup: Path, clients: Mapping[str, Client]) -> dict[str, list[str]]:
    """``node/database`` -> what is wrong with its dump, compared with the servers."""
    asking = Asking(list(clients.values()), threading.Event(), pause=0.02)
    return {
        f"{node}/{database}": problems(path, database, asking)
        for database, dumps in find(backup).items()
        for node, path in dumps.items()
    }


class Process:
    """A dump in a process of its own. ``result`` waits for its end: what it printed, or None when it
    was killed. ``limit``: bytes that a file may have there."""

    def __init__(self, server: Server, folder: Path, databases: Sequence[str], limit: int = 0) -> None:
        words = {
            "urls": server.urls,
            "user": server.user,
            "password": server.password,
            "folder": str(folder),
            "databases": list(databases),
            "limit": limit,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.couchdb.dumps"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "begun\n"

    def kill(self) -> None:
        self.process.kill()

    def result(self) -> Any:
        out, _ = self.process.communicate(timeout=240)
        return json.loads(out.splitlines()[-1]) if self.process.returncode == 0 else None


def main() -> None:
    words = json.loads(sys.stdin.readline())
    if words["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (words["limit"], words["limit"]))
    secret = Secret(words["password"], "password")
    clients = [Client(url, words["user"], secret, f"vm{place}") for place, url in enumerate(words["urls"], 1)]
    work = dumping(clients, Path(words["folder"]), words["databases"])
    print("begun", flush=True)
    found: dict[str, Any] = {}
    try:
        found["done"] = msgspec.to_builtins(work.run())
    except RunbookError as error:
        found |= {"error": error.what, "next": error.next}
    peak = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    found["memory"] = int(peak.split()[1]) * 1024
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
