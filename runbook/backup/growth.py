"""When is the disk of the backups full, if they grow as they did? From sizes and dates alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import combinations
from statistics import median

from runbook.backup.retention import KEEP, Held

#: days looked ahead
HORIZON = 3 * 365
_EVERY = {"daily": 1, "weekly": 7, "monthly": 30}


def per_day(held: Sequence[Held]) -> float | None:
    """Bytes by which one backup is larger than that of the day before: the median of all pairs, so that
    a single odd one does not count. None: fewer than two dates."""
    points: dict[datetime, int] = {one.made: one.bytes for one in held if one.made and one.whole}
    slopes = [
        (points[late] - points[early]) / ((late - early).total_seconds() / 86400)
        for early, late in combinations(sorted(points), 2)
    ]
    return median(slopes) if slopes else None


def days_left(tiers: Mapping[str, Sequence[Held]], free: int) -> int | None:
    """Days until a new backup has no room, each tier kept at its depth and every copy a full one; None:
    not within HORIZON, or there is nothing to tell it from. A new one is there before an old one goes."""
    everything = [one for held in tiers.values() for one in held if one.whole and one.made]
    if not everything:
        return None
    newest = max(everything, key=lambda one: one.made or datetime.min).bytes
    growth = max(0.0, per_day(everything) or 0.0)
    kept = {tier: [one.bytes for one in sorted(tiers.get(tier, ()), key=lambda one: one.id)] for tier in KEEP}
    room = float(free)
    for day in range(1, HORIZON + 1):
        size = newest + growth * day
        for tier, sizes in kept.items():
            if day % _EVERY[tier]:
                continue
            room -= size
            if room < 0:
                return day
            sizes.append(int(size))
            while len(sizes) > KEEP[tier]:
                room += sizes.pop(0)
    return None
