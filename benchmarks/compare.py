"""Our compare against the server's own list, read to its end by curl: same server, same documents.

    .venv/bin/python benchmarks/compare.py [ROUNDS]

1. Ids and revisions of 100,000 documents of 1 KB, dump against server, beside curl reading
   ``_all_docs``; then their contents too, beside curl reading it with the documents. In turns; the
   time is that of reading and comparing, without the start of either program. Goal: no slower.
2. The peak memory of a process that compares, at two sizes, and with uploads of 50 MB.

The servers: this project's stand-in of a cluster of three, and the cluster at COUCHDB_URL (its nodes
separated by commas, COUCHDB_USER and COUCHDB_PASSWORD) when that is given. The stand-in takes less
time for a row of its list than a real CouchDB. Compare keeps up with a server as long as its own CPU
seconds are fewer than the server's and each has a processor; on a machine with more to do than that,
the two wait for each other, and the ratio tells of that.
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
from itertools import islice
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tabulate import tabulate  # noqa: E402

from runbook import units  # noqa: E402
from runbook.couch.comparing import sides  # noqa: E402
from runbook.couch.comparing.compare import compare  # noqa: E402
from tests.couchdb.servers import Server, StandInServer, UrlServer  # noqa: E402

DOCUMENTS = 100_000
SMALL, LARGE, UPLOADS = 20_000, 200_000, 3
COMPARE = """
import json, sys
from pathlib import Path
from runbook.couch.comparing import sides
from runbook.couch.client import Client
from runbook.couch.comparing.compare import compare
from runbook.secrets import Secret
order = json.loads(sys.stdin.read())
client = Client(order["url"], order["user"], Secret(order["password"], "password"), "vm1")
database, path = order["database"], Path(order["path"])
found = compare(database, sides.dump(path, database), sides.Live([client], database), sample=order["sample"])
assert found.same, found
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


# ── the documents ──────────────────────────────────────────────────────────────────────────
def documents(count: int) -> Iterator[tuple[str, str, bytes]]:
    """Id, revision and JSON, of 1 KB each."""
    for n in range(count):
        id = f"course-v1:org+run+{n:08}"
        rev = f"1-{hashlib.md5(id.encode(), usedforsecurity=False).hexdigest()}"
        yield id, rev, _json({"_id": id, "_rev": rev, "n": n, "text": "lorem ipsum dolor, " * 48})


def uploads(count: int) -> Iterator[tuple[str, str, bytes]]:
    """Of 50 MB each, as the platform keeps them: base64 in a document."""
    data = base64.b64encode(bytes(range(256)) * 4 * 50_000).decode()
    for n in range(count):
        id, rev = f"upload-{n}.bin", f"1-{n:032x}"
        yield id, rev, _json({"_id": id, "_rev": rev, "content_type": "image/png", "data": data})


def _json(doc: dict[str, object]) -> bytes:
    return json.dumps(doc, separators=(",", ":")).encode()


def placed(server: Server, folder: Path, found: Iterator[tuple[str, str, bytes]], at_once: int) -> Path:
    """The documents in a new database, and in a dump of its name."""
    database = server.database(q=8)
    path, between = folder / f"{database}.json", b""
    with server.opened() as clients, path.open("wb") as file:
        file.write(b'{"total_rows":0,"offset":0,"rows":[\r\n')
        while some := list(islice(found, at_once)):
            assert clients[0].bulk(database, [doc for _, _, doc in some]) == []
            for id, rev, doc in some:
                row = b'{"id":"%b","key":"%b","value":{"rev":"%b"},"doc":%b}'
                file.write(between + row % (id.encode(), id.encode(), rev.encode(), doc))
                between = b",\r\n"
        file.write(b"\r\n]}\n")
    return path


# ── side by side ───────────────────────────────────────────────────────────────────────────
def curl(server: Server, database: str, query: str) -> float:
    """Seconds of the transfer, as curl tells them."""
    config = f'user = "{server.user}:{server.password}"\nurl = "{server.urls[0]}/{database}/_all_docs{query}"'
    words = ["curl", "-sf", "-K", "-", "-o", os.devnull, "-w", "%{time_total}"]
    done = subprocess.run(words, input=config, capture_output=True, text=True, check=True)
    return float(done.stdout)


def busy(server: Server) -> float:
    """Seconds of CPU that the server's process has used; none for one that is not here."""
    if server.process is None:
        return 0.0
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ours(server: Server, path: Path, sample: int | None) -> tuple[float, float, float]:
    """Seconds, and seconds of CPU: of this process, of the server's."""
    database = path.stem
    with server.opened() as clients:
        before, clock, cpu = busy(server), time.perf_counter(), time.process_time()
        found = compare(database, sides.dump(path, database), sides.Live(clients, database), sample=sample)
        assert found.same and found.actual > 0, found
        return time.perf_counter() - clock, time.process_time() - cpu, busy(server) - before


def beside(server: Server, folder: Path, rounds: int) -> None:
    path = placed(server, folder, documents(DOCUMENTS), 1000)
    print(f"\n{server.label}, {DOCUMENTS:,} documents of 1 KB, {rounds} rounds, medians:")
    rows = []
    for what, sample, query in (("ids and revisions", 0, ""), ("contents too", None, "?include_docs=true")):
        theirs, mine = [], []
        for turn in range(rounds):
            for tool in ("curl", "ours")[:: 1 if turn % 2 == 0 else -1]:
                if tool == "curl":
                    theirs.append(curl(server, path.stem, query))
                else:
                    mine.append(ours(server, path, sample))
        ratios = [one[0] / other for one, other in zip(mine, theirs, strict=True)]
        span = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        took, cpu, served = (median(one) for one in zip(*mine, strict=True))
        rows.append((what, median(theirs), took, span, cpu, served))
    heads = ("", "the list by curl, s", "compare, s", "ratio", "its CPU s", "the server's")
    print(tabulate(rows, headers=heads, floatfmt=".2f"))
    path.unlink()


def memory(server: Server, folder: Path) -> None:
    rows = []
    kinds = [(f"{count:,} documents of 1 KB", documents(count), 1000) for count in (SMALL, LARGE)]
    for name, found, at_once in (*kinds, (f"{UPLOADS} uploads of 50 MB", uploads(UPLOADS), 1)):
        path = placed(server, folder, found, at_once)
        size = units.size(path.stat().st_size)
        rows.append((name, size, *(peak(server, path, sample) for sample in (0, 100, None))))
        path.unlink()
        server.clean()
    print("\nPeak memory of a process, MB:")
    heads = ("", "dump", "ids and revisions", "100 contents", "all contents")
    print(tabulate(rows, headers=heads, floatfmt=".0f"))


def peak(server: Server, path: Path, sample: int | None) -> float:
    order = {"url": server.urls[0], "user": server.user, "password": server.password}
    order |= {"database": path.stem, "path": str(path), "sample": sample}  # type: ignore[dict-item]
    words = [sys.executable, "-c", COMPARE]
    done = subprocess.run(
        words, cwd=ROOT, input=json.dumps(order), capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    url = os.environ.get("COUCHDB_URL", "")
    with tempfile.TemporaryDirectory(prefix="runbook-bench-") as folder:
        for server in (StandInServer(), *([UrlServer(url)] if url else [])):
            server.start()
            try:
                beside(server, Path(folder), rounds)
                if server.label == "standin":
                    memory(server, Path(folder))
            finally:
                server.stop()


if __name__ == "__main__":
    main()
