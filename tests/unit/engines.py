"""A world that is a dict, made-up actions and checks on it, and runs of one small guide."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from runbook.action import NoParams, Outcome, Params, Plan, Probe
from runbook.check import Check, Finding, check
from runbook.clock import Clock, SystemClock
from runbook.errors import ActionFailed, CouldNotLook, WaitsForPerson
from runbook.events import Asked, Live, Record, RunResumed, RunStarted
from runbook.front import Answer
from runbook.guide import model as guides
from runbook.record.journal import Journal, read
from runbook.record.state import RunState, replay
from runbook.redact import Redactor
from runbook.running.desk import Desk
from runbook.running.engine import Engine
from runbook.secrets import Secret
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


class Once(Set):
    """May not run twice, and cannot be looked at; ``world.acted`` counts."""

    repeat: ClassVar = "never"

    async def probe(self, look: Any, params: Any) -> Probe:
        return Probe(satisfied=None, summary="only the checks can tell")


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
    """What is true, and what goes wrong."""

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
    #: further actions of a test, by name
    actions: dict[str, type[Set]] = field(default_factory=dict)

    def action(self, name: str) -> Any:
        own = {"made.set": Set, "made.once": Once, "made.danger": Danger}
        return (own | self.actions)[name](self)

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
            return Answer(question.id, queue.pop(0), "ana", "test")
        if question.unattended:
            return Answer(question.id, question.default, "ana", "test")
        raise WaitsForPerson(f"nobody for {question.kind}")

    def record(self, record: Record) -> None:
        self.records.append(record)

    def live(self, live: Live) -> None:
        self.lives.append(live)


class Terminal(Front):
    """A front end with a terminal to lend."""

    can_lend = True

    def __init__(self, **answers: list[str]) -> None:
        super().__init__(**answers)
        self.lent: list[tuple[str, Sequence[str]]] = []
        #: the shell's exit status, or why there is none
        self.ends: int | Exception = 0

    async def lend(self, host: str, argv: Sequence[str]) -> int:
        self.lent.append((host, argv))
        if isinstance(self.ends, Exception):
            raise self.ends
        return self.ends


class Run:
    """A run folder, opened as often as one likes."""

    def __init__(self, folder: Path, world: World, guide: str = GUIDE, clock: Clock | None = None) -> None:
        self.folder, self.world, self.guide = folder, world, guide
        self.clock = clock or SystemClock()
        self.hosts = FakeHosts(*(ScriptedHost(f"vm{n}") for n in (1, 2, 3)))

    async def open(self, front: Front) -> Engine:
        plan = guides.parse(self.guide)
        redactor = Redactor()
        if (self.folder / "journal.jsonl").exists():
            book = Journal.open(self.folder, self.clock, redactor)
            state = replay(book.records())
            state.apply(await book.append(RunResumed(by="ana", pc="pc", tool="t")))
        else:
            book = Journal.create(self.folder, self.clock, redactor)
            state = RunState()
            started = RunStarted(
                run="r1", guide=self.guide, guide_name="made", guide_sha256=plan.sha256, title="Made up",
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
            clock=self.clock, desk=Desk(front, emit, learn, count=state.questions_asked),
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

    def records(self) -> list[Record]:
        return read(self.folder)


def of(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]
