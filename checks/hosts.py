"""Do the machines answer, and are they fit for work: room, clock, first start, sudo?

Asked on this PC (a step that runs on the operator's machine), ``reachable``, ``clock_offset`` and
``cloud_init_done`` are about every machine of the site: about this PC itself they would say nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from runbook.check import Finding, check
from runbook.context import Look
from runbook.errors import (
    CouldNotLook,
    HostError,
    HostKeyChanged,
    HostKeyUnknown,
    LoginRefused,
    Unreachable,
)
from runbook.events import Verdict
from runbook.hosts.base import Completed, Host
from runbook.platform import diskspace
from runbook.platform.lastwords import ended
from runbook.units import Duration, Size, parse_duration, parse_size, size


class _Said(NamedTuple):
    verdict: Verdict
    text: str


@check("Machines answer over SSH", on="step")
async def reachable(look: Look) -> Finding:
    """SSH answers, lets us in and runs a command. No answer is a fail here: it is the question."""

    async def ask(host: Host) -> _Said:
        done = await host.run(["id", "-un"], timeout=20)
        name = done.stdout.decode(errors="replace").strip()
        return _Said("pass", f"answers as {name}") if done.ok else _Said("fail", ended("id -un", done))

    return await _each(look, "SSH answers and runs a command", ask, silent="fail")


@check("Enough free disk space", on="step")
async def disk_free(look: Look, min: Size = "1GB", path: str = ".") -> Finding:
    """``df -Pk`` of the file system that ``path`` is on (relative to home)."""
    wanted = parse_size(min)
    where = path.removeprefix("~/") if path != "~" else "."
    free, mount = await diskspace.free(look.host, where)
    return Finding(
        verdict="pass" if free >= wanted else "fail",
        expected=f"{size(wanted)} free at {path}",
        observed=f"{size(free)} free",
        evidence=f"df -Pk, mounted on {mount}",
    )


@check("The clock is right", on="step")
async def clock_offset(look: Look, max: Duration = "5s") -> Finding:
    """Against this PC's clock; half the time the question took is the uncertainty."""
    limit = parse_duration(max)

    async def ask(host: Host) -> _Said:
        before, began = look.clock.now().timestamp(), look.clock.monotonic()
        done = await host.run(["date", "-u", "+%s.%N"], timeout=20)
        trip = look.clock.monotonic() - began
        theirs, grain = parse_date(done)
        offset, doubt = theirs - (before + trip / 2), trip / 2 + grain
        text = f"{offset:+.2f} s (±{doubt:.2f} s)"
        if abs(offset) + doubt <= limit:
            return _Said("pass", text)
        if abs(offset) - doubt > limit:
            return _Said("fail", text)
        return _Said("unknown", f"{text}: the line is too slow to tell")

    return await _each(look, f"within {limit:g} s of this PC's clock", ask)


def parse_date(done: Completed) -> tuple[float, float]:
    """(seconds since 1970, half of what the reading leaves open). Not every date knows %N."""
    found = re.match(r"(\d{9,})(?:\.(\d+))?", done.stdout.decode(errors="replace").strip())
    if not done.ok or not found:
        raise CouldNotLook(ended("date", done))
    if found[2]:
        return float(f"{found[1]}.{found[2]}"), 0.0
    return int(found[1]) + 0.5, 0.5


@check("The first start is finished", on="step")
async def cloud_init_done(look: Look) -> Finding:
    async def ask(host: Host) -> _Said:
        return parse_cloud_init(await host.run(["cloud-init", "status", "--long"], timeout=30))

    return await _each(look, "cloud-init is done", ask)


def parse_cloud_init(done: Completed) -> _Said:
    """Newer versions exit 2 for "done, with errors it got over"."""
    if done.exit_status == 127:
        return _Said("warn", "no cloud-init here")
    text = (done.stdout + done.stderr).decode(errors="replace")
    status = re.search(r"^status:\s*(.+?)\s*$", text, re.MULTILINE)
    if not status:
        raise CouldNotLook(ended("cloud-init status", done))
    detail = re.search(r"^detail:\s*((?:.|\n(?=\s))+)", text, re.MULTILINE)
    said = status[1] + (f": {' '.join(detail[1].split())}" if detail and status[1] != "done" else "")
    if status[1].startswith(("running", "not run", "not started")):
        return _Said("fail", f"{said}, not finished yet")
    if status[1].startswith("error"):
        return _Said("fail", said)
    if status[1] == "done" and done.ok:
        return _Said("pass", said)
    return _Said("warn", said if status[1] != "done" else "done, with errors it got over")


@check("sudo works without a password", on="step")
async def sudo(look: Look) -> Finding:
    done = await look.host.run(["sudo", "-n", "true"], timeout=20)
    return Finding(
        verdict="pass" if done.ok else "fail",
        expected="sudo -n works",
        observed="works" if done.ok else ended("sudo -n true", done),
    )


async def _each(
    look: Look, expected: str, ask: Callable[[Host], Awaitable[_Said]], *, silent: Verdict = "unknown"
) -> Finding:
    """Ask this host; asked on the operator's PC, every machine of the site. ``silent``: the verdict
    on a machine that does not answer."""
    if look.host.machine.role != "operator":
        said = await _one(look, look.host.name, ask, silent)
        return Finding(verdict=said.verdict, expected=expected, observed=said.text)
    names = [machine.name for machine in look.hosts.machines()]
    if not names:
        raise CouldNotLook("No machine is known yet.", next="Their addresses come with the deployment.")
    answers = await asyncio.gather(*(_one(look, name, ask, silent) for name in names))
    order: tuple[Verdict, ...] = ("fail", "unknown", "warn", "pass")
    return Finding(
        verdict=min((said.verdict for said in answers), key=order.index),
        expected=f"{expected}, on {', '.join(names)}",
        observed="; ".join(f"{name} {said.text}" for name, said in zip(names, answers, strict=True)),
    )


async def _one(look: Look, name: str, ask: Callable[[Host], Awaitable[_Said]], silent: Verdict) -> _Said:
    try:
        host = look.host if name == look.host.name else await look.hosts.open(name)
        return await ask(host)
    except (HostKeyChanged, HostKeyUnknown):
        raise  # for a person: no later look can differ
    except (Unreachable, LoginRefused) as error:
        return _Said(silent, str(error))
    except (HostError, CouldNotLook) as error:
        return _Said("unknown", str(error))
