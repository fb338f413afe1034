"""Earlier steps are looked at again: side by side, in order on record, and everybody sees which."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runbook.action import Probe
from runbook.errors import CouldNotLook, WaitsForPerson
from runbook.events import Asked, LookingAgain, Probed, Waiting
from tests.unit.engines import Front, Run, Set, World, of

STEP = """
## Step {id}

```toml step
id     = "{id}"
action = "made.{id}"
on     = "{on}"
```
"""
HEAD = '+++\ntitle = "Made up"\nmodes = ["drill"]\n+++\n# Made up\n'
LAST = '\n## Last\n\n```toml step\nid = "last"\nafter = ["made.allowed"]\n```\n'


def guide(**steps: str) -> str:
    return HEAD + "".join(STEP.format(id=id, on=on) for id, on in steps.items()) + LAST


class Looks:
    """Probes that remember how many ran at once, and answer when they are told to."""

    def __init__(self) -> None:
        self.now: list[str] = []
        self.most = 0
        self.order: list[str] = []
        self.drifted: set[str] = set()
        #: step -> what its probe waits for
        self.wait: dict[str, Any] = {}

    def action(self, id: str) -> type[Set]:
        looks = self

        class Looked(Set):
            async def probe(self, look: Any, params: Any) -> Probe:
                if id not in looks.wait:  # the first time, when the step is run
                    return Probe(satisfied=look.host.name in self.world.values, summary="as ever")
                looks.now.append(id)
                looks.most = max(looks.most, len(looks.now))
                try:
                    await looks.wait[id]()
                finally:
                    looks.now.remove(id)
                looks.order.append(id)
                return Probe(satisfied=id not in looks.drifted, summary=f"{id} was looked at")

        return Looked


async def stopped(tmp_path: Path, looks: Looks, **steps: str) -> Run:
    """A run in which all but the last step have passed."""
    world = World(allowed="no", actions={f"made.{id}": looks.action(id) for id in steps})
    run = Run(tmp_path / "r1", world, guide(**steps))
    verdict, _ = await run.go(Front(failed=["stop"]))
    assert verdict == "stopped"
    world.allowed = "yes"
    return run


async def nothing() -> None:
    await asyncio.sleep(0)


async def test_steps_on_machines_are_looked_at_side_by_side_and_recorded_in_order(tmp_path: Path) -> None:
    looks = Looks()
    run = await stopped(tmp_path, looks, a="each production", b="each production")
    b_is_done = asyncio.Event()

    async def b() -> None:
        b_is_done.set()

    looks.wait = {"a": b_is_done.wait, "b": b}  # a could never end if it were looked at alone
    async with asyncio.timeout(30):
        verdict, events = await run.go(front := Front())
    assert verdict == "passed"
    assert looks.order == ["b"] * 3 + ["a"] * 3
    found = [(e.step, e.host, e.satisfied) for e in of(events, Probed) if e.phase == "resume"]
    assert found == [(step, f"vm{n}", True) for step in "ab" for n in (1, 2, 3)]
    said = of(front.lives, LookingAgain)
    assert [(s.number, s.steps, s.title, s.over) for s in said if s.step == "a"] == [
        (1, 3, "Step a", False),
        (1, 3, "Step a", True),
    ]
    assert isinstance(front.lives[0], Waiting), "and before it: which machines there are"


async def test_steps_on_this_pc_are_looked_at_one_after_the_other(tmp_path: Path) -> None:
    """OpenTofu locks its state while it looks."""
    looks = Looks()
    run = await stopped(tmp_path, looks, a="operator", b="operator", c="operator")
    looks.wait = dict.fromkeys("abc", nothing)
    verdict, _ = await run.go(Front())
    assert verdict == "passed"
    assert looks.most == 1 and looks.order == ["a", "b", "c"]


async def test_not_more_than_a_few_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbook.running.resuming.LOOKS", 2)
    looks = Looks()
    run = await stopped(tmp_path, looks, **dict.fromkeys("abcdef", "host:vm1"))
    looks.wait = dict.fromkeys("abcdef", nothing)
    await run.go(Front())
    assert looks.most == 2


async def test_after_a_step_is_run_again_the_later_ones_are_looked_at_anew(tmp_path: Path) -> None:
    """What was seen of them before it may no longer be so."""
    looks = Looks()
    run = await stopped(tmp_path, looks, a="host:vm1", b="host:vm2", c="host:vm3")
    looks.wait, looks.drifted = dict.fromkeys("abc", nothing), {"a"}
    front = Front(drift=["again"])

    async def mend(question: Asked) -> None:
        if question.kind == "drift":
            looks.drifted, looks.order = set(), []

    front.on_ask = mend
    verdict, events = await run.go(front)
    assert verdict == "passed"
    assert looks.order.count("b") == 1 and looks.order.count("c") == 1 and looks.order[0] == "a"
    found = [(e.step, e.satisfied) for e in of(events, Probed) if e.phase == "resume"]
    assert found == [("a", False), ("b", True), ("c", True)]


async def test_stopping_at_a_drift_ends_the_looks_that_still_go_on(tmp_path: Path) -> None:
    looks = Looks()
    run = await stopped(tmp_path, looks, a="host:vm1", b="host:vm2")

    async def forever() -> None:
        await asyncio.sleep(3600)

    looks.wait, looks.drifted = {"a": nothing, "b": forever}, {"a"}
    async with asyncio.timeout(30):
        verdict, _ = await run.go(front := Front(drift=["stop"]))
    assert verdict == "stopped" and looks.now == []
    assert {s.step: s.over for s in of(front.lives, LookingAgain)} == {"a": True, "b": True}


async def test_a_question_of_a_look_that_nobody_answers_ends_the_others(tmp_path: Path) -> None:
    looks = Looks()
    run = await stopped(tmp_path, looks, a="host:vm1", b="host:vm2")

    async def nobody() -> None:
        raise WaitsForPerson("A password is needed.")

    async def forever() -> None:
        await asyncio.sleep(3600)

    looks.wait = {"a": nobody, "b": forever}
    async with asyncio.timeout(30):
        with pytest.raises(WaitsForPerson, match="password"):
            await run.go(Front())
    assert looks.now == []


async def test_machines_that_are_not_known_are_no_reason_to_give_up(tmp_path: Path) -> None:
    looks = Looks()
    run = await stopped(tmp_path, looks, a="each production", b="operator")
    run.hosts.by_name = {"operator": run.hosts.by_name["operator"]}
    verdict, events = await run.go(Front())
    assert verdict == "passed"
    lost = next(e for e in of(events, Probed) if e.step == "a")
    assert (lost.host, lost.satisfied) == ("-", None)
    assert "no machine" in lost.summary


async def test_a_look_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbook.running.acting.PROBE_LIMIT", 0.05)
    looks = Looks()
    run = await stopped(tmp_path, looks, a="host:vm1")

    async def forever() -> None:
        await asyncio.sleep(3600)

    looks.wait = {"a": forever}
    async with asyncio.timeout(30):
        verdict, events = await run.go(Front())
    assert verdict == "passed"
    (probe,) = [e for e in of(events, Probed) if e.phase == "resume"]
    assert probe.satisfied is None and probe.summary.startswith("no answer within")


async def test_a_probe_that_cannot_look_is_no_drift(tmp_path: Path) -> None:
    looks = Looks()
    run = await stopped(tmp_path, looks, a="host:vm1")

    async def dark() -> None:
        raise CouldNotLook("the light is off")

    looks.wait = {"a": dark}
    verdict, events = await run.go(Front())
    assert verdict == "passed"
    assert [e.summary for e in of(events, Probed) if e.phase == "resume"] == ["the light is off"]
