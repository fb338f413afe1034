"""How slow the stand-in's cluster is; all in seconds, except the rate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Measured on a real cluster of three (100,000 documents of 1 KB on two cores): a blank node of a
    known name is connected after up to 46 s and knows the databases within the next poll, the
    backlog is told some 10 to 20 s after copying began, and 1,000 to 1,200 documents a second arrive.
    """

    reconnect: float = 1.0  #: until the others notice that a node is back
    discover: float = 0.5  #: then until it has the members and the shard maps
    backlog: float = 1.0  #: then until ``internal_replication_jobs`` tells what is waiting
    late_write: float = 0.05  #: until a write reaches the copy beyond the write quorum
    rate: float = 5000.0  #: documents a second from one node to another

    @classmethod
    def of(cls, replication_delay: float) -> Timing:
        """All delays in the proportions above; 0 means at once."""
        delay = max(replication_delay, 0.0)
        return cls(delay, delay / 2, delay, delay / 20, 5000.0 if delay else float("inf"))
