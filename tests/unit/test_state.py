"""A run's state is its records, folded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.clock import stamp
from runbook.events import (
    ActEnded,
    ActStarted,
    Answered,
    AnswerRefused,
    Asked,
    AttemptStarted,
    CancelConfirmed,
    CancelRequested,
    CheckDone,
    JobEnded,
    JobStarted,
    JournalRepaired,
    NoteAdded,
    Noted,
    Planned,
    Probed,
    QuestionWithdrawn,
    Ran,
    Record,
    ReportWritten,
    RunEnded,
    RunResumed,
    RunStarted,
    Saved,
    ShellClosed,
    ShellOpened,
    StepEnded,
    Unknown,
)
from runbook.record.state import RunState, replay

STARTED = RunStarted(
    run="r",
    guide="# g",
    guide_name="g",
    guide_sha256="",
    title="G",
    site={"name": "s"},
    mode="drill",
    tool="t",
    by="ana",
    pc="pc",
    lab="",
)
RESUMED = RunResumed(by="ana", pc="pc2", tool="t")


def records(*events: Any, seconds: float = 10) -> list[Record]:
    """An event every ten seconds; a number between them is a longer pause."""
    moment, found = datetime(2026, 11, 24, 3, 0, tzinfo=UTC), []
    for event in events:
        if isinstance(event, int | float):
            moment += timedelta(seconds=event - seconds)
        else:
            found.append(Record(len(found) + 1, stamp(moment), event, f"h{len(found) + 1}"))
            moment += timedelta(seconds=seconds)
    return found


def check(step: str = "a", attempt: int = 1, **values: Any) -> CheckDone:
    given = {
        "phase": "after",
        "check": "x.y",
        "host": "vm1",
        "verdict": "pass",
        "expected": "e",
        "observed": "o",
    }
    return CheckDone(step=step, attempt=attempt, **(given | values))


def attempt(step: str = "a", number: int = 1, hosts: tuple[str, ...] = ("vm1", "vm2")) -> AttemptStarted:
    return AttemptStarted(step=step, attempt=number, hosts=hosts)


def ended(step: str = "a", **values: Any) -> StepEnded:
    return StepEnded(step=step, **({"attempt": 1, "verdict": "pass", "how": "acted"} | values))


def test_nothing_yet() -> None:
    state = RunState()
    assert (state.run, state.verdict, state.unfinished, state.open_question) == ("", None, False, None)
    assert state.deviations == state.remarks == state.unfinished_jobs() == []


def test_a_step_from_probe_to_end() -> None:
    where = {"step": "a", "attempt": 1, "host": "vm1"}
    events = [
        STARTED,
        attempt(),
        check(phase="before"),
        Probed(**where, satisfied=False, summary="not yet"),
        Planned(**where, summary="do it", items=("one",), changes="", digest="d"),
        ActStarted(**where, digest="d"),
        JobStarted(**where, job="r-a-j", command="sleep 9"),
        JobEnded(**where, job="r-a-j", exit_status=0),
        Ran(**where, command="ls", exit_status=0, seconds=0.5),
        Noted(**where, text="chosen", data={"n": 1}),
        ActEnded(**where, outcome="done", summary="made", output="output/a", output_bytes=3),
        Saved(step="a", values={"ip": "1"}),
        check(),
        ended(verdict="warn"),
        RunEnded(verdict="passed"),
    ]
    state, statuses = RunState(), []
    for record in records(*events):
        state.apply(record)
        step = state.steps.get("a")
        statuses.append(step.last.hosts["vm1"].status if step and step.last else "")
    assert list(dict.fromkeys(statuses)) == ["", "waiting", "planned", "running", "done"]
    step = state.steps["a"]
    assert (step.status, step.verdict, step.how, step.done) == ("passed", "warn", "acted", True)
    assert step.last.hosts["vm2"].status == "waiting"
    assert list(step.last.hosts) == ["vm1", "vm2"], "checks elsewhere add no host to the attempt"
    assert step.last.commands[0].command == "ls"
    assert step.last.notes[0].data == {"n": 1}
    assert [c.phase for c in step.last.checks] == ["before", "after"]
    assert step.last.hosts["vm1"].outcome == "done"
    assert state.saved == {"a": {"ip": "1"}} and state.outputs == {"ip": "1"}
    assert state.current == "a"
    assert (state.verdict, state.unfinished, state.seq, state.head) == ("passed", False, 15, "h15")
    assert state.deviations == []


def test_a_job_without_an_end_is_found() -> None:
    where = {"step": "a", "attempt": 1, "host": "vm1"}
    state = replay(
        records(
            STARTED,
            attempt(),
            JobStarted(**where, job="one", command="x"),
            JobStarted(**where, job="two", command="y"),
            JobEnded(**where, job="one", exit_status=None),
        )
    )
    assert [(job.job, job.host, job.attempt) for job in state.unfinished_jobs()] == [("two", "vm1", 1)]


def test_a_retry_opens_the_step_again_and_the_failure_stays_a_remark() -> None:
    where = {"step": "a", "host": "vm2"}
    state = replay(
        records(
            STARTED,
            attempt(),
            ActEnded(**where, attempt=1, outcome="failed", summary="disk full"),
            ended(verdict="fail"),
            RunEnded(verdict="stopped"),
        )
    )
    assert (state.steps["a"].status, state.steps["a"].done, state.unfinished) == ("failed", False, True)
    for record in records(RESUMED, attempt(number=2, hosts=("vm2",)))[:2]:
        state.apply(record)
    assert state.steps["a"].status == "running" and state.verdict is None
    state.apply(records(ended(attempt=2))[0])
    assert state.steps["a"].done
    assert state.deviations == []
    assert [r.text for r in state.remarks if r.kind == "attempt failed"] == ["attempt 1 on vm2: disk full"]


@pytest.mark.parametrize(
    ("how", "verdict", "kind", "status"),
    [
        ("skipped", "unknown", "skipped", "skipped"),
        ("overridden", "unknown", "overridden", "overridden"),
        ("by_hand", "pass", "by hand", "passed"),
        ("acted", "unknown", "unknown", "failed"),
    ],
)
def test_deviations(how: Any, verdict: Any, kind: str, status: str) -> None:
    state = replay(records(STARTED, attempt(), ended(how=how, verdict=verdict, reason="why", by="ana")))
    assert [(d.kind, d.step, d.reason, d.by) for d in state.deviations] == [(kind, "a", "why", "ana")]
    assert state.steps["a"].status == status


def test_remarks_do_not_deviate() -> None:
    state = replay(
        records(
            STARTED,
            JournalRepaired(dropped_bytes=7, kept_as="journal.cut-x"),
            RESUMED,
            attempt(),
            check(required=False, verdict="unknown", observed="could not look"),
            check(verdict="warn"),
            CancelRequested(step="a", by="ana"),
            CancelConfirmed(step="a", host="vm1", gone=False, detail="job j"),
            Probed(step="a", attempt=1, host="vm1", satisfied=False, summary="gone", phase="resume"),
            ended(),
        )
    )
    assert state.deviations == []
    kinds = {remark.kind for remark in state.remarks}
    assert kinds == {
        "journal repaired", "resumed", "optional check: unknown", "warning", "cancelled", "drifted"
    }  # fmt: skip
    assert any("STILL RUNNING on vm1" in remark.text for remark in state.remarks)


def asked(number: int, **values: Any) -> Asked:
    return Asked(id=f"q{number}", step="a", kind="confirm", text="go?", **values)


def answered(number: int) -> Answered:
    return Answered(id=f"q{number}", value="go", by="ana", via="tui")


def test_the_open_question_and_those_of_a_program_that_ended() -> None:
    state = replay(records(STARTED, asked(1), answered(1), asked(2)))
    assert state.open_question and state.open_question.asked.id == "q2"
    state.apply(records(RESUMED)[0])
    assert state.open_question is None and state.questions_asked == 2
    for record in records(asked(3), answered(3), answered(3)):
        state.apply(record)
    assert state.open_question is None and state.questions["q3"].answered


def test_people_and_machines_and_absence_are_told_apart() -> None:
    now = stamp(datetime(2026, 11, 24, 4, 0, tzinfo=UTC))
    state = replay(
        records(
            STARTED,  # 0
            asked(1),  # 10
            100,
            answered(1),  # 110: waited 100
            asked(2),  # 120
            asked(3),  # 130
            answered(2),  # 140
            answered(3),  # 150: waited 30, overlapping
            asked(4),  # 160
            300,
            JournalRepaired(dropped_bytes=1, kept_as="x"),  # 460
            RESUMED,  # 470: away since 160
            RunEnded(verdict="passed"),  # 480
        )
    )
    assert state.times.elapsed(now) == 480
    assert state.times.waited(now) == 130
    assert state.times.gone() == 310
    assert state.times.machine(now) == 40


def test_the_clock_runs_while_a_question_is_open() -> None:
    state = replay(records(STARTED, asked(1)))
    now = stamp(datetime(2026, 11, 24, 3, 1, tzinfo=UTC))
    assert (state.times.elapsed(now), state.times.waited(now), state.times.machine(now)) == (60, 50, 10)


def test_a_withdrawn_question_waits_no_longer() -> None:
    state = replay(records(STARTED, asked(1), QuestionWithdrawn(id="q1", why="what asked it was ended")))
    now = stamp(datetime(2026, 11, 24, 4, 0, tzinfo=UTC))
    assert state.open_question is None
    assert state.times.waited(now) == 10
    state.apply(records(answered(1))[0])
    assert state.questions["q1"].void and state.times.waited(now) == 10


def test_a_shell_while_the_run_stands_still_is_a_persons_time_and_a_remark() -> None:
    opened = {"step": "a", "host": "vm1", "by": "ana"}
    state = replay(
        records(
            STARTED,
            attempt(),
            ShellOpened(id="s1", **opened, standing=True),  # 20
            200,
            ShellClosed(id="s1", host="vm1", seconds=200, exit_status=0),  # 220
            ShellOpened(id="s2", **opened),  # beside the run's work
            ShellClosed(id="s2", host="vm1", seconds=10, exit_status=0),
            ShellOpened(id="s3", **opened),
        )
    )
    assert state.times.waited(state.last_at) == 200
    assert [remark.text for remark in state.remarks] == [
        "A shell was open on vm1 for 3m20. What was done in it is not on record.",
        "A shell was open on vm1 for 10s. What was done in it is not on record.",
        "A shell was open on vm1 until an end that is not on record. What was done in it is not on record.",
    ]
    assert all(remark.by == "ana" for remark in state.remarks)


def test_refused_answers_are_remarks() -> None:
    refused = AnswerRefused(id="q1", given="q0", by="bea", via="tui", why="it came too late")
    state = replay(records(STARTED, asked(1), refused, answered(1)))
    assert [(r.kind, r.text, r.by) for r in state.remarks] == [
        ("answer refused", "q1: it came too late.", "bea")
    ]
    assert state.questions["q1"].answered


def test_events_of_a_newer_program_and_remarks_of_people() -> None:
    state = replay(
        records(STARTED, Unknown("newer", b"{}"), NoteAdded(kind="issue", text="slow", by="ana", step="a"))
    )
    assert state.unknown_events == {"newer": 1}
    assert [(note.kind, note.text, note.by) for note in state.notes] == [("issue", "slow", "ana")]


HOSTS = st.sampled_from(["vm1", "vm2", "operator"])
WHERE = {"step": st.sampled_from(["a", "b"]), "attempt": st.integers(1, 3), "host": HOSTS}
STEP = {"step": WHERE["step"], "attempt": WHERE["attempt"]}
QUESTION = st.sampled_from(["q1", "q2"])
EVENTS = st.one_of(
    st.just(STARTED),
    st.just(RESUMED),
    st.builds(RunEnded, verdict=st.sampled_from(["passed", "stopped"])),
    st.builds(AttemptStarted, **STEP, hosts=st.tuples(HOSTS)),
    st.builds(Probed, **WHERE, satisfied=st.sampled_from([True, False, None]), summary=st.just("")),
    st.builds(ActStarted, **WHERE, digest=st.just("d")),
    st.builds(ActEnded, **WHERE, outcome=st.sampled_from(["done", "failed"]), summary=st.just("")),
    st.builds(JobEnded, **WHERE, job=st.just("j"), exit_status=st.none()),
    st.builds(StepEnded, **STEP, verdict=st.just("pass"), how=st.just("acted")),
    st.builds(CancelConfirmed, step=WHERE["step"], host=HOSTS, gone=st.none()),
    st.builds(Asked, id=QUESTION, step=WHERE["step"], kind=st.just("confirm"), text=st.just("")),
    st.builds(Answered, id=QUESTION, value=st.just(""), by=st.just(""), via=st.just("")),
    st.builds(AnswerRefused, id=QUESTION, given=QUESTION, by=st.just(""), via=st.just(""), why=st.just("")),
    st.builds(QuestionWithdrawn, id=QUESTION, why=st.just("")),
    st.builds(ShellOpened, id=QUESTION, step=WHERE["step"], host=HOSTS, by=st.just("")),
    st.builds(ShellClosed, id=QUESTION, host=HOSTS, seconds=st.just(1.0), exit_status=st.none()),
    st.builds(ReportWritten, records=st.just(1), files=st.just({})),
)  # fmt: skip


@given(st.lists(EVENTS, max_size=25))
@settings(max_examples=60)
def test_any_order_of_events_can_be_folded(events: list[Any]) -> None:
    made = records(*events)
    state = replay(made)
    assert state == replay(made)
    assert state.seq == len(made)
    _ = state.deviations, state.remarks, state.open_question, state.times.machine(state.last_at)
