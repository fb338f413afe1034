"""How long a check is asked again: as long as waiting can change the answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runbook.calls import parse_call
from runbook.check import Check, Finding
from runbook.context import Look
from runbook.errors import HostKeyChanged, HostKeyUnknown, RunbookError, Unreachable
from runbook.judge import judge
from tests.unit.doubles import FakeHosts, ScriptedHost, make_look


class Moves:
    """A clock that goes on by itself: waiting ends."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        self.passed += 1.0
        return self.passed


async def looked(error: RunbookError) -> tuple[int, Any]:
    looks = 0

    async def ask(look: Look) -> Finding:
        nonlocal looks
        looks += 1
        raise error

    host = ScriptedHost("vm1")
    looker: Any = SimpleNamespace(
        limit=asyncio.timeout,
        catalog=SimpleNamespace(check=lambda name: Check(name, "a title", "step", ask)),
        hosts=FakeHosts(host),
        clock=Moves(),
        mode="drill",
        live=lambda event: None,
        look=lambda step, host, on: make_look(host),
    )
    step: Any = SimpleNamespace(id="deploy")
    call = parse_call("hosts.reachable(within='4s')")
    (done,) = [one async for one in judge(looker, step, 1, "after", [call], (host.machine,))]
    return looks, done


@pytest.mark.parametrize("error", [HostKeyChanged("vm1", "A", "B"), HostKeyUnknown("vm1", "B")])
async def test_a_host_key_is_for_a_person_and_not_waited_for(error: RunbookError) -> None:
    looks, done = await looked(error)
    assert (looks, done.verdict) == (1, "unknown")
    assert error.what in done.observed


async def test_a_machine_that_does_not_answer_yet_is_waited_for() -> None:
    looks, done = await looked(Unreachable("vm1", "vm1 does not answer."))
    assert looks > 1 and done.verdict == "unknown"
