"""Is a service steady? Judged from its container over time, never from one look.

With a broken configuration ``up -d`` exits 0 and a single look says "running", while the service dies
and is restarted several times a second. So a container counts as steady when state, start time and
restart count stay the same over at least three looks and a window of time, and it is not unhealthy.
Two looks that see the same start time prove the time between them too, so it is one window whoever
looked, and whatever else was done meanwhile. Pure: the caller looks and tells the time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from runbook.platform.docker import Container
from runbook.units import duration

LOOKS = 3
#: restarts after which a service is called a crash loop: with Docker's doubling pauses (0.1 s, 0.2 s,
#: 0.4 s …) about half a minute, enough for a service that waits for its database by dying
CRASHES = 8

State = Literal["steady", "waiting", "failing"]


@dataclass(frozen=True)
class Standing:
    """How one service stands: ``text`` is for a person; ``restarts`` since the watch began."""

    service: str
    state: State
    text: str
    container: Container | None = None
    restarts: int = 0


@dataclass
class Seen:
    """A container that was the same (status, start time, restart count) in ``looks`` looks since ``at``."""

    key: tuple[str, str, int]
    at: float
    looks: int


#: by container id
Sightings = dict[str, Seen]


class Watch:
    """``wanted`` services, each steady for ``window`` seconds; those in ``once`` may also end with 0.
    ``before``: the containers before anything was started, so that only new restarts count.
    ``seen``: what earlier watches of this host saw; this one goes on from there, and adds to it."""

    def __init__(
        self,
        wanted: Sequence[str],
        window: float,
        *,
        once: Collection[str] = (),
        before: Iterable[Container] | None = None,
        seen: Sightings | None = None,
    ) -> None:
        self.wanted, self.window, self.once = wanted, window, once
        self._seen: Sightings = {} if seen is None else seen
        #: restart count of each container at the beginning: told, else as it was seen last
        self._base = {id: one.key[2] for id, one in self._seen.items()}
        if before is not None:
            self._base = {one.id: one.restarts for one in before}
        #: what was not seen before is counted from the first look on, unless all was told
        self._first = before is None
        #: as they were at the last look
        self.containers: Sequence[Container] = ()

    def see(self, at: float, containers: Sequence[Container]) -> list[Standing]:
        """Take in one look at the time ``at`` (monotonic seconds); the standing of each service."""
        if self._first:
            self._base = {one.id: one.restarts for one in containers} | self._base
            self._first = False
        self.containers = containers
        for one in containers:
            key = (one.status, one.started, one.restarts)
            seen = self._seen.get(one.id)
            if seen and seen.key == key:
                seen.looks += 1
            else:
                self._seen[one.id] = Seen(key, at, 1)
        return [self._service(name, at, containers) for name in self.wanted]

    def left(self, at: float) -> float:
        """Seconds until the youngest of what is wanted has been the same for the window; at least 0."""
        here = [self._seen[one.id] for one in self.containers if one.service in self.wanted]
        return max([0.0, *(self.window - (at - seen.at) for seen in here)])

    def _service(self, name: str, at: float, containers: Sequence[Container]) -> Standing:
        order = ("failing", "waiting", "steady")
        found = [self._judge(one, at) for one in containers if one.service == name]
        return min(
            found,
            key=lambda one: order.index(one.state),
            default=Standing(name, "waiting", "no container"),
        )

    def _judge(self, one: Container, at: float) -> Standing:
        seen = self._seen[one.id]
        # Docker counts anew when a container is started by hand
        restarts = max(0, one.restarts - self._base.get(one.id, 0))
        passed = at - seen.at

        def standing(state: State, text: str) -> Standing:
            return Standing(one.service, state, text, one, restarts)

        ending = f"exit status {one.exit_code}{' (out of memory)' if one.oom else ''}"
        died = f"restarted {_times(restarts)}, last {ending}"
        if restarts >= CRASHES:
            return standing("failing", f"crash loop: {died}")
        if one.status in ("exited", "dead"):
            if one.service in self.once and one.exit_code == 0:
                return standing("steady", "ended well")
            # the second look tells an end from the moment between two starts
            return standing("failing" if seen.looks > 1 else "waiting", f"ended with {ending}")
        if one.status == "created" and one.error:
            return standing("failing" if seen.looks > 1 else "waiting", f"cannot start: {one.error}")
        if one.status == "restarting":
            return standing("waiting", died)
        if one.status != "running":
            return standing("waiting", one.status)
        if one.health == "unhealthy":
            return standing("waiting", f"running but unhealthy: {one.health_says or 'no reason given'}")
        if one.health == "starting":
            return standing("waiting", "running, health check not passed yet")
        healthy = " and healthy" if one.health else ""
        remark = f", restarted {_times(restarts)}" if restarts else ""
        if passed >= self.window and seen.looks >= LOOKS:
            return standing("steady", f"running{healthy}, unchanged for {duration(passed)}{remark}")
        return standing("waiting", f"running{healthy} for {duration(passed)}{remark}")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def overall(standings: Sequence[Standing]) -> State:
    """The worst of them; nothing at all is not steady."""
    states = {one.state for one in standings}
    if "failing" in states:
        return "failing"
    return "steady" if states == {"steady"} else "waiting"


def describe(standings: Sequence[Standing]) -> str:
    """``couchdb running, unchanged for 6s; lms no container``"""
    return "; ".join(f"{one.service} {one.text}" for one in standings)
