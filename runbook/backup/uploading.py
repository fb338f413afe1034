"""A backup of this PC brought to a (new) backup VM: for total loss, when nothing else is left."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from runbook.backup.fetching import comparing
from runbook.backup.layout import ARCHIVE
from runbook.errors import ActionFailed
from runbook.hosts.base import Host
from runbook.platform import diskspace
from runbook.units import size

_TIERS = ((r"\d{8}", "daily"), (r"\d{4}-week\d{1,2}", "weekly"), (r"\d{4}-\d{2}", "monthly"))
#: bytes that stay free there
_SPARE = 64_000_000


def place(root: str, name: str) -> str:
    """Where on the backup VM a backup of that name belongs; what is named in no tier's way is pinned."""
    id = name.removesuffix(ARCHIVE)
    tier = next((tier for form, tier in _TIERS if re.fullmatch(form, id, re.ASCII)), "pinned")
    return f"{root.rstrip('/')}/{tier}/{name}"


async def compared(host: Host, target: str, local: Path) -> str | None:
    """None: nothing is there; "": the same by SHA-256; else what differs. Raises HostError, CouldNotLook."""
    if not (await host.run(["test", "-e", target], timeout=30)).ok:
        return None
    return await comparing.by_content(host, target, local)


async def require_room(host: Host, root: str, needed: int) -> int:
    """Makes ``root`` if it can; the free bytes there. Raises ActionFailed, CouldNotLook, HostError."""
    made = await host.run(["mkdir", "-p", "--", root], timeout=30)
    writable = await host.run(["test", "-w", root], timeout=30)
    if not made.ok or not writable.ok:
        user = (await host.run(["id", "-un"], timeout=30)).stdout.decode(errors="replace").strip() or "USER"
        folder = shlex.quote(root)
        raise ActionFailed(
            f"{user} cannot write to {root} on {host.name}. Nothing was sent.",
            next=f"There, as root: mkdir -p {folder} && chown {shlex.quote(user)} {folder}",
        )
    there, mount = await diskspace.free(host, root)
    if needed + _SPARE > there:
        raise ActionFailed(
            f"There is no room in {mount} on {host.name}: {size(needed)} are needed, {size(max(there, 0))} "
            "are free. Nothing was sent.",
            next="Make room there, or take a larger volume; then run the step again.",
        )
    return there
