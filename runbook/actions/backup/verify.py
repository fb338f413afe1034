"""backup.verify: a backup on this PC read to its end, and the verdict put on record beside it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import ClassVar

from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.backup import choice, ledger
from runbook.backup.verifying.report import Order, Report, carry_out
from runbook.context import Context, Look
from runbook.errors import ActionFailed
from runbook.units import parse_duration, size
from runbook.whoami import operator, this_pc


class VerifyParams(Params, frozen=True):
    """``path``: a backup's folder or .tar.gz on this PC; "": the chosen one, else the newest complete one."""

    path: str = ""


class Verify:
    """Looks only; what it writes is one line beside the backups."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "safe"
    params: ClassVar[type[Params]] = VerifyParams
    outputs: ClassVar[tuple[str, ...]] = ("verified_path", "verdict")

    async def probe(self, look: Look, params: VerifyParams) -> Probe:
        path = await _path(look, params)
        entries = await asyncio.to_thread(ledger.read, path.parent)
        last = ledger.last(entries, path.name.removesuffix(".tar.gz"))
        before = f"verified {last.at:%Y-%m-%d %H:%M} as {last.verdict}" if last else "never verified"
        return Probe(satisfied=False, summary=f"{path}: {before}; it may have changed since")

    async def plan(self, look: Look, params: VerifyParams) -> Plan:
        path = await _path(look, params)
        return Plan(
            summary=f"read the backup {path} to its end",
            items=(
                "hash every file, and try the manifest's checksum in every way it can have been made",
                "read every row of every dump and every member of every archive",
                f"put the verdict on record in {path.parent / ledger.NAME}",
            ),
            data={"path": str(path)},
        )

    async def act(self, context: Context, params: VerifyParams, plan: Plan) -> Outcome:
        report = await _verified(context, plan.data["path"])
        problems = "\n".join(report.problems[:20])
        context.voice.note(
            f"Backup {report.id} was verified: {report.verdict}.",
            kind="backup_verified",
            id=report.id,
            path=report.path,
            verdict=report.verdict,
            way=report.way or "",
            problems=list(report.problems[:20]),
            remarks=list(report.remarks[:20]),
            unproven=list(report.unproven),
            print=report.print,
        )
        if report.verdict == "damaged":
            raise ActionFailed(
                f"Backup {report.id} is damaged. Nothing of it was changed.\n{problems}",
                next="Fetch it again, or take an older one: runbook backup list shows which were verified.",
            )
        rows = sum(report.documents.values())
        unrecorded = f" It is not on record: {report.unrecorded}." if report.unrecorded else ""
        return Outcome(
            summary=f"Backup {report.id} is {report.verdict}: {size(report.bytes)}, {rows} documents read."
            + unrecorded,
            outputs={"verified_path": report.path, "verdict": report.verdict},
        )


async def _path(look: Look, params: VerifyParams) -> Path:
    return Path(params.path).expanduser() if params.path else await choice.chosen_folder(look)


async def _verified(context: Context, path: str) -> Report:
    site, stop = context.site, threading.Event()
    loop = asyncio.get_running_loop()
    order = Order(
        path=path,
        roots=tuple(dict.fromkeys((site.backup.remote, "/backup"))),
        expected=site.backup.databases,
        largest=site.couchdb.max_document_size,
        rpo=parse_duration(site.objectives.rpo),
        domain=site.platform.domain if context.mode != "drill" else "",
        base=site.machines.internal_base,
        by=f"{operator(site)} on {this_pc()}",
    )

    def tick(done: int, total: int) -> None:
        loop.call_soon_threadsafe(context.voice.progress, "reading the backup", done, total, "bytes")

    try:
        return await asyncio.to_thread(carry_out, order, tick, stop)
    finally:
        stop.set()  # cancelled: the thread ends soon
