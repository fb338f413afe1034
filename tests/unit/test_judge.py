"""How long a check is asked again: as long as waiting can change the answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from runbook.check import Check, Finding
from runbook.context import Look
from runbook.errors import HostKeyChanged, HostKeyUnknown, RunbookError, Unreachable, WaitsForPerson
from runbook.guide.calls import parse_call
from runbook.running.judge import judge
from tests.unit.doubles import FakeHosts, ScriptedHost, make_look


class Moves:
    """A clock that goes on by itself: waiting ends."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        self.passed += 1.0
        return self.passed


def looking(host: ScriptedHost, **checks: Any) -> Any:
    """Whoever asks; the checks are found by their name's last part."""
    return SimpleNamespace(
        limit=asyncio.timeout,
        catalog=SimpleNamespace(
            check=lambda name: Check(name, "a title", "step", checks[name.rpartition(".")[2]])
        ),
        hosts=FakeHosts(host),
        clock=Moves(),
        mode="drill",
        live=lambda event: None,
        look=lambda step, host, on: make_look(host),
    )


STEP: Any = SimpleNamespace(id="deploy")


async def looked(error: RunbookError) -> tuple[int, Any]:
    looks = 0

    async def ask(look: Look) -> Finding:
        nonlocal looks
        looks += 1
        raise error

    host = ScriptedHost("vm1")
    looker = looking(host, reachable=ask)
    call = parse_call("hosts.reachable(within='4s')")
    (done,) = [one async for one in judge(looker, STEP, 1, "after", [call], (host.machine,))]
    return looks, done


@pytest.mark.parametrize("error", [HostKeyChanged("vm1", "A", "B"), HostKeyUnknown("vm1", "B")])
async def test_a_host_key_is_for_a_person_and_not_waited_for(error: RunbookError) -> None:
    looks, done = await looked(error)
    assert (looks, done.verdict) == (1, "unknown")
    assert error.what in done.observed


async def test_a_machine_that_does_not_answer_yet_is_waited_for() -> None:
    looks, done = await looked(Unreachable("vm1", "vm1 does not answer."))
    assert looks > 1 and done.verdict == "unknown"


# ── side by side ───────────────────────────────────────────────────────────────────────────
async def test_checks_look_at_the_same_time_and_are_told_in_the_guides_order() -> None:
    """Each waits until the other has begun: one after the other they would never end."""
    begun = {"first": asyncio.Event(), "second": asyncio.Event()}

    def meets(own: str, other: str) -> Any:
        async def ask(look: Look) -> Finding:
            begun[own].set()
            await begun[other].wait()
            if own == "first":
                await asyncio.sleep(0)  # the second is through before it
            return Finding(verdict="pass", expected="", observed=own)

        return ask

    host = ScriptedHost("vm1")
    looker = looking(host, first=meets("first", "second"), second=meets("second", "first"))
    calls = [parse_call("a.first"), parse_call("a.second")]
    async with asyncio.timeout(20):
        found = [one async for one in judge(looker, STEP, 1, "after", calls, (host.machine,))]
    assert [(one.check, one.observed) for one in found] == [("a.first", "first"), ("a.second", "second")]


async def test_what_stands_after_a_check_that_waits_begins_after_it() -> None:
    looks: list[str] = []

    async def comes_up(look: Look) -> Finding:
        looks.append("waits")
        verdict: Any = "pass" if looks.count("waits") == 3 else "fail"
        return Finding(verdict=verdict, expected="", observed="")

    async def relies(look: Look) -> Finding:
        looks.append("relies")
        return Finding(verdict="pass", expected="", observed="")

    host = ScriptedHost("vm1")
    calls = [parse_call("a.waits(within='1h')"), parse_call("a.relies")]
    looker = looking(host, waits=comes_up, relies=relies)
    found = [one async for one in judge(looker, STEP, 1, "after", calls, (host.machine,))]
    assert looks == ["waits", "waits", "waits", "relies"]
    assert [one.verdict for one in found] == ["pass", "pass"]


async def test_a_check_that_needs_a_person_ends_the_others() -> None:
    ended = asyncio.Event()

    async def asks(look: Look) -> Finding:
        await asyncio.sleep(0)
        raise WaitsForPerson("Nobody is here.")

    async def goes_on(look: Look) -> Finding:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    host = ScriptedHost("vm1")
    looker = looking(host, asks=asks, goes_on=goes_on)
    with pytest.raises(WaitsForPerson):
        async for _ in judge(
            looker, STEP, 1, "after", [parse_call("a.asks"), parse_call("a.goes_on")], (host.machine,)
        ):
            pass
    assert ended.is_set()


async def test_why_one_could_not_look_is_told_once() -> None:
    async def refused(look: Look) -> Finding:
        raise HostKeyChanged("vm1", "SHA256:a", "SHA256:b")

    async def away(look: Look) -> Finding:
        raise Unreachable("vm1", "vm1 does not answer.")

    host = ScriptedHost("vm1")
    looker = looking(host, one=refused, two=refused, three=away)
    calls = [parse_call(f"hosts.{name}") for name in ("one", "two", "three")]
    found = [one.observed async for one in judge(looker, STEP, 1, "after", calls, (host.machine,))]
    assert found[0].startswith("could not look: Host key of vm1 CHANGED") and "do not go on" in found[0]
    assert found[1] == "could not look: the reason is the one given above"
    assert found[2] == "could not look: vm1 does not answer."
