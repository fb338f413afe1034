"""Looks at a host's containers, one after the other, on a clock that only pauses and answers move."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runbook.hosts.base import Completed
from runbook.platform import steady, watching
from tests.unit.doubles import ScriptedHost
from tests.unit.test_compose_up import INSPECT, inspect, inspected


class Time:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: float) -> None:
        self.at, self.answer = 0.0, answer
        self.pauses: list[float] = []
        monkeypatch.setattr(watching, "now", lambda: self.at)
        monkeypatch.setattr(watching.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.at += seconds

    def host(self, *looks: bytes) -> ScriptedHost:
        """Each answer about its containers takes ``answer`` seconds."""
        queue = list(looks)

        def tell(argv: list[str], stdin: bytes) -> Any:
            self.at += self.answer
            return Completed(0, queue.pop(0) if len(queue) > 1 else queue[0], b"")

        return ScriptedHost("vm1").on(INSPECT, tell)


async def until_steady(host: ScriptedHost, window: float, every: float) -> int:
    """How many looks it took."""
    watch, count = watching.watch(host, ["couchdb"], window), 0
    async with asyncio.timeout(20):
        async for standings in watching.looks(host, "docker", watch, every):
            count += 1
            if steady.overall(standings) == "steady":
                return count
    raise AssertionError


@pytest.mark.parametrize("answer", [0.0, 0.4, 3.0])
async def test_the_last_look_comes_when_the_window_ends(
    answer: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when an answer takes so long that the window ended meanwhile: no whole pause is added."""
    time = Time(monkeypatch, answer)
    host = time.host(inspect(inspected()))
    assert await until_steady(host, window=9, every=4.5) <= steady.LOOKS + 1
    assert time.at < 9 + 2 * answer + 0.1
    time.pauses.clear()
    assert await until_steady(host, window=9, every=4.5) == 1
    assert time.pauses == []


async def test_what_is_young_is_waited_for_only_as_long_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch, 0.0)
    host = time.host(inspect(inspected()))
    await until_steady(host, window=3, every=1)
    began = time.at
    await until_steady(host, window=8, every=4)
    assert began + 4.9 < time.at < began + 5.1


async def test_another_host_knows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch, 0.0)
    look = inspect(inspected())
    await until_steady(time.host(look), window=3, every=1)
    began = time.at
    await until_steady(time.host(look), window=3, every=1)
    assert time.at >= began + 3
