"""Asking: one question at a time, while every time limit stands still."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runbook.events import Answered, Asked, QuestionWithdrawn
from runbook.front import Answer
from runbook.running.desk import Desk
from runbook.secrets import Secret


class Person:
    """Answers when it is allowed to."""

    def __init__(self) -> None:
        self.open: list[Asked] = []
        self.may = asyncio.Event()

    async def answer(self, question: Asked) -> Answer:
        self.open.append(question)
        await self.may.wait()
        return Answer(question.id, "yes", "ana", "test")

    def record(self, record: Any) -> None:
        pass

    def live(self, live: Any) -> None:
        pass


@pytest.fixture
def said() -> list[Any]:
    return []


@pytest.fixture
def person() -> Person:
    return Person()


@pytest.fixture
def desk(person: Person, said: list[Any]) -> Desk:
    async def emit(event: Any) -> None:
        said.append(event)

    return Desk(person, emit, Secret)


async def asked(person: Person, count: int) -> None:
    async with asyncio.timeout(10):
        while len(person.open) < count:
            await asyncio.sleep(0.005)


async def test_a_limit_that_begins_while_somebody_is_asked_stands_still_too(
    desk: Desk, person: Person
) -> None:
    """The second machine's own question waits for its turn: that is no time of the machine."""
    first = asyncio.create_task(desk.ask("a", "text", "first?"))
    await asked(person, 1)

    async def second() -> str:
        async with desk.limit(0.1):
            return await desk.ask("a", "text", "second?")

    waiting = asyncio.create_task(second())
    await asyncio.wait([waiting], timeout=0.4)
    assert not waiting.done()
    person.may.set()
    assert await first == await waiting == "yes"


async def test_the_limit_runs_on_after_the_answer(desk: Desk, person: Person) -> None:
    async def work() -> None:
        async with desk.limit(0.1):
            await desk.ask("a", "text", "?")
            await asyncio.sleep(3600)

    person.may.set()
    async with asyncio.timeout(30):
        with pytest.raises(TimeoutError):
            await work()


async def test_who_gives_up_waiting_withdraws_the_question_and_the_next_gets_its_turn(
    desk: Desk, person: Person, said: list[Any]
) -> None:
    first = asyncio.create_task(desk.ask("a", "text", "first?"))
    await asked(person, 1)
    second = asyncio.create_task(desk.ask("a", "text", "second?"))
    third = asyncio.create_task(desk.ask("a", "text", "third?"))
    await asyncio.sleep(0)
    second.cancel()  # before its turn: it was never asked
    first.cancel()
    person.may.set()
    assert await third == "yes"
    kinds = [(type(event), event.id) for event in said]
    assert kinds == [(Asked, "q1"), (QuestionWithdrawn, "q1"), (Asked, "q2"), (Answered, "q2")]
    assert said[2].text == "third?"
