"""How fast a dump is inspected, and in how much memory.

1. 600,000 rows of about 225 bytes, beside Python's ``json`` line by line and a mere split into lines,
   in turns. Goal: 500 MB for each second of CPU; on any machine, at least 5 times as fast as ``json``.
2. A dump of 1 GB (``python benchmarks/dumps.py 5`` for 5 GB) in every layout: the peak memory of a
   process that inspects it. Goal: under 100 MB.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runbook.couch.reading.inspection import _Inspecting  # noqa: E402  (not what was read once already)

ROWS, ROUNDS = 600_000, 7
BLOCK = 2_000
INSPECT = """
import resource, sys
from pathlib import Path
from runbook.couch.reading.inspection import inspect
found = inspect(Path(sys.argv[1]))
assert not found.problems and found.rows == int(sys.argv[2]), found
peak = next((line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), None)
print(int(peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024)
"""
BETWEEN = {"as CouchDB writes": ",\r\n", "gzip": ",\r\n", "in one line": ",", "pretty-printed": ",\n    "}


def row(number: int, text: str, pretty: bool = False) -> str:
    id, rev = f"note-{number:010}", f"1-{number:032x}"
    doc = {"_id": id, "_rev": rev, "type": "note", "number": number, "text": text}
    found = {"id": id, "key": id, "value": {"rev": rev}, "doc": doc}
    if pretty:
        return json.dumps(found, indent=2).replace("\n", "\n    ")
    return json.dumps(found, separators=(",", ":"))


def blocks(rows: int, text: str, layout: str) -> Iterator[bytes]:
    """A dump of that many rows."""
    between = BETWEEN[layout]
    begin = between.removeprefix(",")
    yield f'{{"total_rows":{rows},"offset":0,"rows":[{begin}'.encode()
    for first in range(0, rows, BLOCK):
        some = range(first, min(first + BLOCK, rows))
        last = "" if some[-1] == rows - 1 else between
        yield (between.join(row(n, text, layout == "pretty-printed") for n in some) + last).encode()
    yield f"{begin}]}}\n".encode()


def made(path: Path, rows: int, text: str, layout: str) -> Path:
    with gzip.open(path, "wb", compresslevel=1) if layout == "gzip" else path.open("wb") as file:
        for block in blocks(rows, text, layout):
            file.write(block)
    return path


def inspected(path: Path) -> int:
    found = _Inspecting(path, 0).run(path.stat().st_size)
    assert not found.problems
    return found.rows


def by_json(path: Path) -> int:
    with path.open("rb") as file:
        next(file)
        return sum("doc" in json.loads(line.rstrip(b",\r\n")) for line in file if line.startswith(b"{"))


def split(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file) - 2


def speed(folder: Path) -> float:
    path = made(folder / "small.json", ROWS, "some text of it", "as CouchDB writes")
    size = path.stat().st_size
    print(f"{ROWS} rows of {size // ROWS} bytes, best of {ROUNDS}:")
    ways: dict[str, Callable[[Path], int]] = {
        "inspect": inspected,
        "json by line": by_json,
        "line split": split,
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started, used = time.perf_counter(), time.process_time()
            assert way(path) == ROWS
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - used)
    best = min(cpu["inspect"])
    for name in ways:
        rates = size / min(wall[name]) / 1e6, size / min(cpu[name]) / 1e6
        print(
            f"  {name:12} {rates[0]:6.0f} MB/s, {rates[1]:6.0f} MB per second of CPU; "
            f"inspect is {min(cpu[name]) / best:.2f} times as fast"
        )
    print(f"  goal: 500 MB per second of CPU: {'met' if size / best >= 5e8 else 'not met in this run'}")
    return min(cpu["json by line"]) / best


def memory(folder: Path, size: float) -> int:
    text = "some text of it " * 60
    rows = int(size / len(row(0, text)))
    most = 0
    print(f"a dump of {size / 1e9:.1f} GB, peak memory of a process:")
    for layout in BETWEEN:
        path = made(folder / "large.json", rows, text, layout)
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", INSPECT, path, str(rows)], cwd=ROOT, capture_output=True, check=True
        )
        taken, peak = time.perf_counter() - started, int(done.stdout)
        print(f"  {layout:17} {peak / 1e6:5.0f} MB  in {taken:.1f} s ({path.stat().st_size / 1e9:.2f} GB)")
        path.unlink()
        most = max(most, peak)
    return most


def main() -> int:
    size = float(sys.argv[1]) * 1e9 if len(sys.argv) > 1 else 1e9
    with tempfile.TemporaryDirectory() as name:
        ratio = speed(Path(name))
        peak = memory(Path(name), size)
    return 0 if ratio >= 5 and peak < 100_000_000 else 1


if __name__ == "__main__":
    sys.exit(main())
