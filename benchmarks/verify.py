"""How fast a backup is verified, beside what a person would type, on the same data in one run.

A backup of 1 GB, mixed: courses and users in small rows, uploads of 20 kB to 8 MB, archives (another
size in GB: ``python benchmarks/verify.py 3``). ``md5sum`` of every file, ``gzip -t`` of every archive and
``jq`` over every dump, one after the other, against one ``runbook`` verification, which also hashes with
SHA-256, lists the archives' members, decodes the uploads, and compares the nodes' copies.
Goal: at least 3 times as fast, in less than 150 MB.
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.dumps import blocks, row  # noqa: E402
from tests.unit.backups import NODES, SETTINGS, archive  # noqa: E402

MIXED = ("openedx_1", "openedx_2", "openedx_3", "_users")
ROUNDS = 2
VERIFY = "from runbook.cli import main; raise SystemExit(main())"
BY_HAND = """
cd "$1" && find . -type f -exec md5sum {} + > /dev/null &&
find . -name '*.gz' -exec gzip -t {} + &&
for dump in node-*/*.json; do jq -e '.total_rows == (.rows | length)' "$dump" > /dev/null || exit 1; done
"""


def uploads(size: float) -> Iterator[bytes]:
    seed, rows, sizes = random.Random(1), [], [20_000, 60_000, 300_000, 8_000_000]
    left = size
    while left > 0:
        id, rev = f"file-{len(rows):06}.pdf", f"1-{len(rows):032x}"
        data = base64.b64encode(seed.randbytes(sizes[len(rows) % len(sizes)])).decode()
        doc = {"_id": id, "_rev": rev, "content_type": "application/pdf", "data": data}
        found = {"id": id, "key": id, "value": {"rev": rev}, "doc": doc}
        rows.append(json.dumps(found, separators=(",", ":")).encode())
        left -= len(data)
    yield b'{"total_rows":%d,"offset":0,"rows":[\r\n' % len(rows)
    yield b",\r\n".join(rows)
    yield b"\r\n]}\n"


def made(folder: Path, size: float) -> None:
    """A third of it uploads, the rest rows of about 340 bytes, as the platform's are; one node's copy of one
    database lacks the last row."""
    text, seed = "some text of it " * 8, random.Random(2)
    each = size / len(NODES)
    rows = int(each * 0.62 / len(MIXED) / len(row(0, text)))
    logs = archive(
        {
            "lms.log": b"".join(
                b"%d %x a line of a log\n" % (n, seed.getrandbits(64)) for n in range(int(each * 0.03 / 42))
            )
        }
    )
    first = folder / f"node-{NODES[0]}"
    for node in NODES:
        below = folder / f"node-{node}"
        below.mkdir(parents=True)
        for name in MIXED:
            lagging = node == NODES[-1] and name == "openedx_1"
            with (below / f"{name}.json").open("wb") as file:
                file.writelines(blocks(rows - lagging, text, "as CouchDB writes"))
        if node == NODES[0]:
            with (below / "edxapp_files.json").open("wb") as file:
                file.writelines(uploads(each * 0.33))
        else:
            shutil.copyfile(first / "edxapp_files.json", below / "edxapp_files.json")
        (below / "config.tar.gz").write_bytes(archive(SETTINGS))
        (below / "logs.tar.gz").write_bytes(logs)
    manifest = folder / "backup_manifest.json"
    manifest.touch()
    recipe = 'find "$1" -type f -exec md5sum {} \\; | sort | md5sum'
    done = subprocess.run(["sh", "-c", recipe, "sh", folder], capture_output=True, check=True, text=True)
    content = {
        "backup_date": "2026-11-01T01:00:07Z",
        "backup_type": "daily",
        "nodes": NODES,
        "checksum": done.stdout,
    }
    manifest.write_text(json.dumps(content))


class Peak:
    """The most memory that a process and its children had at once (PSS: what they share counts once)."""

    def __init__(self, pid: int) -> None:
        self.most, self._pid, self._over = 0, pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, sum(map(_memory, _family(self._pid))))

    def end(self) -> int:
        self._over.set()
        self._thread.join()
        return self.most


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = [one.name for one in Path(f"/proc/{pid}/task").iterdir() if one.name != str(pid)]
        for thread in threads:
            children += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _memory(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))


def timed(argv: list[str]) -> tuple[float, int, str]:
    begun = time.perf_counter()
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    peak = Peak(process.pid)
    said, _ = process.communicate()
    seconds, most = time.perf_counter() - begun, peak.end()
    assert process.returncode == 0, said
    return seconds, most, said.partition("\n")[0]


def main() -> int:
    size = float(sys.argv[1]) * 1e9 if len(sys.argv) > 1 else 1e9
    if shutil.which("jq") is None:
        print("NOT MEASURED: jq is not installed, so there is nothing to compare with.")
        return 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "backup"
        folder = root / "daily/20261101"
        made(folder, size)
        verify = [sys.executable, "-c", VERIFY, "--state", name, "backup", "verify", str(folder)]
        total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        ours: list[tuple[float, int, str]] = []
        by_hand: list[tuple[float, int, str]] = []
        for _ in range(ROUNDS):
            ours.append(timed([*verify, "--root", str(root)]))
            by_hand.append(timed(["sh", "-c", BY_HAND, "sh", str(folder)]))
    mine, theirs = min(ours), min(by_hand)
    peak = max(most for _, most, _ in ours)
    ratio = theirs[0] / mine[0]
    print(f"a backup of {total / 1e9:.2f} GB, best of {ROUNDS}: {mine[2]}")
    for name, (seconds, most, _) in (("runbook backup verify", mine), ("md5sum, gzip -t, jq", theirs)):
        print(f"  {name:22} {seconds:6.1f} s  {total / seconds / 1e6:5.0f} MB/s  peak {most / 1e6:4.0f} MB")
    print(f"  verify is {ratio:.1f} times as fast (goal: 3), in {peak / 1e6:.0f} MB (goal: under 150)")
    return 0 if ratio >= 3 and peak < 150_000_000 else 1


if __name__ == "__main__":
    sys.exit(main())
