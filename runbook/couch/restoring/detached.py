"""The restore as a job on a machine beside the data: brought there, started, watched to its end.

The job outlives this program and the connection. Whoever resumes the run finds it by its name and
watches on; a job that was ended is started again with the same order and sends what is missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from runbook import units
from runbook.context import Context
from runbook.couch import connect
from runbook.couch.client import Refusal
from runbook.couch.reading import inspection
from runbook.couch.reading.selection import Selection
from runbook.couch.restoring import ways, worker
from runbook.couch.restoring.restore import Result
from runbook.errors import ActionFailed, CouldNotLook
from runbook.hosts import ship
from runbook.hosts.base import Host
from runbook.platform import diskspace
from runbook.text import LineSplitter

WORKER = worker.__name__
#: seconds a worker may take
LIMIT = 12 * 3600.0


class Heard:
    """What the worker says, as far as it was read; drives the progress on the screen."""

    def __init__(self, context: Context) -> None:
        self._voice = context.voice
        self._lines = LineSplitter()
        self.results: dict[str, Result] = {}
        self.refused: dict[str, list[Refusal]] = {}
        self.problem = ""

    def __call__(self, chunk: bytes) -> None:
        for line in self._lines.feed(chunk):
            match worker.heard(line):
                case worker.Progress() as one:
                    self._voice.progress(one.database, one.documents, one.expected, "documents")
                case worker.Refused() as one:
                    self.refused.setdefault(one.database, []).append(one.refusal)
                case worker.Done() as one:
                    self.results[one.result.database] = one.result
                case worker.Trouble() as one:
                    self.problem = f"{one.what} {one.next}".strip()

    def all(self) -> dict[str, Result]:
        return {
            name: replace(result, refused=tuple(self.refused.get(name, ())))
            for name, result in self.results.items()
        }


async def restore(context: Context, machine: str, chosen: Sequence[Selection]) -> dict[str, Result]:
    """Restore ``chosen`` by a worker on that machine: database -> result. What it reports is for the
    caller to compare with the databases. Raises ActionFailed, HostError, OutcomeUnknown."""
    host = await context.hosts.open(machine)
    program, folder = await ship.bring(host, WORKER)
    paths = await ways.there(context, host, chosen) or await _upload(context, host, chosen)
    order = await _order(context, chosen, paths)
    heard = Heard(context)
    done = await context.voice.job(
        [program, "-m", WORKER],
        name=f"restore-{_digest(order)}",
        host=host,
        env={"PYTHONPATH": folder},
        stdin=msgspec.json.encode(order),
        timeout=LIMIT,
        heard=heard,
    )
    if len(heard.results) < len(chosen):
        why = heard.problem or f"the worker on {machine} ended with {done.exit_status}"
        raise ActionFailed(
            f"{len(heard.results)} of {len(chosen)} databases were restored: {why}",
            next="What was stored stays, and a retry sends only what is missing.",
        )
    await _remove_uploads(context, host)
    return heard.all()


async def _order(context: Context, chosen: Sequence[Selection], paths: dict[str, str]) -> worker.Order:
    settings = context.site.couchdb
    password = await context.secrets.get(settings.password)
    moved, digests = [], {}
    for one in chosen:
        for source in one.sources:
            found = await asyncio.to_thread(inspection.digest, Path(source.path))
            digests[paths[source.path]] = found
        moved.append(replace(one, sources=tuple(replace(s, path=paths[s.path]) for s in one.sources)))
    nodes = [
        worker.Node(machine.name, f"http://{machine.internal}:{settings.port}")
        for machine in connect.machines(context)
    ]
    return worker.Order(
        nodes=tuple(nodes),
        user=settings.user,
        password=password.reveal(),
        selections=tuple(moved),
        digests=digests,
    )


def _digest(order: worker.Order) -> str:
    """The same work has the same name; another plan another one. Not of the password."""
    return hashlib.sha256(msgspec.json.encode(replace(order, password=""))).hexdigest()[:16]


def _uploads(context: Context) -> str:
    return posixpath.join(ship.FOLDER, f"dumps-{context.run_dir.name}")


async def _upload(context: Context, host: Host, chosen: Sequence[Selection]) -> dict[str, str]:
    """Bring the dumps and what lies beside them there, each compared by SHA-256; what is there already
    is not sent again. Local path -> path there."""
    local = ways.files(chosen)
    total, before, paths = sum(path.stat().st_size for path in local), 0, {}
    await _room(host, total)
    for path in local:
        remote = posixpath.join(_uploads(context), ways.below(path))

        def tick(done: int, size: int, before: int = before) -> None:
            context.voice.progress(f"dumps to {host.name}", before + done, total, "bytes")

        await host.put_file(path, remote, tick=tick)
        paths[str(path)] = remote
        before += path.stat().st_size
    return paths


async def _room(host: Host, wanted: int) -> None:
    try:
        free, _ = await diskspace.free(host)
    except CouldNotLook:
        return  # a disk that is full tells it by itself, with the file's name
    if free < wanted * 1.1:
        raise ActionFailed(
            f"{host.name} has {units.size(free)} free; the dumps are {units.size(wanted)}. Nothing was sent.",
            next="Make room there, or restore from this PC.",
        )


async def _remove_uploads(context: Context, host: Host) -> None:
    await host.run(["rm", "-rf", "--", _uploads(context)], timeout=120)
