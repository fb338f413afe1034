"""The backup VM held against its schedule: every tier, the cron entries, the room that is left."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import msgspec

from runbook.backup import freeze, growth, layout
from runbook.backup.layout import Backup
from runbook.backup.retention import KEEP, Held, Tier, judge
from runbook.context import Look
from runbook.errors import CouldNotLook
from runbook.events import Verdict
from runbook.hosts.base import Host
from runbook.platform import diskspace

#: days until the disk is full that are too few, and that are to be known
FEW, SOON = 7, 45
_SYSTEM = ("/etc/crontab", "/etc/cron.d")


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Lines with the schedule's word: those that cron runs, those that this program stopped."""

    active: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()
    problem: str = ""  #: why it could not be looked at

    @property
    def verdict(self) -> Verdict:
        if self.problem:
            return "unknown"
        if self.stopped or not self.active:
            return "fail"
        return "pass" if any(map(_daily_at_one, self.active)) else "warn"

    @property
    def words(self) -> str:
        if self.problem:
            return self.problem
        if self.stopped:
            return f"{len(self.stopped)} cron entries are stopped by a recovery (backup.unfreeze starts them)"
        if not self.active:
            return "no cron entry makes backups: is it another user's, or a systemd timer?"
        timed = "" if self.verdict == "pass" else ", none of which is every day at 01:00"
        return f"{len(self.active)} cron entries{timed}"


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """``free`` in bytes; ``growth`` of one backup in bytes a day; ``days`` until one has no room, None:
    not within three years."""

    free: int | None = None
    growth: float | None = None
    days: int | None = None
    problem: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.problem:
            return "unknown"
        if self.days is None:
            return "pass"
        return "fail" if self.days <= FEW else "warn" if self.days <= SOON else "pass"


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    zone: str  #: of the backup VM: +0100, or why it is not known
    tiers: tuple[Tier, ...]
    schedule: Schedule
    room: Room
    complaints: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of all; what could not be looked at is told unless something is known to be wrong."""
        found = {one.verdict for one in self.tiers} | {self.schedule.verdict, self.room.verdict}
        if self.complaints:
            found.add("warn")
        order: tuple[Verdict, ...] = ("fail", "unknown", "warn")
        return next((one for one in order if one in found), "pass")


async def look(look: Look, host: Host) -> Retention:
    """Read-only. Raises CouldNotLook, HostError when the backups cannot be listed."""
    site, now = look.site.backup, look.clock.now()
    # of weeks and months ago no databases are expected: one may have been added since
    found = await layout.look_remote(host, site.remote)
    zone, words = await time_zone(host)
    held = {
        tier: [_held(one, site.databases, zone) for one in found.backups if one.tier == tier] for tier in KEEP
    }
    return Retention(
        at=now,
        zone=words,
        tiers=tuple(judge(tier, held[tier], now, zone) for tier in KEEP),
        schedule=await schedule(host, site.schedule),
        room=await _room(host, site.remote, held),
        complaints=found.complaints,
    )


def _held(one: Backup, databases: tuple[str, ...], zone: timezone) -> Held:
    made = one.manifest.made() if one.manifest else None
    if made and one.manifest and datetime.fromisoformat(one.manifest.backup_date).tzinfo is None:
        made = made.replace(tzinfo=zone)  # a date without zone is by the clock that made it
    lacking = one.tier == "daily" and any(set(databases) - set(names) for names in one.nodes.values())
    # a single archive is as good as a folder here: what is in it is verification's question
    whole = one.bytes > 0 if one.archive else one.complete and not lacking
    return Held(id=one.id, made=made, whole=whole, bytes=one.bytes)


async def time_zone(host: Host) -> tuple[timezone, str]:
    """(zone, in words) as its clock has it now; UTC where it does not tell. Raises HostError."""
    done = await host.run(["date", "+%z"], timeout=20)
    match = re.fullmatch(r"([+-])(\d{2})(\d{2})", done.stdout.decode(errors="replace").strip(), re.ASCII)
    if not done.ok or not match or int(match[2]) > 23 or int(match[3]) > 59:
        return UTC, "not told by the backup VM, UTC taken"
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(offset if match[1] == "+" else -offset), match[0]


async def schedule(host: Host, word: str) -> Schedule:
    """Cron's entries for backups, this user's and the system's. Raises HostError."""
    try:
        crontab = await freeze.read_crontab(host)
    except CouldNotLook as error:
        return Schedule(problem=str(error))
    done = await host.run(["grep", "-rshF", "--", word, *_SYSTEM], timeout=30)
    system = done.stdout.decode(errors="replace").splitlines()
    return Schedule(
        active=(*freeze.active_lines(crontab, word), *freeze.active_lines("\n".join(system), word)),
        stopped=tuple(freeze.frozen_lines(crontab)),
    )


def _daily_at_one(line: str) -> bool:
    return re.match(r"\s*0?0\s+0?1\s+\*\s+\*\s+\*\s", line) is not None


async def _room(host: Host, path: str, held: dict[str, list[Held]]) -> Room:
    everything = [one for tier in held.values() for one in tier]
    try:
        free, _ = await diskspace.free(host, path)
    except CouldNotLook as error:
        return Room(growth=growth.per_day(everything), problem=str(error))
    return Room(free=free, growth=growth.per_day(everything), days=growth.days_left(held, free))
