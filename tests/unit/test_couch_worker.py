"""The restore's worker: a process by itself, with what is brought to it and nothing else."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest

from runbook import __version__
from runbook.couch.comparing.alldocs import held
from runbook.couch.reading import inspection
from runbook.couch.reading.selection import choose
from runbook.couch.restoring import worker
from runbook.hosts import ship
from tests.unit.couch import ADDRESSES, PASSWORD, backup, doc, dump, formed

BARE = os.path.realpath(sys.executable)


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brought")
    with tarfile.open(fileobj=io.BytesIO(ship.bundle())) as archive:
        archive.extractall(folder, filter="data")
    return folder


def start(brought, *args):
    """Without site-packages, as on a machine that has none of ours."""
    argv = [BARE, "-s", "-S", "-m", "runbook.couch.restoring.worker", *args]
    env = {"PYTHONPATH": str(brought), "PATH": "/usr/bin:/bin"}
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=env, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, cwd="/")


def order(nodes, folder, count=300, **more):
    docs = [doc(f"d{n:04}", f"{n % 5 + 1}-{n:032x}", text="x" * 200) for n in range(count)]
    backup(folder, {ADDRESSES[0]: {"openedx_1": dump(docs), "edxapp_files": dump(docs[:7])}})
    chosen = []
    for name in ("edxapp_files", "openedx_1"):
        chosen.append(choose(name, {ADDRESSES[0]: folder / f"node-{ADDRESSES[0]}" / f"{name}.json"}))
    fields = {
        "nodes": tuple(
            worker.Node(f"vm{n}", f"http://127.0.0.1:{node.port}") for n, node in enumerate(nodes, 1)
        ),
        "user": "admin",
        "password": PASSWORD,
        "selections": tuple(chosen),
        "digests": {path: inspection.digest(Path(path)) for path in _paths(chosen)},
    }
    return worker.Order(**(fields | more))


def _paths(chosen):
    return [source.path for one in chosen for source in one.sources]


def said(output):
    found = [worker.heard(line) for line in output.decode().splitlines()]
    assert None not in found, output
    return found


def test_what_is_brought_is_enough(brought):
    process = start(brought, "--version")
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.decode().strip()) == (0, __version__)


def test_the_same_files_make_the_same_bundle():
    first = ship.bundle()
    ship.bundle.cache_clear()
    assert ship.bundle() == first


def test_it_restores_and_tells(brought, tmp_path):
    with formed() as (nodes, (one, *_)):
        for name in ("openedx_1", "edxapp_files"):
            assert one.put(name).ok
        wanted = order(nodes, tmp_path)
        process = start(brought)
        output, _ = process.communicate(msgspec.json.encode(wanted), timeout=120)
        assert process.returncode == 0, output
        done = [found.result for found in said(output) if isinstance(found, worker.Done)]
        assert [(r.database, r.stored) for r in done] == [("edxapp_files", 7), ("openedx_1", 300)]
        assert sum(1 for _ in held(one, "openedx_1")) == 300
        assert PASSWORD.encode() not in output
        # again: everything is there
        process = start(brought)
        output, _ = process.communicate(msgspec.json.encode(wanted), timeout=120)
        done = [found.result for found in said(output) if isinstance(found, worker.Done)]
        assert [(r.present, r.stored) for r in done] == [(7, 0), (300, 0)]


def test_another_dump_than_the_chosen_one_is_refused_before_anything_is_written(brought, tmp_path):
    with formed() as (nodes, (one, *_)):
        for name in ("openedx_1", "edxapp_files"):
            assert one.put(name).ok
        wanted = order(nodes, tmp_path)
        path = wanted.selections[1].sources[0].path
        Path(path).write_bytes(dump([doc("d0001", "1-a")]))
        process = start(brought)
        output, _ = process.communicate(msgspec.json.encode(wanted), timeout=120)
        assert process.returncode == 1
        (trouble,) = said(output)
        assert "is not the dump that was chosen. Nothing was restored." in trouble.what
        assert sum(1 for _ in held(one, "edxapp_files")) == 0


def test_a_database_that_is_not_there_is_told(brought, tmp_path):
    with formed() as (nodes, _):
        process = start(brought)
        output, _ = process.communicate(msgspec.json.encode(order(nodes, tmp_path)), timeout=120)
        assert process.returncode == 1
        assert [type(found) for found in said(output)][-1] is worker.Trouble


def test_an_order_that_cannot_be_read_is_told(brought):
    process = start(brought)
    output, _ = process.communicate(b"{}", timeout=60)
    assert process.returncode == 1 and isinstance(said(output)[0], worker.Trouble)


def test_other_output_is_not_taken_for_the_workers():
    for line in ("", "Traceback", '{"type":"progress"}', '{"type":"other"}', '{"type":' + "[" * 3000):
        assert worker.heard(line) is None
