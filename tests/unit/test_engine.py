"""The run loop, with made-up actions and checks on a world that is a dict."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from runbook import guide as guides
from runbook.action import NoParams, Outcome, Params, Plan, Probe
from runbook.check import Check, Finding, check
from runbook.clock import SystemClock
from runbook.desk import Desk
from runbook.engine import Engine
from runbook.errors import ActionFailed, CouldNotLook, WaitsForPerson
from runbook.events import (
    ActEnded,
    Answered,
    Asked,
    AttemptStarted,
    CheckDone,
    Live,
    Planned,
    Probed,
    Record,
    RunEnded,
    RunStarted,
    Saved,
    StepEnded,
)
from runbook.front import Answer
from runbook.journal import Journal
from runbook.redact import Redactor
from runbook.secrets import Secret
from runbook.state import RunState, replay
from tests.unit.doubles import FakeHosts, FakeSecrets, ScriptedHost, make_site

GUIDE = """+++
title = "Made up"
modes = ["drill"]
+++
# Made up

## First
Prose.

```toml step
id     = "first"
action = "made.set"
on     = "each production"
after  = ["made.is_set"]
changes = "sets a value"
save   = ["value"]
```

## Second

```toml step
id     = "second"
action = "made.danger"
before = ["made.allowed"]
```
"""


class Set:
    scope: ClassVar = "per_host"
    repeat: ClassVar = "safe"
    params: ClassVar[type[Params]] = NoParams
    outputs: ClassVar = ("value",)

    def __init__(self, world: World) -> None:
        self.world = world

    async def probe(self, look: Any, params: Any) -> Probe:
        if self.world.defect == "probe":
            raise ZeroDivisionError("ours")
        there = look.host.name in self.world.values
        return Probe(satisfied=there, summary="there" if there else "not there", outputs={"value": 7})

    async def plan(self, look: Any, params: Any) -> Plan:
        return Plan(summary=f"set {look.host.name}", data={"revision": self.world.revision})

    async def act(self, context: Any, params: Any, plan: Plan) -> Outcome:
        name = context.host.name
        self.world.acted.append((name, plan.data["revision"]))
        context.voice.sink(b"working\n")
        if name in self.world.failing:
            raise ActionFailed(f"{name} would not.", next="Look at it.")
        if self.world.hang:
            await asyncio.sleep(3600)
        if name not in self.world.lying:
            self.world.values[name] = 7
        return Outcome(summary="set", outputs={"value": 7, "not_saved": 1})


class Danger(Set):
    scope: ClassVar = "whole"

    async def probe(self, look: Any, params: Any) -> Probe:
        return Probe(satisfied="danger" in self.world.values, summary="dangerous")

    async def plan(self, look: Any, params: Any) -> Plan:
        return Plan(summary="destroy", danger=self.world.dangers)

    async def act(self, context: Any, params: Any, plan: Plan) -> Outcome:
        self.world.values["danger"] = 1
        return Outcome(summary="done")


@dataclass
class World:
    values: dict[str, int] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    lying: set[str] = field(default_factory=set)
    acted: list[tuple[str, int]] = field(default_factory=list)
    dangers: tuple[str, ...] = ()
    allowed: str = "yes"
    revision: int = 1
    hang: bool = False
    asks: bool = False
    defect: str = ""
    accept_key: Any = None

    def action(self, name: str) -> Any:
        return {"made.set": Set, "made.danger": Danger}[name](self)

    def check(self, name: str) -> Check:
        world = self

        @check("is it set", on="step")
        async def is_set(look: Any) -> Finding:
            there = look.host.name in world.values
            return Finding(verdict="pass" if there else "fail", expected="set", observed=str(there))

        @check("may it be")
        async def allowed(look: Any) -> Finding:
            if world.asks:
                assert await world.accept_key("operator", "SHA256:x")
            if world.allowed == "cannot look":
                raise CouldNotLook("the light is off")
            if world.allowed == "broken":
                raise ZeroDivisionError
            verdict = "pass" if world.allowed == "yes" else "fail"
            return Finding(verdict=verdict, expected="allowed", observed=world.allowed)

        return {"made.is_set": is_set, "made.allowed": allowed}[name]


class Front:
    """Answers by kind, one after the other; "go"/"accept" by default."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers
        self.asked: list[Asked] = []
        self.records: list[Record] = []
        self.lives: list[Live] = []
        self.on_ask: Any = None

    async def answer(self, question: Asked) -> Answer:
        self.asked.append(question)
        if self.on_ask:
            await self.on_ask(question)
        queue = self.answers.get(question.kind, [])
        if queue:
            return Answer(queue.pop(0), "ana", "test")
        if question.unattended:
            return Answer(question.default, "ana", "test")
        raise WaitsForPerson(f"nobody for {question.kind}")

    def record(self, record: Record) -> None:
        self.records.append(record)

    def live(self, live: Live) -> None:
        self.lives.append(live)


class Run:
    """A run folder, opened as often as one likes."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        self.hosts = FakeHosts(*(ScriptedHost(f"vm{n}") for n in (1, 2, 3)))

    async def open(self, front: Front) -> Engine:
        plan = guides.parse(GUIDE)
        redactor = Redactor()
        if (self.folder / "journal.jsonl").exists():
            book = Journal.open(self.folder, SystemClock(), redactor)
            state = replay(book.records())
        else:
            book = Journal.create(self.folder, SystemClock(), redactor)
            state = RunState()
            started = RunStarted(
                run="r1", guide=GUIDE, guide_name="made", guide_sha256=plan.sha256, title="Made up",
                site={}, mode="drill", tool="t", by="ana", pc="pc",
            )  # fmt: skip
            state.apply(await book.append(started))

        async def emit(event: Any) -> Record:
            return await engine.emit(event)

        def learn(value: str, label: str) -> Secret:
            redactor.learn(value, label)
            return Secret(value, label)

        engine = Engine(
            guide=plan, site=make_site(), mode="drill", journal=book, state=state, catalog=self.world,
            hosts=self.hosts, secrets=FakeSecrets(), redactor=redactor, run_dir=self.folder,
            clock=SystemClock(), desk=Desk(front, emit, learn, count=state.questions_asked),
            show=front.record, live=front.live,
        )  # fmt: skip
        self.world.accept_key = engine.accept_key
        return engine

    async def go(self, front: Front) -> tuple[str, list[Any]]:
        engine = await self.open(front)
        try:
            verdict = await engine.run()
        finally:
            await engine.journal.close()
        return verdict, [record.event for record in front.records]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def run(tmp_path: Path, world: World) -> Run:
    return Run(tmp_path / "r1", world)


def of(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


async def test_a_run_goes_probe_plan_question_act_check(run: Run, world: World) -> None:
    verdict, events = await run.go(Front())
    assert verdict == "passed"
    first = [e for e in events if getattr(e, "step", "") == "first" and not isinstance(e, Asked)]
    order = list(dict.fromkeys(type(e).__name__ for e in first))
    assert order.index("Probed") < order.index("Planned") < order.index("ActStarted")
    assert order.index("ActEnded") < order.index("CheckDone") < order.index("StepEnded")
    assert of(events, Saved)[0].values == {"value": 7}, "only what the step saves is saved"
    ended = of(events, ActEnded)[0]
    assert (run.folder / ended.output).read_bytes() == b"working\n"
    assert of(events, RunEnded)[-1].verdict == "passed"


async def test_the_world_judges_not_the_action(run: Run, world: World) -> None:
    world.lying = {"vm2"}
    verdict, events = await run.go(Front(failed=["stop"]))
    assert verdict == "stopped"
    assert all(e.outcome == "done" for e in of(events, ActEnded)), "the action itself said done"
    assert [e.host for e in of(events, CheckDone) if e.verdict == "fail"] == ["vm2"]
    assert not [e for e in of(events, AttemptStarted) if e.step == "second"], "nothing runs after it"


async def test_one_failing_host_does_not_stop_the_others_and_a_retry_takes_only_it(
    run: Run, world: World
) -> None:
    world.failing = {"vm2"}
    front = Front(failed=["retry_failed"])

    async def heal(question: Asked) -> None:
        if question.kind == "failed":
            world.failing = set()

    front.on_ask = heal
    verdict, events = await run.go(front)
    assert verdict == "passed"
    assert sorted(name for name, _ in world.acted) == ["vm1", "vm2", "vm2", "vm3"]
    assert [e.hosts for e in of(events, AttemptStarted) if e.step == "first"] == [
        ("vm1", "vm2", "vm3"),
        ("vm2",),
    ]


async def test_what_is_already_so_is_accepted_with_evidence(run: Run, world: World) -> None:
    world.values = {"vm1": 7, "vm2": 7, "vm3": 7}
    front = Front()
    _, events = await run.go(front)
    question = next(q for q in front.asked if q.kind == "accept")
    assert "vm1: there" in question.text
    assert world.acted == []
    assert of(events, StepEnded)[0].how == "already"
    assert of(events, Saved)[0].values == {"value": 7}


@pytest.mark.parametrize("how", ["no", "cannot look", "broken"])
async def test_a_before_check_that_fails_or_cannot_look_stops_before_anything_is_done(
    run: Run, world: World, how: str
) -> None:
    world.allowed = how
    verdict, events = await run.go(Front(failed=["stop"]))
    assert verdict == "stopped"
    assert "danger" not in world.values
    done = [e for e in of(events, CheckDone) if e.check == "made.allowed"]
    assert [e.verdict for e in done] == ["fail" if how == "no" else "unknown"]


async def test_danger_is_typed_by_name_and_never_unattended(run: Run, world: World) -> None:
    world.dangers = ("vm9",)
    with pytest.raises(WaitsForPerson):
        await run.go(Front())
    assert "danger" not in world.values
    verdict, _ = await run.go(Front(confirm=["go"], name=["vm8", ""]))
    assert verdict == "stopped"
    assert "danger" not in world.values
    verdict, _ = await run.go(Front(confirm=["go"], name=["vm9"]))
    assert verdict == "passed"


async def test_a_plan_confirmed_late_in_a_changed_world_is_made_anew(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook.acting.PLAN_STALE_AFTER", 0.0)
    front = Front()

    async def change(question: Asked) -> None:
        if question.kind == "confirm" and question.step == "first" and world.revision == 1:
            world.revision = 2

    front.on_ask = change
    verdict, events = await run.go(front)
    assert verdict == "passed"
    asked = [q for q in front.asked if q.kind == "confirm" and q.step == "first"]
    assert len(asked) == 2 and "new plan" in asked[1].text
    assert {revision for _, revision in world.acted} == {2}
    assert len({e.digest for e in of(events, Planned) if e.host == "vm1"}) == 2


async def test_skip_and_override_need_a_reason_and_keep_the_run_from_passing(run: Run, world: World) -> None:
    verdict, events = await run.go(Front(confirm=["skip"], text=["no time"]))
    assert verdict == "completed with deviations"
    ended = of(events, StepEnded)[0]
    assert (ended.how, ended.reason, ended.by) == ("skipped", "no time", "ana")


async def test_by_hand_is_judged_by_the_same_checks(run: Run, world: World) -> None:
    world.failing = {"vm2"}
    front = Front(failed=["by_hand", "by_hand"], text=["set it", "set it for good"])
    count = 0

    async def by_hand(question: Asked) -> None:
        nonlocal count
        if question.kind == "failed":
            count += 1
            if count == 2:
                world.values["vm2"] = 7

    front.on_ask = by_hand
    verdict, events = await run.go(front)
    assert verdict == "completed with deviations"
    ended = of(events, StepEnded)[0]
    assert (ended.how, ended.reason, ended.by) == ("by_hand", "set it for good", "ana")


async def test_nobody_there_leaves_a_run_that_can_go_on(run: Run, world: World) -> None:
    world.failing = {"vm1"}
    with pytest.raises(WaitsForPerson):
        await run.go(Front())
    world.failing = set()
    verdict, _events = await run.go(Front())
    assert verdict == "passed"
    assert world.acted.count(("vm2", 1)) == 1, "what was done is seen by its probe and not done again"


async def test_resume_looks_back_and_asks_when_the_world_drifted(run: Run, world: World) -> None:
    world.allowed = "no"
    await run.go(Front(failed=["stop"]))
    world.allowed = "yes"
    del world.values["vm2"]
    with pytest.raises(WaitsForPerson):
        await run.go(Front())
    front = Front(drift=["again"])
    verdict, events = await run.go(front)
    assert verdict == "passed"
    assert world.values["vm2"] == 7
    looked = [e for e in of(events, Probed) if e.phase == "resume"]
    assert [(e.host, e.satisfied) for e in looked] == [("vm1", True), ("vm2", False), ("vm3", True)]


async def test_cancelling_is_on_the_record_and_the_step_can_be_tried_again(run: Run, world: World) -> None:
    world.hang = True
    front = Front(failed=["retry"])

    async def unhang(question: Asked) -> None:
        if question.kind == "failed":
            world.hang = False

    front.on_ask = unhang
    engine = await run.open(front)
    task = asyncio.create_task(engine.run())
    async with asyncio.timeout(10):
        while len(world.acted) < 3:
            await asyncio.sleep(0.01)
    await engine.cancel_step("ana")
    assert await task == "passed"
    await engine.journal.close()
    ended = of([r.event for r in front.records], ActEnded)
    assert [e.outcome for e in ended[:3]] == ["cancelled"] * 3


async def test_waiting_for_a_person_does_not_count_as_a_checks_time(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook.judge.ONE_LOOK", 0.2)
    world.asks = True
    front = Front(host_key=["accept"])

    async def think(question: Asked) -> None:
        if question.kind == "host_key":
            await asyncio.sleep(0.5)

    front.on_ask = think
    verdict, _ = await run.go(front)
    assert verdict == "passed"


async def test_no_machine_to_ask_is_unknown_and_never_a_pass(run: Run, world: World) -> None:
    run.hosts.by_name = {"operator": run.hosts.by_name["operator"]}
    verdict, events = await run.go(Front(failed=["by_hand", "stop"], text=["nothing"]))
    assert verdict == "stopped"
    assert not of(events, StepEnded) or of(events, StepEnded)[-1].verdict == "fail"


async def test_a_defect_of_ours_in_probe_or_plan_stops_the_step_not_the_program(
    run: Run, world: World
) -> None:
    world.defect = "probe"
    verdict, events = await run.go(Front(failed=["stop"]))
    assert verdict == "passed", "a probe that fails could not look; the plan and the checks still judge"
    assert "the probe itself failed" in of(events, Probed)[0].summary


async def test_every_question_and_answer_is_in_the_journal(run: Run, world: World) -> None:
    _, events = await run.go(Front())
    asked, answered = of(events, Asked), of(events, Answered)
    assert [q.id for q in asked] == [a.id for a in answered]
    assert all(a.by == "ana" and a.via == "test" for a in answered)
    planned = {e.digest for e in of(events, Planned) if e.step == "first"}
    assert set(asked[0].plan_digest.split("+")) == planned


async def test_an_answer_that_is_no_option_is_asked_again(run: Run, world: World) -> None:
    front = Front(confirm=["perhaps", "go", "go"])
    verdict, _ = await run.go(front)
    assert verdict == "passed"
    assert [q.kind for q in front.asked].count("confirm") == 3
