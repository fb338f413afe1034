"""Killed after any record, the run goes on: nothing is done twice, nothing is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook.errors import WaitsForPerson
from runbook.events import ActEnded, ActStarted, Answered, Asked, Event, Record, StepEnded
from runbook.record import journal
from runbook.record.state import replay
from runbook.running.engine import Engine
from tests.unit.engines import Front, Run, World, of

GUIDE = """+++
title = "Made up"
modes = ["drill"]
+++
# Made up

## Set it everywhere

```toml step
id     = "first"
action = "made.set"
on     = "each production"
after  = ["made.is_set"]
save   = ["value"]
```

## May not be done twice

```toml step
id     = "once"
action = "made.once"
on     = "operator"
after  = ["made.is_set"]
```
"""


class Killed(BaseException):
    """As SIGKILL: nothing of the program runs on."""


async def killed_after(run: Run, front: Front, count: int) -> list[Record]:
    """Run it until so many records are in the journal; these."""
    engine = await run.open(front)
    append = engine.journal.append

    async def append_or_die(event: Event) -> Record:
        if len(engine.journal.records()) >= count:
            raise Killed
        record = await append(event)
        if len(engine.journal.records()) >= count:
            raise Killed
        return record

    engine.journal.append = append_or_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await engine.run()
    await engine.journal.close()
    return run.records()


async def go_on(run: Run, front: Front) -> tuple[str, Engine]:
    engine = await run.open(front)
    try:
        return await engine.run(), engine
    finally:
        await engine.journal.close()


def started_and_not_ended(records: list[Record]) -> bool:
    """The step that may not be done twice was begun, and its end is not on record."""
    once = [r.event for r in records if getattr(r.event, "step", "") == "once"]
    return bool(of(once, ActStarted)) and not of(once, ActEnded)


async def test_killed_after_any_record(tmp_path: Path) -> None:
    verdict, _ = await go_on(Run(tmp_path / "whole", World(), GUIDE), Front())
    assert verdict == "passed"
    whole = len(journal.read(tmp_path / "whole"))
    assert whole > 30
    unsafe = 0
    for count in range(2, whole):
        world = World()
        run = Run(tmp_path / f"killed-{count}", world, GUIDE)
        records = await killed_after(run, Front(), count)
        where = f"killed after record {count}, {records[-1].event}"
        asked = started_and_not_ended(records)
        if asked:  # nobody but a person can know
            unsafe += 1
            with pytest.raises(WaitsForPerson):
                await go_on(run, front := Front())
            assert "Is it safe to run it twice?" in front.asked[-1].text, where
        verdict, engine = await go_on(run, Front(confirm=["go"] * 9))
        assert verdict == "passed", where
        done = [name for name, _ in world.acted]
        assert sorted(done) == ["operator", "vm1", "vm2", "vm3"], where
        state = replay(run.records())
        assert state == engine.state, where
        assert state.open_question is None and state.deviations == [], where
        assert journal.verify(run.folder).ok, where
    assert unsafe >= 1


async def test_killed_twice_between_an_acts_end_and_its_verdict(tmp_path: Path) -> None:
    world = World()
    run = Run(tmp_path / "r1", world, GUIDE)
    await go_on(Run(tmp_path / "whole", World(), GUIDE), Front())
    records = journal.read(tmp_path / "whole")
    ended = next(r.seq for r in records if isinstance(r.event, ActEnded) and r.event.step == "once")
    await killed_after(run, Front(), ended)
    for more in (1, 3, 5):  # resumed, and killed again a little later, each time
        count = len(run.records())
        await killed_after(run, Front(), count + more)
    verdict, _ = await go_on(run, Front())
    assert verdict == "passed"
    assert [name for name, _ in world.acted].count("operator") == 1
    said = [r.event for r in run.records() if isinstance(r.event, ActEnded) and r.event.step == "once"]
    assert "It was done before this program was stopped" in said[-1].summary


async def test_killed_between_the_answer_and_the_act(tmp_path: Path) -> None:
    """A plan that was confirmed is not taken for one that is confirmed now."""
    world = World()
    run = Run(tmp_path / "r1", world, GUIDE)
    await go_on(Run(tmp_path / "whole", World(), GUIDE), Front())
    records = journal.read(tmp_path / "whole")
    answered = next(r.seq for r in records if isinstance(r.event, Answered))
    records = await killed_after(run, Front(), answered)
    assert isinstance(records[-1].event, Answered) and world.acted == []
    front = Front()
    await go_on(run, front)
    assert [q.kind for q in front.asked if q.step == "first"] == ["confirm"]
    ids = [r.event.id for r in run.records() if isinstance(r.event, Asked)]
    assert len(ids) == len(set(ids))


async def test_what_was_judged_as_failed_is_not_taken_for_done(tmp_path: Path) -> None:
    """The act ended well and the checks said no: on resume a person is asked before it runs twice."""
    world = World(lying={"operator"})
    run = Run(tmp_path / "r1", world, GUIDE)
    verdict, _ = await go_on(run, Front(failed=["stop"]))
    assert verdict == "stopped"
    with pytest.raises(WaitsForPerson):
        await go_on(run, front := Front())
    assert "Is it safe to run it twice?" in front.asked[-1].text
    assert not [r for r in run.records() if isinstance(r.event, StepEnded) and r.event.how == "already"]


async def test_a_step_run_again_after_drift_is_really_run(tmp_path: Path) -> None:
    """Its act of before was judged: that does not stand for the new one."""

    class Seen(World):
        def action(self, name: str) -> Any:
            made = super().action(name)
            if name == "made.once":
                made.probe = self.look
            return made

        async def look(self, look: Any, params: Any) -> Any:
            from runbook.action import Probe

            return Probe(satisfied="operator" in self.values, summary="looked")

    world = Seen()
    guide = GUIDE + '\n## Last\n\n```toml step\nid = "last"\nafter = ["made.allowed"]\n```\n'
    run = Run(tmp_path / "r1", world, guide)
    world.allowed = "no"
    await go_on(run, Front(failed=["stop"]))
    del world.values["operator"]
    world.allowed = "yes"
    verdict, _ = await go_on(run, Front(drift=["again"], confirm=["go"]))
    assert verdict == "passed"
    assert [name for name, _ in world.acted].count("operator") == 2
