"""What a front end asks of the backups of an installation: the overview, and one of them verified.

Without settings it is the practice lab's backups, as the newest practice run knows them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from runbook import units, whoami
from runbook.backup import overview
from runbook.backup.inventory import Item
from runbook.backup.overview import Overview
from runbook.backup.verifying import remote
from runbook.backup.verifying.report import Order, Report, carry_out
from runbook.errors import RunbookError, UseError
from runbook.looking import looker
from runbook.site.model import Site
from runbook.workbench import Workbench

Tick = Callable[[int, int], None]


async def look(bench: Workbench) -> Overview:
    """Raises UseError when there are neither settings nor a practice run."""
    async with looker(bench, _run(bench)) as world:
        with suppress(RunbookError):  # then the backup VM is told as not known
            await world.hosts.learn()
        return await overview.take(await world.here())


async def verify(bench: Workbench, item: Item, tick: Tick) -> Report:
    """Read it to its end where it lies; cancelled, that work ends. Raises RunbookError, OSError."""
    async with looker(bench, _run(bench)) as world:
        order = order_for(world.site, item.path)
        if item.place == "backup VM":
            await world.hosts.learn()
            (machine,) = world.hosts.select("backup")[:1]
            return await remote.verify(await world.hosts.open(machine.name), order, tick)
        stop = threading.Event()
        try:
            return await asyncio.to_thread(carry_out, order, tick, stop)
        finally:
            stop.set()


def order_for(site: Site, path: str) -> Order:
    """A verification against what the settings say."""
    return Order(
        path=path,
        roots=tuple(dict.fromkeys((site.backup.remote, "/backup"))),
        expected=site.backup.databases,
        largest=site.couchdb.max_document_size,
        rpo=units.parse_duration(site.objectives.rpo),
        domain=site.platform.domain,
        base=site.machines.internal_base,
        by=f"{whoami.operator(site)} on {whoami.this_pc()}",
    )


def _run(bench: Workbench) -> str:
    """The run whose settings are taken; "": the installation's own."""
    if not bench.site_problem:
        return ""
    found = next((run.id for run in bench.runs() if run.mode == "practice"), "")
    if not found:
        raise UseError(
            f"There are no settings, and no practice run either: {bench.site_problem}",
            next="Write the settings with `runbook site init`, or practise first.",
        )
    return found
