"""The run loop, with made-up actions and checks on a world that is a dict."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runbook.errors import WaitsForPerson
from runbook.events import (
    ActEnded,
    Answered,
    Asked,
    AttemptStarted,
    CheckDone,
    Planned,
    Probed,
    RunEnded,
    Saved,
    StepEnded,
)
from tests.unit.engines import Front, Run, World, of


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def run(tmp_path: Path, world: World) -> Run:
    return Run(tmp_path / "r1", world)


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
    monkeypatch.setattr("runbook.running.acting.PLAN_STALE_AFTER", 0.0)
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
    monkeypatch.setattr("runbook.running.judge.ONE_LOOK", 0.2)
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
