"""A backup of CouchDB, taken now: into a folder on this PC, in the platform's layout."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from runbook import units
from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.backup import layout
from runbook.context import Context, Look
from runbook.couch.dumping import dumpfolder, dumpplan
from runbook.couch.dumping.dump import dump
from runbook.couch.dumping.dumpnodes import reached
from runbook.couch.dumping.dumpplan import DumpPlan
from runbook.couch.progress import Progress
from runbook.couch.reading import beside
from runbook.errors import ActionFailed

#: seconds between two lines about how far it is
_SAY = 15.0


class DumpParams(Params, frozen=True, kw_only=True):
    """``folder``: of the backup; empty: one named after the time, in ``backup.local`` of the settings.
    ``databases``: only these; empty: all. ``each_node``: every node by itself, as the platform's
    script does, for nodes that are no cluster."""

    folder: str = ""
    databases: tuple[str, ...] = ()
    each_node: bool = False


class Dump:
    """Every database read to its end into a backup on this PC, compared with the servers."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "safe"
    params: ClassVar[type[Params]] = DumpParams
    outputs: ClassVar[tuple[str, ...]] = ("dump_path", "dumped")

    async def probe(self, look: Look, params: Any) -> Probe:
        known = params.folder or look.saved.get(look.step, {}).get("dump_path", "")
        folder = Path(str(known)).expanduser()
        counts = await asyncio.to_thread(_counts, folder) if known else {}
        if not counts:
            return Probe(satisfied=False, summary="No backup was taken yet.")
        return Probe(
            satisfied=True,
            summary=f"{folder} holds a backup of {len(counts)} databases, {sum(counts.values())} documents.",
            outputs={"dump_path": str(folder), "dumped": counts},
        )

    async def plan(self, look: Look, params: Any) -> Plan:
        async with reached(look) as (clients, silent):
            found = await dumpplan.planned(
                clients, params.databases, each_node=params.each_node, silent=silent
            )
        folder, resumed = _folder(look, params, found)
        room = await asyncio.to_thread(dumpplan.room, folder, found.bytes)
        begun = ("goes on with what was read before",) if resumed else ()
        return Plan(
            summary=f"dump {len(found.targets)} databases, {found.documents} documents, into {folder}",
            items=(*found.lines(), *begun, f"{room}; databases that are written to meanwhile take more"),
            data={"folder": str(folder), "plan": msgspec.to_builtins(found)},
        )

    async def act(self, context: Context, params: Any, plan: Plan) -> Outcome:
        found = msgspec.convert(plan.data["plan"], DumpPlan)
        voice, said = context.voice, [time.monotonic()]

        def tell(progress: Progress) -> None:
            voice.progress("documents dumped", progress.documents, progress.expected, "documents")
            voice.progress("bytes dumped", progress.bytes, progress.expected_bytes, "bytes")
            if time.monotonic() - said[0] > _SAY:
                said[0] = time.monotonic()
                voice.say(progress.words())

        folder = Path(plan.data["folder"])
        async with reached(context) as (clients, _):
            if missing := [name for name in found.sources if name not in clients]:
                raise ActionFailed(f"{', '.join(missing)} cannot be reached any more. Nothing was dumped.")
            done = await dump(folder, found, clients, progress=tell, say=voice.say)
        for remark in (*found.remarks, *done.remarks(), dumpplan.ABSENT):
            voice.note(remark, kind="dump_remark")
        counts = await asyncio.to_thread(_counts, Path(done.path))
        size = await asyncio.to_thread(layout.sizes, Path(done.path))
        voice.note(
            f"{done.path}: {len(done.metas)} databases, {done.documents} documents, "
            f"{units.size(sum(size.values()))}.",
            kind="dump",
            path=done.path,
            databases={name: msgspec.to_builtins(meta) for name, meta in done.metas.items()},
        )
        return Outcome(
            summary=f"{done.documents} documents of {len(done.metas)} databases dumped into {done.path}, ids "
            "and revisions compared with the servers.",
            outputs={"dump_path": done.path, "dumped": counts},
        )


def _folder(look: Look, params: DumpParams, found: DumpPlan) -> tuple[Path, bool]:
    """Where to, and whether something was begun there."""
    root = Path(look.site.backup.local).expanduser()
    folder = Path(params.folder).expanduser() if params.folder else dumpfolder.unfinished(root, found.state)
    folder = folder or root / f"{look.clock.now():%Y%m%dT%H%M%SZ}"
    if folder.exists():
        raise ActionFailed(f"{folder} is already there. Nothing was changed.", next="Name another folder.")
    return folder, folder.with_name(f"{folder.name}.part").exists()


def _counts(folder: Path) -> dict[str, int]:
    """Documents of each database of a whole backup; empty when it is none of ours."""
    if not folder.is_dir() or not (found := layout.describe_local(folder)).complete:
        return {}
    several, counts = len(found.nodes) > 1, {}
    for node, names in found.nodes.items():
        for name in names:
            meta = beside.load(Path(found.path) / f"{layout.NODE}{node}" / f"{name}.json")
            if meta is not None:
                counts[f"{node}/{meta.database}" if several else meta.database] = meta.documents
    return counts
