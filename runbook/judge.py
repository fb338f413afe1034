"""Runs checks: where each looks, how long it may wait, and what becomes of one that could not look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from runbook.check import Check, Finding
from runbook.clock import Clock
from runbook.context import Look
from runbook.errors import CouldNotLook, HostKeyChanged, HostKeyUnknown, RunbookError, WaitsForPerson
from runbook.events import CheckDone, Live, Mode, Waiting
from runbook.guide import CheckCall, Step
from runbook.hosts.base import Host, Hosts, Machine

#: seconds one look of a check may take before it counts as "could not look"
ONE_LOOK = 120.0
#: pauses between looks of a check that waits: growing, at most this
LONGEST_PAUSE = 5.0


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
    """Each check on each of its machines, machines side by side, checks one after the other."""
    for call in calls:
        check = looker.catalog.check(call.name)

        def done(host: str, finding: Finding, seconds: float, call: CheckCall = call) -> CheckDone:
            return CheckDone(
                step=step.id,
                attempt=attempt,
                phase=phase,
                check=call.text,
                host=host,
                verdict=finding.verdict,
                expected=finding.expected,
                observed=finding.observed,
                evidence=finding.evidence,
                required=call.required,
                seconds=round(seconds, 3),
                simulated=finding.simulated or looker.mode == "practice",
            )

        try:
            machines = _machines(looker, call, check, on)
        except CouldNotLook as error:
            yield done("-", Finding(verdict="unknown", expected=check.title, observed=str(error)), 0)
            continue
        began = looker.clock.monotonic()
        tasks = [asyncio.create_task(_patiently(looker, step, check, call, m, on)) for m in machines]
        try:
            for machine, task in zip(machines, tasks, strict=True):
                yield done(machine.name, await task, looker.clock.monotonic() - began)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


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
    return Finding(verdict="unknown", expected=check.title, observed=f"could not look: {text}")
