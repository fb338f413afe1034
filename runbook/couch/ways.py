"""From where a restore can run, and about how long each way takes.

From this PC every document goes through its own uplink, and the PC has to stay awake. A worker
beside the data needs the dumps there (they may be on the backup VM already), and a Python like
ours; then the laptop can be closed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from runbook import units
from runbook.context import Look
from runbook.couch import connect, ship
from runbook.couch.selection import Selection
from runbook.errors import ActionFailed, RunbookError
from runbook.events import Option
from runbook.hosts.base import Host, Machine

HERE = "here"
#: what three nodes of a cluster take from one client (100,000 documents of 1 KB in 21 s: recorded
#: from a real cluster on two cores); large documents are limited by bytes
DOCUMENTS_PER_SECOND = 4800.0
BYTES_PER_SECOND = 20_000_000.0
#: sent to a machine to learn what the line takes; repeated with the larger one on a quick line
SAMPLES = (1 << 20, 8 << 20)
QUICK = 0.5
SAMPLE_LIMIT = 60.0


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """``upload``: bytes that have to be brought there first; ``seconds``: estimated, upload included,
    None where it could not be estimated; ``lacks``: why this way is not open."""

    name: str  #: HERE, or a machine's name
    upload: int = 0
    seconds: float | None = None
    lacks: str = ""

    @property
    def option(self) -> Option:
        label = "from this PC" if self.name == HERE else f"on {self.name}, beside the data"
        return Option(self.name, label, self.words())

    def words(self) -> str:
        if self.lacks:
            return f"not possible: {self.lacks}"
        time = "its time is not known" if self.seconds is None else f"about {units.duration(self.seconds)}"
        if self.name == HERE:
            return f"{time}; every document goes over this PC's line, which must stay up"
        sent = f"after sending {units.size(self.upload)} there" if self.upload else "the dumps are there"
        return f"{time}; {sent}; this PC may be closed meanwhile"


async def ways(look: Look, chosen: Sequence[Selection]) -> list[Way]:
    """From this PC; on the first machine with a CouchDB; on the backup VM when it can be reached."""
    nodes = [machine for machine in connect.machines(look) if not look.site.couchdb.urls]
    if not nodes:
        return [Way(name=HERE)]  # addresses named by hand: no machines are known
    documents, size = sum(one.expected for one in chosen), sum(one.bytes for one in chosen)
    work = max(documents / DOCUMENTS_PER_SECOND, size / BYTES_PER_SECOND)
    others = [*nodes[:1], *(m for m in look.hosts.machines() if m.role == "backup")]
    found = await asyncio.gather(*(_beside(look, machine, chosen, work) for machine in others))
    speed = next((rate for _, rate in found if rate), None)
    here = Way(name=HERE, seconds=max(work, size / speed) if speed else None)
    return [here, *(way for way, _ in found)]


async def _beside(
    look: Look, machine: Machine, chosen: Sequence[Selection], work: float
) -> tuple[Way, float | None]:
    """The way over that machine, and the bytes a second that the line to it takes."""
    try:
        host = await look.hosts.open(machine.name)
        await ship.python(host)
        speed = await line_speed(host)
        size = 0 if await there(look, host, chosen) else sum(s.size for one in chosen for s in one.sources)
    except RunbookError as error:
        return Way(name=machine.name, lacks=error.what), None
    return Way(name=machine.name, upload=size, seconds=size / speed + work), speed


async def line_speed(host: Host) -> float:
    """Bytes a second that reach that machine from here, measured by sending some. Raises HostError,
    ActionFailed."""
    clock = asyncio.get_running_loop().time
    speed = 0.0
    for size in SAMPLES:
        began = clock()
        done = await host.run(["sh", "-c", "cat > /dev/null"], stdin=os.urandom(size), timeout=SAMPLE_LIMIT)
        if not done.ok:
            raise ActionFailed(f"The line to {host.name} could not be measured.")
        took = clock() - began
        speed = size / max(took, 0.001)
        if took > QUICK:
            break
    return speed


async def there(look: Look, host: Host, chosen: Sequence[Selection]) -> dict[str, str]:
    """Local path -> path of the same dump on the backup VM; empty unless all are there in the same
    size. That they are the same is for the worker to prove."""
    if host.machine.role != "backup":
        return {}
    local = [Path(source.path) for one in chosen for source in one.sources]
    for tier in ("daily", "weekly", "monthly"):
        names = {str(path): f"{look.site.backup.remote}/{tier}/{_below(path)}" for path in local}
        done = await host.run(["wc", "-c", "--", *names.values()], timeout=60)
        sizes = {line.split(maxsplit=1)[-1]: line.split()[0] for line in _lines(done.stdout) if line.strip()}
        if all(sizes.get(names[str(path)]) == str(path.stat().st_size) for path in local):
            return names
    return {}


def _below(path: Path) -> str:
    """``20261101/node-10.0.1.10/openedx_1.json`` of a dump's path."""
    return "/".join(path.parts[-3:])


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()
