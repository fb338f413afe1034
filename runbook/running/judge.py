"""Runs checks: where each looks, how long it may wait, and what becomes of one that could not look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, NamedTuple, Protocol

from runbook.check import Check, Finding
from runbook.clock import Clock
from runbook.context import Look
from runbook.errors import CouldNotLook, HostKeyChanged, HostKeyUnknown, RunbookError, WaitsForPerson
from runbook.events import CheckDone, Live, Mode, Waiting
from runbook.guide.model import CheckCall, Step
from runbook.hosts.base import Host, Hosts, Machine

#: seconds one look of a check may take before it counts as "could not look"
ONE_LOOK = 120.0
#: pauses between looks of a check that waits: growing, at most this
LONGEST_PAUSE = 5.0
_COULD_NOT = "could not look: "
AS_BEFORE = f"{_COULD_NOT}the reason is the one given above"


class Checks(Protocol):
    def check(self, name: str) -> Check: ...


class Looker(Protocol):
    """Whoever asks: a run's engine, or the command that runs checks by themselves."""

    @property
    def catalog(self) -> Checks: ...
    @property
    def hosts(self) -> Hosts: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def mode(self) -> Mode: ...
    @property
    def live(self) -> Callable[[Live], None]: ...

    def look(self, step: Step, host: Host, on: tuple[Machine, ...]) -> Look: ...

    def limit(self, seconds: float | None) -> AbstractAsyncContextManager[asyncio.Timeout]:
        """A time limit, for which waiting for people does not count."""
        ...


_TARGETS = {"production": "each production", "machines": "each machine", "backup": "backup"}


def _machines(looker: Looker, call: CheckCall, check: Check, on: tuple[Machine, ...]) -> list[Machine]:
    """Never none: a question that nobody was asked must not count as answered. Raises CouldNotLook."""
    target = call.on or check.on
    if target == "step":
        found = list(on)
    else:
        found = looker.hosts.select("operator" if target == "once" else _TARGETS.get(target, target))
    if not found:
        raise CouldNotLook(f"no machine is known for {target!r}")
    return found


async def judge(
    looker: Looker,
    step: Step,
    attempt: int,
    phase: Any,
    calls: Iterable[CheckCall],
    on: tuple[Machine, ...],
) -> AsyncIterator[CheckDone]:
    """Each check on each of its machines, side by side, told in the guide's order.

    A check that waits (``within``) ends what is side by side: those after it may rely on what it
    waited for, and begin when it is over. Why one could not look is told once, not by each after it.
    """
    told: set[str] = set()
    for together in _together(calls):
        asked = [one for call in together for one in _ask(looker, step, call, on)]
        tasks = [asyncio.create_task(_timed(looker, one.look)) for one in asked]
        try:
            for one, task in zip(asked, tasks, strict=True):
                finding, seconds = await task
                observed = finding.observed
                if observed in told:
                    observed = AS_BEFORE
                elif observed.startswith(_COULD_NOT):
                    told.add(observed)
                yield CheckDone(
                    step=step.id,
                    attempt=attempt,
                    phase=phase,
                    check=one.call.text,
                    host=one.host,
                    verdict=finding.verdict,
                    expected=finding.expected,
                    observed=observed,
                    evidence=finding.evidence,
                    required=one.call.required,
                    seconds=round(seconds, 3),
                    simulated=finding.simulated or looker.mode == "practice",
                )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _together(calls: Iterable[CheckCall]) -> Iterator[list[CheckCall]]:
    group: list[CheckCall] = []
    for call in calls:
        group.append(call)
        if call.within:
            yield group
            group = []
    if group:
        yield group


class _Asked(NamedTuple):
    call: CheckCall
    host: str
    look: Callable[[], Coroutine[Any, Any, Finding]]


def _ask(looker: Looker, step: Step, call: CheckCall, on: tuple[Machine, ...]) -> list[_Asked]:
    """One check, on each of its machines."""
    check = looker.catalog.check(call.name)
    try:
        machines = _machines(looker, call, check, on)
    except CouldNotLook as error:
        return [_Asked(call, "-", partial(_nobody, check, str(error)))]
    return [
        _Asked(call, machine.name, partial(_patiently, looker, step, check, call, machine, on))
        for machine in machines
    ]


async def _nobody(check: Check, why: str) -> Finding:
    return Finding(verdict="unknown", expected=check.title, observed=why)


async def _timed(looker: Looker, look: Callable[[], Coroutine[Any, Any, Finding]]) -> tuple[Finding, float]:
    began = looker.clock.monotonic()
    return await look(), looker.clock.monotonic() - began


async def _patiently(
    looker: Looker, step: Step, check: Check, call: CheckCall, machine: Machine, on: tuple[Machine, ...]
) -> Finding:
    """Look until it passes or the call's ``within`` is over; the last finding counts."""
    limit = looker.clock.monotonic() + (call.within or 0)
    pause = 0.2
    while True:
        try:
            finding = await _look(looker, step, check, call, machine, on)
        except (HostKeyChanged, HostKeyUnknown) as error:
            return _unknown(check, str(error))  # a person has to act first: waiting changes no key
        left = limit - looker.clock.monotonic()
        if finding.verdict in ("pass", "warn") or left <= 0:
            return finding
        looker.live(
            Waiting(step=step.id, host=machine.name, what=f"{check.title}: {finding.observed}", limit=left)
        )
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)


async def _look(
    looker: Looker, step: Step, check: Check, call: CheckCall, machine: Machine, on: tuple[Machine, ...]
) -> Finding:
    try:
        async with looker.limit(ONE_LOOK):
            host = await looker.hosts.open(machine.name)
            return await check(looker.look(step, host, on), **call.args)
    except TimeoutError:
        return _unknown(check, f"no answer within {ONE_LOOK:.0f} s")
    except (WaitsForPerson, HostKeyChanged, HostKeyUnknown):
        raise  # a first contact to be trusted, a secret to be typed
    except RunbookError as error:
        return _unknown(check, str(error))
    except Exception as error:  # a defect in a check must not take the run down, nor pass
        return _unknown(check, f"the check itself failed: {type(error).__name__}: {error}")


def _unknown(check: Check, text: str) -> Finding:
    return Finding(verdict="unknown", expected=check.title, observed=f"{_COULD_NOT}{text}")
