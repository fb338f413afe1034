"""backup.upload: a backup of this PC to the backup VM, where nothing of it was left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.backup import choice, layout, uploading
from runbook.context import Context, Look
from runbook.errors import ActionFailed, CouldNotLook
from runbook.units import size


class UploadParams(Params, frozen=True):
    """``path``: a backup's folder or .tar.gz on this PC; "": the chosen one, else the newest complete one."""

    path: str = ""


class Upload:
    """Runs on the backup VM. What is there under that name is never overwritten."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "safe"
    params: ClassVar[type[Params]] = UploadParams
    outputs: ClassVar[tuple[str, ...]] = ("backup_id", "backup_remote")

    async def probe(self, look: Look, params: UploadParams) -> Probe:
        local, target = await _both(look, params)
        difference = await uploading.compared(look.host, target, local)
        if difference is None:
            return Probe(satisfied=False, summary=f"{target} is not there")
        if difference:
            return Probe(satisfied=False, summary=f"{target} is there, but another one: {difference}")
        return Probe(
            satisfied=True,
            summary=f"{target} is there, equal to {local} by SHA-256",
            outputs=_outputs(local, target),
        )

    async def plan(self, look: Look, params: UploadParams) -> Plan:
        local, target = await _both(look, params)
        total = await asyncio.to_thread(_bytes, local)
        return Plan(
            summary=f"send backup {local.name} to {look.host.name}",
            items=(
                f"look for room: {size(total)} are needed",
                f"send {local} to {target}; what an earlier try sent is not sent again",
                "compare every file there by SHA-256, then give it its name",
            ),
            changes=f"adds {target}",
            data={"local": str(local), "target": target, "bytes": total},
        )

    async def act(self, context: Context, params: UploadParams, plan: Plan) -> Outcome:
        host, voice = context.host, context.voice
        local, target = Path(plan.data["local"]), str(plan.data["target"])
        difference = await uploading.compared(host, target, local)
        if difference:
            raise ActionFailed(
                f"{target} on {host.name} is not what {local} is: {difference}. Neither was touched.",
                next=f"Look which one is right; there: mv {target} {target}.before-upload",
            )
        if difference is None:
            await uploading.require_room(host, context.site.backup.remote, plan.data["bytes"])

            def tick(done: int, total: int) -> None:
                voice.progress(f"sending backup {local.name}", done, total, "bytes")

            if local.is_dir():
                await host.put_tree(local, target, tick=tick, trouble=voice.say)
            else:
                await host.put_file(local, target, tick=tick)
            # what counts is what is there then
            if await uploading.compared(host, target, local) != "":
                raise ActionFailed(
                    f"{target} on {host.name} is not equal to {local} after the transfer.",
                    next="Is another program writing there? Run the step again.",
                )
        voice.note(
            f"Backup {local.name} is on {host.name}, equal by SHA-256.",
            kind="backup_uploaded",
            path=str(local),
            remote=target,
            bytes=plan.data["bytes"],
        )
        return Outcome(
            summary=f"{target} on {host.name} is equal to {local} by SHA-256 ({size(plan.data['bytes'])}).",
            outputs=_outputs(local, target),
        )


async def _both(look: Look, params: UploadParams) -> tuple[Path, str]:
    local = Path(params.path).expanduser() if params.path else await choice.chosen_folder(look)
    if not await asyncio.to_thread(local.exists):
        raise CouldNotLook(f"There is no backup {local} on this PC.", next="runbook backup list shows them.")
    local = local.resolve()
    return local, uploading.place(look.site.backup.remote, local.name)


def _outputs(local: Path, target: str) -> dict[str, str]:
    return {"backup_id": local.name.removesuffix(layout.ARCHIVE), "backup_remote": target}


def _bytes(local: Path) -> int:
    return local.stat().st_size if local.is_file() else sum(layout.sizes(local).values())
