"""A shell for a person when a step failed: offered, chosen, on record; and the terminal that is lent."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from runbook import terminal
from runbook.errors import RunbookError
from runbook.events import Answered, Asked, ShellClosed, ShellOpened
from tests.unit.doubles import FakeClock
from tests.unit.engines import Front, Run, Terminal, World, of


@pytest.fixture
def world() -> World:
    return World(failing={"vm2"})


@pytest.fixture
def run(tmp_path: Path, world: World) -> Run:
    return Run(tmp_path / "r1", world)


def asked(front: Front, kind: str) -> list[Asked]:
    return [question for question in front.asked if question.kind == kind]


def values(question: Asked) -> list[str]:
    return [option.value for option in question.options]


async def test_a_shell_is_a_choice_with_its_consequence_and_the_question_comes_back(
    run: Run, world: World
) -> None:
    front = Terminal(failed=["shell", "retry"], choice=["vm2"])

    async def heal(question: Asked) -> None:
        if len(front.lent) == 1:
            world.failing = set()

    front.on_ask = heal
    verdict, events = await run.go(front)
    assert verdict == "passed", "a shell is a remark; the checks judged what came after it"
    first, second = asked(front, "failed")
    option = next(option for option in first.options if option.value == "shell")
    assert option.label == "Open a shell on a machine"
    assert option.consequence == "on record; then this is asked again"
    assert (first.text, first.options) == (second.text, second.options) and first.id != second.id
    (which,) = asked(front, "choice")
    assert values(which) == ["vm2", "vm1", "vm3", "back"], "the machine in trouble first"
    assert which.options[0].consequence == "failed"
    assert front.lent == [("vm2", ["sh"])]
    (opened,), (closed,) = of(events, ShellOpened), of(events, ShellClosed)
    assert (opened.host, opened.by, opened.step, opened.standing) == ("vm2", "ana", "first", True)
    assert (closed.id, closed.host, closed.exit_status) == (opened.id, "vm2", 0)
    assert [answer.value for answer in of(events, Answered)][1:3] == ["shell", "vm2"]


async def test_how_long_it_was_open_is_a_persons_time(tmp_path: Path, world: World) -> None:
    clock = FakeClock()
    run = Run(tmp_path / "r1", world, clock=clock)

    class Slow(Terminal):
        async def lend(self, host: str, argv: Any) -> int:
            clock.move(192)
            return await super().lend(host, argv)

    _, events = await run.go(Slow(failed=["shell", "stop"], choice=["vm2"]))
    assert of(events, ShellClosed)[0].seconds == 192
    engine = await run.open(Front())
    assert engine.state.times.waited(engine.state.last_at) == 192
    assert "A shell was open on vm2 for 3m12." in engine.state.remarks[0].text
    await engine.journal.close()


async def test_with_one_machine_nobody_is_asked_which(run: Run, world: World) -> None:
    world.failing = {"vm2"}
    front = Terminal(failed=["retry_failed", "shell", "stop"])
    await run.go(front)
    assert asked(front, "failed")[1].options[1].label == "Open a shell on vm2"
    assert front.lent == [("vm2", ["sh"])]


async def test_going_back_opens_nothing(run: Run) -> None:
    front = Terminal(failed=["shell", "stop"], choice=["back"])
    verdict, events = await run.go(front)
    assert verdict == "stopped" and front.lent == [] and not of(events, ShellOpened)


@pytest.mark.parametrize("where", ["no terminal", "not now", "nobody knows the machine"])
async def test_it_is_not_offered_where_none_can_be_had(run: Run, world: World, where: str) -> None:
    front = Front(failed=["stop"]) if where == "no terminal" else Terminal(failed=["stop"])
    if where == "not now":
        front.can_lend = False  # type: ignore[attr-defined]
    if where == "nobody knows the machine":
        run.hosts.by_name = {"operator": run.hosts.by_name["operator"]}
    await run.go(front)
    assert "shell" not in values(asked(front, "failed")[0])


@pytest.mark.parametrize(
    ("ends", "said"),
    [(RunbookError("vm2: no shell: ssh: No such file."), "vm2: no shell: ssh"), (255, "could not connect")],
)
async def test_a_shell_that_does_not_open_is_told_and_the_question_comes_back(
    run: Run, ends: int | Exception, said: str
) -> None:
    front = Terminal(failed=["shell", "stop"], choice=["vm2"])
    front.ends = ends
    verdict, events = await run.go(front)
    assert verdict == "stopped"
    assert said in asked(front, "failed")[1].text
    assert of(events, ShellClosed)[0].exit_status == (255 if ends == 255 else None)


async def test_at_any_moment_it_goes_on_record_too(run: Run, world: World) -> None:
    world.failing = set()
    front = Terminal()

    async def press_s(question: Asked) -> None:
        if question.step == "first":
            assert await engine.shells.open("vm3", "bea", "first") == 0
            with pytest.raises(RunbookError, match="not known yet"):
                await engine.shells.open("vm9", "bea", "first")

    front.on_ask = press_s
    engine = await run.open(front)
    assert await engine.run() == "passed"
    await engine.journal.close()
    (opened,) = of([r.event for r in run.records()], ShellOpened)
    assert (opened.by, opened.host, opened.standing) == ("bea", "vm3", False)


# ── the terminal ───────────────────────────────────────────────────────────────────────────
async def test_other_work_goes_on_while_the_terminal_is_lent(tmp_path: Path) -> None:
    marker = tmp_path / "go"

    async def other() -> None:
        await asyncio.sleep(0.05)
        marker.touch()

    work = asyncio.create_task(other())
    async with asyncio.timeout(30):
        argv = ["sh", "-c", f"until [ -e {marker} ]; do sleep 0.02; done; exit 7"]
        assert await terminal.run(argv) == 7
    await work


async def test_ctrl_c_is_the_lent_programs_and_then_ours_again() -> None:
    """The terminal sends it to both; what has the terminal is what it is for."""
    ours = signal.getsignal(signal.SIGINT)
    argv = ["sh", "-c", f"trap 'exit 9' INT; kill -INT $$; kill -INT {os.getpid()}; sleep 60"]
    async with asyncio.timeout(30):
        assert await terminal.run(argv) == 9, "the program still hears it"
    shell = ["sh", "-c", f"kill -INT {os.getpid()}; exit 3"]
    assert await terminal.run(shell) == 3, "and it did not end this one"
    assert signal.getsignal(signal.SIGINT) is ours


async def test_a_lent_program_ends_when_this_one_does(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    argv = ["sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600"]
    task = asyncio.create_task(terminal.run(argv))
    async with asyncio.timeout(30):
        while not pid.exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_a_program_that_is_not_there_is_an_error_and_nothing_else_changes() -> None:
    ours = signal.getsignal(signal.SIGINT)
    with pytest.raises(FileNotFoundError):
        await terminal.run(["no-such-program-anywhere"])
    assert signal.getsignal(signal.SIGINT) is ours
