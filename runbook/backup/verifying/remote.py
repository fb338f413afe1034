"""Verification on the backup VM: the same worker, beside the backup; nothing is copied here."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress

import msgspec

from runbook.backup import layout
from runbook.backup.verifying import worker
from runbook.backup.verifying.report import Order, Report
from runbook.errors import ActionFailed, CouldNotLook, HostError, OutcomeUnknown, UseError
from runbook.hosts import jobs, ship
from runbook.hosts.base import Host

#: seconds for reading one backup to its end
_LONG = 8 * 3600.0
_WORKER = "runbook.backup.verifying.worker"
HERE_INSTEAD = (
    "Fetch it and verify it here (runbook backup fetch), or take a reduced look there with --reduced: "
    "md5sum, gzip -t and the manifest, without reading what the dumps hold."
)


async def find(host: Host, root: str, id: str) -> str:
    """The path there of the backup with that id; of several the most frequent tier's. Raises UseError,
    HostError, CouldNotLook."""
    found = await layout.find_remote(host, root)
    for tier in layout.TIERS:
        for one in found:
            if one.id == id and one.tier == tier:
                return one.path
    near = ", ".join(dict.fromkeys(one.id for one in found[:8])) or "none"
    raise UseError(f"There is no backup {id} below {root} on {host.name}.", next=f"There are: {near}.")


async def verify(
    host: Host,
    order: Order,
    tick: Callable[[int, int], None],
    trouble: Callable[[str], None] | None = None,
) -> Report:
    """Cancelled, it ends the work there. Raises ActionFailed, HostError, CouldNotLook."""
    try:
        python, folder = await ship.bring(host, _WORKER)
    except ActionFailed as error:
        raise ActionFailed(error.what, next=HERE_INSTEAD) from None
    job = f"backup-verify-{secrets.token_hex(6)}"
    hearing = _Hearing(tick)
    argv, env, stdin = [python, "-m", _WORKER], {"PYTHONPATH": folder}, msgspec.json.encode(order)
    try:
        await jobs.start(host, job, argv, env=env, stdin=stdin)
    except OutcomeUnknown:  # the line was cut just then: it is started at most once
        await jobs.start(host, job, argv, env=env, stdin=stdin)
    ended = False
    try:
        status = await jobs.follow(host, job, hearing, timeout=_LONG, trouble=trouble)
        ended = True
    finally:
        if not ended:
            await jobs.cancel(host, job)
    with suppress(HostError):  # else a folder of a few kB is left there
        await jobs.remove(host, job)
    match hearing.last:
        case worker.Done(report=report):
            return msgspec.structs.replace(report, machine=host.name)
        case worker.Trouble(what=what, next=next):
            raise CouldNotLook(f"{host.name}: {what}", next=next)
    raise CouldNotLook(
        f"{host.name}: the verification of {order.path} ended without a result (exit status "
        f"{status.exit_status}). Nothing is known of the backup, and nothing was changed there.",
        next=HERE_INSTEAD,
    )


class _Hearing:
    """Puts the worker's output together again, line by line."""

    def __init__(self, tick: Callable[[int, int], None]) -> None:
        self._tick, self._rest = tick, b""
        self.last: worker.Said | None = None

    def __call__(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            said = worker.heard(line)
            if isinstance(said, worker.Progress):
                self._tick(said.done, said.total)
            elif said:
                self.last = said
