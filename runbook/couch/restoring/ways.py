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
from runbook.backup import layout
from runbook.context import Context, Look
from runbook.couch import connect
from runbook.couch.reading import beside
from runbook.couch.reading.selection import Selection
from runbook.couch.restoring import estimate
from runbook.couch.restoring.estimate import Rate
from runbook.errors import ActionFailed, RunbookError
from runbook.events import Option
from runbook.hosts import ship
from runbook.hosts.base import Host, Machine

HERE = "here"
#: sent to a machine to learn what the line takes; repeated with the larger one on a quick line
SAMPLES = (1 << 20, 8 << 20)
QUICK = 0.5
SAMPLE_LIMIT = 60.0


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """``upload``: bytes that have to be brought there first; ``seconds``: at best and at worst, upload
    included, None where it could not be estimated; ``lacks``: why this way is not open."""

    name: str  #: HERE, or a machine's name
    upload: int = 0
    seconds: tuple[float, float] | None = None
    lacks: str = ""

    @property
    def option(self) -> Option:
        label = "from this PC" if self.name == HERE else f"on {self.name}, beside the data"
        return Option(self.name, label, self.words())

    def words(self) -> str:
        if self.lacks:
            return f"not possible: {self.lacks}"
        time = "its time is not known"
        if self.seconds is not None:
            least, most = self.seconds
            time = f"about {units.duration(least)} to {units.duration(max(most, least + 1))}"
        if self.name == HERE:
            return f"{time}; every document goes over this PC's line, which must stay up"
        sent = f"after sending {units.size(self.upload)} there" if self.upload else "the dumps are there"
        return f"{time}; {sent}; this PC may be closed meanwhile"


async def ways(look: Look, chosen: Sequence[Selection], measured: Rate | None = None) -> list[Way]:
    """From this PC; on the first machine with a CouchDB; on the backup VM when it can be reached."""
    if look.site.couchdb.urls:
        return [Way(name=HERE)]  # addresses named by hand: no machines are known
    documents, size = sum(one.expected for one in chosen), sum(one.bytes for one in chosen)
    work = estimate.seconds(documents, size, measured)
    backup = (machine for machine in look.hosts.machines() if machine.role == "backup")
    others = [*connect.machines(look)[:1], *backup]
    found = await asyncio.gather(*(_beside(look, machine, chosen, work) for machine in others))
    speed = next((rate for _, rate in found if rate), None)
    line = size / speed if speed else 0.0
    here = Way(name=HERE, seconds=(max(work[0], line), max(work[1], line)) if speed else None)
    return [here, *(way for way, _ in found)]


async def asked(context: Context, chosen: Sequence[Selection], measured: Rate | None = None) -> str:
    """The name of the way that the person wants; where only one is open, that one, and why on record.
    Unattended it is this PC: a run that nobody watches is no reason to leave a job behind."""
    found = await ways(context, chosen, measured)
    lacking = [f"on {way.name}: {way.words()}" for way in found if way.lacks]
    if lacking:
        context.voice.note("; ".join(lacking), kind="ways")
    usable = [way for way in found if not way.lacks]
    if len(usable) == 1:
        return usable[0].name
    return await context.voice.ask(
        "choice",
        "Where shall the restore work?",
        tuple(way.option for way in usable),
        default=HERE,
        unattended=True,
    )


async def _beside(
    look: Look, machine: Machine, chosen: Sequence[Selection], work: tuple[float, float]
) -> tuple[Way, float | None]:
    """The way over that machine, and the bytes a second that the line to it takes."""
    try:
        host = await look.hosts.open(machine.name)
        await ship.python(host)
        speed = await line_speed(host)
        size = 0 if await there(look, host, chosen) else sum(path.stat().st_size for path in files(chosen))
    except RunbookError as error:
        return Way(name=machine.name, lacks=error.what), None
    sent = size / speed
    return Way(name=machine.name, upload=size, seconds=(sent + work[0], sent + work[1])), speed


def files(chosen: Sequence[Selection]) -> list[Path]:
    """The chosen dumps on this PC, and what lies beside them."""
    dumps = [Path(source.path) for one in chosen for source in one.sources]
    more = [path for dump in dumps for path in (beside.meta_path(dump), beside.attached_path(dump))]
    return list(dict.fromkeys([*dumps, *(path for path in more if path.is_file())]))


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
    """Local path -> path of the same file on the backup VM; empty unless all are there in the same
    size. That they are the same is for the worker to prove."""
    if host.machine.role != "backup":
        return {}
    local = files(chosen)
    for tier in layout.TIERS:
        names = {str(path): f"{look.site.backup.remote.rstrip('/')}/{tier}/{below(path)}" for path in local}
        done = await host.run(["wc", "-c", "--", *names.values()], timeout=60)
        sizes = {
            name: size for line in _lines(done.stdout) for size, _, name in [line.strip().partition(" ")]
        }
        if all(sizes.get(names[str(path)]) == str(path.stat().st_size) for path in local):
            return names
    return {}


def below(path: Path) -> str:
    """``20261101/node-10.0.1.10/openedx_1.json`` of a file's path."""
    node = next(
        (at for at, part in enumerate(path.parts) if part.startswith(layout.NODE)), len(path.parts) - 1
    )
    return "/".join(path.parts[max(0, node - 1) :])


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()
