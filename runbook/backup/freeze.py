"""Holding a backup still while it is needed: the schedule stopped, one backup pinned, a lease.

At 01:00 the backup VM dumps whatever is there and prunes the oldest good daily. So the crontab's
lines are commented out with a mark that says who did it and lets them be put back exactly; the
chosen backup gets a second set of directory entries where nothing prunes; and a lease tells a
second person on another laptop that somebody is at it.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping

import msgspec

from runbook.clock import stamp
from runbook.context import Context, Look
from runbook.errors import ActionFailed, CouldNotLook
from runbook.hosts.base import Host
from runbook.platform.lastwords import last_words

MARK = "#runbook-frozen# "
LEASE = ".runbook-lease.json"


# ── the schedule ───────────────────────────────────────────────────────────────────────────
def frozen_lines(crontab: str) -> list[str]:
    """The lines that freeze() commented out, as they were."""
    return [line[len(MARK) :] for line in crontab.splitlines() if line.startswith(MARK)]


def active_lines(crontab: str, schedule: str) -> list[str]:
    """Lines that cron would run and that contain ``schedule``."""
    return [line for line in crontab.splitlines() if _active(line, schedule)]


def _active(line: str, schedule: str) -> bool:
    return schedule in line and not line.lstrip().startswith("#") and bool(line.strip())


def freeze(crontab: str, schedule: str) -> str:
    """The crontab with those lines commented out; everything else byte for byte."""
    lines = crontab.splitlines(keepends=True)
    return "".join(MARK + line if _active(line, schedule) else line for line in lines)


def thaw(crontab: str) -> str:
    """The exact opposite of freeze()."""
    return "".join(line.removeprefix(MARK) for line in crontab.splitlines(keepends=True))


async def read_crontab(host: Host) -> str:
    """This user's crontab; "" when there is none. Raises CouldNotLook, HostError."""
    done = await host.run(["crontab", "-l"], timeout=30)
    if done.ok:
        return done.stdout.decode(errors="surrogateescape")
    if b"no crontab" in done.stderr.lower():
        return ""
    raise CouldNotLook(f"The crontab on {host.name} cannot be read: {last_words(done)}")


async def write_crontab(context: Context, host: Host, text: str) -> None:
    """Install it and read it back: what counts is what cron has then. Raises ActionFailed."""
    done = await context.voice.run(
        ["crontab", "-"], host=host, stdin=text.encode(errors="surrogateescape"), timeout=30
    )
    if await read_crontab(host) != text:
        raise ActionFailed(
            f"The crontab on {host.name} could not be written as it should be: {last_words(done)}",
            next="Look at it with crontab -l there, then try again.",
        )


# ── the lease ──────────────────────────────────────────────────────────────────────────────
class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who recovers from these backups. ``backup``/``pinned``/``path``: what was chosen, where it is
    pinned on the backup VM, and its folder on that person's PC ("" until known)."""

    who: str
    pc: str
    since: str
    run: str
    backup: str = ""
    pinned: str = ""
    path: str = ""

    @property
    def words(self) -> str:
        return f"{self.who} on {self.pc} since {self.since} (run {self.run})"


def own_lease(look: Look) -> Lease:
    who = look.site.operator or getpass.getuser()
    return Lease(who=who, pc=socket.gethostname(), since=stamp(look.clock.now()), run=look.run_dir.name)


def lease_path(look: Look) -> str:
    return f"{look.site.backup.remote.rstrip('/')}/{LEASE}"


async def read_lease(look: Look, host: Host) -> Lease | None:
    """The lease that is there. A file that is none counts as somebody's."""
    raw = await host.read_bytes(lease_path(look))
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=Lease)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        return Lease(who="somebody", pc="unknown", since="unknown", run="unknown")


async def take_lease(context: Context, host: Host) -> bool:
    """Put our lease there unless one is: by a hard link, which only one of two can make.
    True: it is ours now. False: another's is there."""
    path = lease_path(context)
    mine = f"{path}.{context.run_dir.name}"
    await host.write_bytes(mine, msgspec.json.encode(own_lease(context)), mode=0o644)
    try:
        done = await context.voice.run(["ln", "--", mine, path], host=host)
    finally:
        await host.run(["rm", "-f", "--", mine])
    there = await read_lease(context, host)
    if there is None:
        raise ActionFailed(
            f"The lease {path} on {host.name} could not be written ({last_words(done)}). "
            "Nothing else was changed.",
            next="Look at that folder's owner and free space, then try again.",
        )
    return there.run == context.run_dir.name


async def rewrite_lease(context: Context, host: Host, lease: Lease) -> None:
    await host.write_bytes(lease_path(context), msgspec.json.encode(lease), mode=0o644)


# ── the pin ────────────────────────────────────────────────────────────────────────────────
async def pin(context: Context, host: Host, source: str, id: str) -> str:
    """Keep ``source`` as ``<remote>/pinned/<id>``: hard links, else a copy. Returns that path."""
    root = f"{context.site.backup.remote.rstrip('/')}/pinned"
    target, part = f"{root}/{id}", f"{root}/{id}.part"
    if source == target:
        return target
    run = context.voice.run
    await run(["mkdir", "-p", "--", root], host=host)
    there = await run(["diff", "-rq", "--", source, target], host=host, timeout=3600)
    if there.ok:
        return target  # pinned before; hard links are told from their inodes, without reading
    if there.exit_status == 1:
        kept = f"{target}.before-{context.clock.now():%Y%m%dT%H%M%SZ}"
        await run(["mv", "-T", "--", target, kept], host=host)
    await run(["rm", "-rf", "--", part], host=host)
    done = await run(["cp", "-al", "--", source, part], host=host, timeout=600)
    if not done.ok:
        # another file system, or one without links
        await run(["rm", "-rf", "--", part], host=host)
        done = await run(["cp", "-a", "--", source, part], host=host, timeout=3600)
    if done.ok:
        done = await run(["mv", "-T", "--", part, target], host=host)
    if not done.ok:
        await run(["rm", "-rf", "--", part], host=host)
        raise ActionFailed(
            f"{source} on {host.name} could not be pinned as {target}: {last_words(done)}",
            next="The schedule stays stopped, so nothing prunes it now. Make room there and try again.",
        )
    return target


def same_files(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Has ``other`` every file of ``one``, with its size? (It may hold more.) Quick, and says nothing
    about their content: sums.both() compares that."""
    return bool(one) and all(other.get(name) == size for name, size in one.items())
