"""How long a restore takes, as a range: by rates that are told, or that were measured in this run."""

from __future__ import annotations

import msgspec

from runbook import units


class Rate(msgspec.Struct, frozen=True):
    """What servers took, documents and bytes a second."""

    documents: float
    bytes: float


#: 100,000 documents of 1 KB into three nodes on two cores took 21 to 36 s. What large documents take
#: was not recorded: the bytes are a guess, and wide
SLOW, QUICK = Rate(2800.0, 5e6), Rate(4800.0, 20e6)
_RECORDED = "recorded from a cluster of three on two cores"
#: what was measured does not stay exactly so
_SPREAD = 1.25


def seconds(documents: int, size: int, measured: Rate | None = None) -> tuple[float, float]:
    """At best, at worst."""
    if measured is None:
        return max(_parts(documents, size, QUICK)), max(_parts(documents, size, SLOW))
    # documents of another size than those measured: the truth is between the two
    parts = _parts(documents, size, measured)
    return min(parts) / _SPREAD, max(parts) * _SPREAD


def _parts(documents: int, size: int, rate: Rate) -> tuple[float, float]:
    return documents / max(rate.documents, 1.0), size / max(rate.bytes, 1.0)


def words(documents: int, size: int, measured: Rate | None = None) -> str:
    """A line of a plan."""
    least, most = seconds(documents, size, measured)
    rate = measured or SLOW
    span = f"{units.duration(least)} to {units.duration(max(most, least + 1))}"
    upper = "" if measured else f" to {QUICK.documents:,.0f}"
    source = "measured in this run" if measured else _RECORDED
    return f"about {span}, at {rate.documents:,.0f}{upper} documents a second ({source})"
