"""The servers' databases held against a backup, on record; nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.couch import connect
from runbook.couch.comparing import differences
from runbook.couch.comparing.compare import Comparison, proven
from runbook.couch.restoring import aftercheck
from runbook.errors import ActionFailed


class CompareParams(Params, frozen=True, kw_only=True):
    """``backup``: a backup's folder; empty: the one this run has chosen. ``databases``: only these.
    ``bodies``: whose contents are compared besides all ids and revisions."""

    backup: str = ""
    databases: tuple[str, ...] = ()
    bodies: Literal["none", "sample", "all"] = "sample"


class Compare:
    """A backup and the servers, document by document. The probe answers; where they differ, the act
    changes nothing either: it puts the result of each database, and every difference, on record."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "safe"
    params: ClassVar[type[Params]] = CompareParams
    outputs: ClassVar[tuple[str, ...]] = ()

    async def probe(self, look: Look, params: Any) -> Probe:
        compared, path = await self._compared(look, params)
        problems = aftercheck.differing(compared)
        return Probe(
            satisfied=not problems,
            summary=f"{'Different' if problems else 'Equal'}: {proven(compared)}.",
            evidence="\n".join([*problems, *_told(path), differences.table(compared)]),
        )

    async def plan(self, look: Look, params: Any) -> Plan:
        words = {"none": "no contents", "sample": "some contents", "all": "all contents"}
        return Plan(
            summary="nothing to change: the databases are compared with the backup once more, on record",
            items=(f"ids and revisions of all documents, {words[params.bodies]}",),
        )

    async def act(self, context: Context, params: Any, plan: Plan) -> Outcome:
        compared, path = await self._compared(context, params)
        for one in compared:
            text = f"{one.database}: {one.words() or 'as in the backup'}"
            context.voice.note(text, kind="compare", **msgspec.to_builtins(one))
        for line in _told(path):
            context.voice.say(line)
        if problems := aftercheck.differing(compared):
            raise ActionFailed("\n".join(problems), next="Nothing was changed: this step only looks.")
        return Outcome(summary=f"Equal: {proven(compared)}.")

    async def _compared(self, look: Look, params: Any) -> tuple[list[Comparison], Path | None]:
        sample = aftercheck.SAMPLES[params.bodies]
        async with connect.cluster(look) as clients:
            return await aftercheck.against_backup(
                look, clients, sample, backup=params.backup, only=params.databases
            )


def _told(path: Path | None) -> list[str]:
    return [f"every difference by id: {path}"] if path else []
