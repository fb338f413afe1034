"""Our restore against couchrestore (npm: @cloudant/couchbackup): same servers, same documents.

    .venv/bin/python benchmarks/restore.py [ROUNDS]

Both run as processes of their own, alternately, into new databases; ours reads the dump of 100,000
documents of 1 KB, couchrestore the same documents in its own format. Then our memory at two sizes,
and with uploads of 50 MB.

The servers: this project's stand-in of a cluster of three, pouchdb-server, and the cluster at COUCHDB_URL
(its nodes separated by commas, COUCHDB_USER and COUCHDB_PASSWORD) when that is given. The first two
are single processes in Python and JavaScript which are the limit themselves, as the printed share of
their time shows: there the ratio says little about a real cluster. At COUCHDB_URL it does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import quote, urlsplit

# in place of this folder, whose files have names like the standard library's
sys.path[0] = str(Path(__file__).resolve().parents[1])

from tabulate import tabulate  # noqa: E402

from runbook import units  # noqa: E402
from tests.couchdb.servers import PouchdbServer, Server, StandInServer, UrlServer  # noqa: E402
from tests.real.documents import cache  # noqa: E402

VERSION = "2.11.12"
SOURCE = "documents"
DOCUMENTS = {"standin": 100_000, "pouchdb": 10_000, "url": 100_000}
SMALL, LARGE = 20_000, 200_000
#: couchrestore asks for doc_del_count, which pouchdb-server does not tell: preloaded there, this does
NONE_DELETED = """
const parse = JSON.parse;
JSON.parse = (text, reviver) => {
  const found = parse(text, reviver);
  if (found && found.db_name && found.doc_del_count === undefined) found.doc_del_count = 0;
  return found;
};
"""


class Took(NamedTuple):
    """Seconds of a whole process, of its CPU, of the restore alone and its CPU; MB at its peak;
    ``server``: the share of the time in which the server's process was computing."""

    wall: float
    cpu: float
    restore: float
    restore_cpu: float
    memory: float
    server: float | None


# ── the documents ──────────────────────────────────────────────────────────────────────────
def documents(count: int) -> Iterator[dict[str, object]]:
    """Of 1 KB each."""
    for n in range(count):
        id = f"course-v1:org+run+{n:08}"
        rev = f"1-{hashlib.md5(id.encode(), usedforsecurity=False).hexdigest()}"
        yield {"_id": id, "_rev": rev, "n": n, "text": "lorem ipsum dolor, " * 48}


def uploads(count: int) -> Iterator[dict[str, object]]:
    """Of 50 MB each, as the platform keeps them: base64 in a document."""
    data = base64.b64encode(bytes(range(256)) * 4 * 50_000).decode()
    for n in range(count):
        yield {"_id": f"upload-{n}.bin", "_rev": f"1-{n:032x}", "content_type": "image/png", "data": data}


def dump(path: Path, found: Iterator[dict[str, object]], count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(f'{{"total_rows":{count},"offset":0,"rows":[\r\n')
        for n, doc in enumerate(found):
            row = {"id": doc["_id"], "key": doc["_id"], "value": {"rev": doc["_rev"]}, "doc": doc}
            file.write((",\r\n" if n else "") + json.dumps(row, separators=(",", ":")))
        file.write("\r\n]}\n")


def theirs(path: Path, found: Iterator[dict[str, object]]) -> None:
    """The format of couchbackup: what it is, then batches of documents, one a line."""
    with path.open("w") as file:
        head = {"name": "@cloudant/couchbackup", "version": VERSION, "mode": "full", "attachments": False}
        file.write(json.dumps(head) + "\n")
        batch: list[dict[str, object]] = []
        for doc in found:
            batch.append(doc)
            if len(batch) == 500:
                file.write(json.dumps(batch, separators=(",", ":")) + "\n")
                batch = []
        if batch:
            file.write(json.dumps(batch, separators=(",", ":")) + "\n")


# ── the two ────────────────────────────────────────────────────────────────────────────────
def ours(server: Server, folder: Path, database: str) -> Took:
    order = {"urls": server.urls, "user": server.user, "password": server.password}
    order |= {"folder": str(folder), "into": database}
    said = folder / "order"
    said.write_text(json.dumps(order))
    said.chmod(0o600)
    took, out = measured(server, [sys.executable, __file__, "--restore"], said, {})
    found = json.loads(out)
    assert not found["refused"], found
    return took._replace(restore=found["seconds"], restore_cpu=found["cpu"], memory=found["memory"])


def restore() -> None:
    """The process that ``ours`` measures."""
    from msgspec.structs import replace

    from runbook.couch.client import Client
    from runbook.couch.reading.selection import Selection, choose, find
    from runbook.couch.restoring.restore import Restoring
    from runbook.secrets import Secret

    order = json.loads(sys.stdin.read())
    password = Secret(order["password"], "password")
    clients = [Client(url, order["user"], password, f"vm{n}") for n, url in enumerate(order["urls"], 1)]
    chosen = choose(SOURCE, find(Path(order["folder"]))[SOURCE])
    assert isinstance(chosen, Selection)
    clock, times = time.monotonic(), os.times()
    result = Restoring(replace(chosen, into=order["into"]), clients).run()
    after = os.times()
    cpu = after.user - times.user + after.system - times.system
    said = {"refused": len(result.refused), "seconds": time.monotonic() - clock, "cpu": cpu}
    status = Path("/proc/self/status").read_text()
    said["memory"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps(said), flush=True)


def couchrestore(server: Server, file: Path, database: str) -> Took:
    parts = urlsplit(server.urls[0])
    # in the environment, where it looks by itself: a password does not belong into arguments.
    # pouchdb-server does not know its way to log in, but lets everybody write to a new database
    login = "" if server.label == "pouchdb" else f"{quote(server.user)}:{quote(server.password)}@"
    env = {"COUCH_URL": f"{parts.scheme}://{login}{parts.netloc}", "COUCH_DATABASE": database}
    if server.label == "pouchdb":
        shim = file.with_name("none-deleted.js")
        shim.write_text(NONE_DELETED)
        env["NODE_OPTIONS"] = f"--require {shim}"
    took, _ = measured(server, [str(program()), "--quiet"], file, env)
    return took._replace(restore=took.wall, restore_cpu=took.cpu)


def program() -> Path:
    """couchrestore, installed with npm into a folder that is kept."""
    folder = cache().with_name(f"couchbackup-{VERSION}")
    found = folder / "node_modules/.bin/couchrestore"
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]
        subprocess.run([*words, str(folder), f"@cloudant/couchbackup@{VERSION}"], check=True, timeout=600)
    return found


def measured(server: Server, argv: list[str], source: Path, env: dict[str, str]) -> tuple[Took, str]:
    """Run it to its end, which has to be a good one. What this process has in memory would count as
    the other one's peak: so nothing large is read here."""
    env = dict(os.environ) | env
    with source.open("rb") as stdin, tempfile.TemporaryFile() as errors:
        before, clock = busy(server), time.monotonic()
        process = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=errors, env=env)
        assert process.stdout
        out = process.stdout.read().decode()
        process.stdout.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall, after = time.monotonic() - clock, busy(server)
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace")
            raise SystemExit(f"{argv[0]} ended with {process.returncode}: {said[-500:]}")
    share = None if before is None or after is None else (after - before) / wall
    return Took(wall, used.ru_utime + used.ru_stime, 0, 0, used.ru_maxrss / 1024, share), out


def busy(server: Server) -> float | None:
    """Seconds of CPU that the server's process has used; None for one that is not here."""
    if server.process is None:
        return None
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ── side by side ───────────────────────────────────────────────────────────────────────────
def compare(server: Server, folder: Path, rounds: int) -> None:
    count = DOCUMENTS[server.label]
    place = folder / server.label
    dump(place / "node-10.0.1.10" / f"{SOURCE}.json", documents(count), count)
    theirs(place / "theirs", documents(count))
    tools = {
        "ours": lambda db: ours(server, place, db),
        "couchrestore": lambda db: couchrestore(server, place / "theirs", db),
    }
    seen: dict[str, list[Took]] = {name: [] for name in tools}
    for turn in range(rounds):
        for name in list(tools)[:: 1 if turn % 2 == 0 else -1]:
            database = server.database(q=8)
            seen[name].append(tools[name](database))
            with server.opened() as clients:
                there = clients[0].need(database)["doc_count"]
                assert there == count, f"{name}: {there} of {count} documents are there"
                clients[0].delete(database)
    nodes = f"{len(server.urls)} nodes" if len(server.urls) > 1 else "1 node"
    print(f"\n{server.label} ({nodes}), {count:,} documents of 1 KB, {rounds} rounds, medians:")
    rows = []
    for name, all_ in seen.items():
        took = Took(*(median(values) if None not in values else None for values in zip(*all_, strict=True)))  # type: ignore[type-var, arg-type]
        share = "?" if took.server is None else f"{took.server:.0%}"
        rows.append((name, took.wall, count / took.wall, took.cpu, took.restore_cpu, took.memory, share))
    heads = ("", "s", "documents/s", "CPU s", "of it the restore", "peak MB", "server computes")
    print(tabulate(rows, headers=heads, floatfmt=("", ".1f", ",.0f", ".2f", ".2f", ".0f")))
    ratios = [b.wall / a.wall for a, b in zip(*seen.values(), strict=True)]
    span = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"documents per second, ours to couchrestore's: {span}")
    if server.label != "url":
        shares = [took.server for all_ in seen.values() for took in all_ if took.server is not None]
        limit = "it is the limit itself" if median(shares) > 0.8 else "this machine's load is the limit"
        print(
            f"The server computed {median(shares):.0%} of the time (load {os.getloadavg()[0]:.1f}): {limit}."
        )
        print("What a real cluster takes is measured with COUCHDB_URL.")


def memory(server: Server, folder: Path) -> None:
    """Ours alone, on the stand-in."""
    print("\nPeak memory of the whole process, and client CPU:")
    rows = []
    kinds = [(f"{count:,} documents of 1 KB", documents(count), count) for count in (SMALL, LARGE)]
    for name, found, count in (*kinds, ("3 uploads of 50 MB", uploads(3), 3)):
        place = folder / f"memory-{len(rows)}"
        path = place / "node-10.0.1.10" / f"{SOURCE}.json"
        dump(path, found, count)
        database = server.database(q=8)
        took = ours(server, place, database)
        with server.opened() as clients:
            clients[0].delete(database)
        rows.append((name, units.size(path.stat().st_size), took.memory, took.restore_cpu, took.cpu))
        path.unlink()
    heads = ("", "dump", "peak MB", "CPU s of the restore", "with start and judging the dump")
    print(tabulate(rows, headers=heads, floatfmt=("", "", ".0f", ".2f", ".2f")))


def main() -> None:
    if sys.argv[1:] == ["--restore"]:
        restore()
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    program()
    url = os.environ.get("COUCHDB_URL", "")
    with tempfile.TemporaryDirectory(prefix="runbook-bench-") as folder:
        for server in (StandInServer(), PouchdbServer(), *([UrlServer(url)] if url else [])):
            server.start()
            try:
                compare(server, Path(folder), rounds)
            finally:
                server.stop()
        server = StandInServer()
        server.start()
        try:
            memory(server, Path(folder))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
