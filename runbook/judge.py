"""Runs checks: where each looks, how long it may wait, and what becomes of one that could not look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

from runbook.check import Check, Finding
from runbook.errors import CouldNotLook, HostError, RunbookError
from runbook.events import CheckDone, Waiting
from runbook.guide import CheckCall, Step
from runbook.hosts.base import Machine

if TYPE_CHECKING:
    from runbook.engine import Engine

#: seconds one look of a check may take before it counts as "could not look"
ONE_LOOK = 120.0
#: pauses between looks of a check that waits: growing, at most this
LONGEST_PAUSE = 5.0
_TARGETS = {"production": "each production", "machines": "each machine", "backup": "backup"}


def _machines(engine: Engine, call: CheckCall, check: Check, on: tuple[Machine, ...]) -> list[Machine]:
    target = call.on or check.on
    if target == "step":
        return list(on)
    if target == "once":
        return engine.hosts.select("operator")
    return engine.hosts.select(_TARGETS.get(target, target))


async def judge(
    engine: Engine,
    step: Step,
    attempt: int,
    phase: Any,
    calls: Iterable[CheckCall],
    on: tuple[Machine, ...],
) -> AsyncIterator[CheckDone]:
    """Each check on each of its machines, machines side by side, checks one after the other."""
    for call in calls:
        check = engine.catalog.check(call.name)

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
                simulated=finding.simulated or engine.mode == "practice",
            )

        try:
            machines = _machines(engine, call, check, on)
        except CouldNotLook as error:
            yield done("-", Finding(verdict="unknown", expected=check.title, observed=str(error)), 0)
            continue
        began = engine.clock.monotonic()
        tasks = [asyncio.create_task(_patiently(engine, step, check, call, m, on)) for m in machines]
        try:
            for machine, task in zip(machines, tasks, strict=True):
                yield done(machine.name, await task, engine.clock.monotonic() - began)
        finally:
            for task in tasks:
                task.cancel()


async def _patiently(
    engine: Engine, step: Step, check: Check, call: CheckCall, machine: Machine, on: tuple[Machine, ...]
) -> Finding:
    """Look until it passes or the call's ``within`` is over; the last finding counts."""
    limit = engine.clock.monotonic() + (call.within or 0)
    pause = 0.2
    while True:
        finding = await _look(engine, step, check, call, machine, on)
        left = limit - engine.clock.monotonic()
        if finding.verdict in ("pass", "warn") or left <= 0:
            return finding
        engine.live(
            Waiting(step=step.id, host=machine.name, what=f"{check.title}: {finding.observed}", limit=left)
        )
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)


async def _look(
    engine: Engine, step: Step, check: Check, call: CheckCall, machine: Machine, on: tuple[Machine, ...]
) -> Finding:
    def unknown(text: str) -> Finding:
        return Finding(verdict="unknown", expected=check.title, observed=f"could not look: {text}")

    try:
        async with asyncio.timeout(ONE_LOOK):
            host = await engine.hosts.open(machine.name)
            return await check(engine.look(step, host, on), **call.args)
    except TimeoutError:
        return unknown(f"no answer within {ONE_LOOK:.0f} s")
    except (CouldNotLook, HostError) as error:
        return unknown(str(error))
    except RunbookError as error:
        return unknown(str(error))
    except Exception as error:  # a defect in a check must not take the run down, nor pass
        return unknown(f"the check itself failed: {type(error).__name__}: {error}")
