"""Plain lines: what is said, how it is wrapped, and how questions are answered."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import pytest

from runbook.errors import WaitsForPerson
from runbook.events import (
    ActEnded,
    AnswerRefused,
    Asked,
    CheckDone,
    Event,
    LookingAgain,
    Noted,
    Option,
    Planned,
    Probed,
    Record,
    ShellClosed,
    StepEnded,
    Waiting,
)
from runbook.guide.model import parse
from runbook.headless import PlainFront
from runbook.lines import Lines
from tests.unit.engines import GUIDE

WHERE: dict[str, Any] = {"step": "second", "attempt": 1, "host": "vm1"}


def told(*events: Event, stream: TextIO | None = None, **more: Any) -> str:
    """What is printed of these events, in a pipe."""
    out = stream or io.StringIO()
    front = PlainFront(parse(GUIDE, name="made"), "ana", stream=out, **more)
    for number, event in enumerate(events, 1):
        front.record(Record(number, "", event, ""))
    return out.getvalue() if isinstance(out, io.StringIO) else ""


def check(observed: str) -> CheckDone:
    return CheckDone(**WHERE, phase="after", check="x.y", verdict="fail", expected="e", observed=observed)


# ── whose message it is ────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("event", "line"),
    [
        (check("vm1: no answer"), "✗ FAIL vm1: x.y: no answer"),
        (ActEnded(**WHERE, outcome="failed", summary="vm1: disk full.", next="Make room."),
         "✗ vm1: failed: disk full. Make room."),
        (ActEnded(**WHERE, outcome="failed", summary="vm1 would not."), "✗ vm1: failed: vm1 would not."),
        (Planned(**WHERE, summary="vm1: set it", items=(), changes="", digest=""), "→ vm1: set it"),
        (Noted(**WHERE, text="vm1: chosen"), "· vm1: chosen"),
        (Probed(**WHERE, satisfied=None, summary="vm1: connection refused"),
         "· vm1: not known yet: connection refused"),
        (Probed(**WHERE, satisfied=False, summary="vm10: is not vm1"), "· vm1: to do: vm10: is not vm1"),
    ],
)  # fmt: skip
def test_a_machine_is_named_once(event: Event, line: str) -> None:
    assert told(event).splitlines()[0].strip() == line


def test_looking_again_says_at_which_step_and_what_was_found() -> None:
    out = io.StringIO()
    front = PlainFront(parse(GUIDE, name="made"), "ana", stream=out)
    front.live(Waiting(step="", host="operator", what="which machines there are", limit=60))
    for over in (False, True):
        front.live(LookingAgain(step="second", number=2, steps=2, title="Second", over=over))
    probe = Probed(**WHERE, satisfied=True, summary="there", phase="resume")
    front.record(Record(1, "", probe, ""))
    assert out.getvalue().splitlines() == [
        "  … operator: waiting for which machines there are (at most 60 s)",
        "  … looking again at step 2 of 2: Second",
        "  · 2/2 [second] vm1: as it was: there",
    ]


def test_a_refused_answer_and_a_shell_are_told() -> None:
    refused = AnswerRefused(id="q2", given="q1", by="ana", via="tui", why="it is for another question")
    closed = ShellClosed(id="s1", host="vm2", seconds=192.4, exit_status=0)
    assert told(refused, closed).splitlines() == [
        "  ! an answer was not taken: it is for another question",
        "  · vm2: the shell was open for 3m12",
    ]


# ── wrapping ───────────────────────────────────────────────────────────────────────────────
@contextmanager
def terminal(columns: int) -> Iterator[tuple[TextIO, Any]]:
    """A terminal that wide: what is written to, and a function that reads what came."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    stream = os.fdopen(theirs, "w")

    def read() -> list[str]:
        print("THE END", file=stream, flush=True)
        came = b""
        while not came.endswith(b"THE END\r\n"):
            came += os.read(ours, 100_000)
        return came.decode().replace("\r\n", "\n").removesuffix("\nTHE END\n").split("\n")

    try:
        yield stream, read
    finally:
        stream.close()
        os.close(ours)


LONG = "The volume is full: /var/lib/docker/overlay2/4f2a9c1e8d7b6a5f4e3d2c1b0a9f8e7d has 12 MB left of 40 GB"


def test_long_lines_are_wrapped_with_a_hanging_indent_on_a_terminal() -> None:
    with terminal(60) as (stream, read):
        told(ActEnded(**WHERE, outcome="failed", summary=LONG), stream=stream)
        lines = read()
    assert len(lines) == 3 and all(len(line) <= 60 for line in lines if "/var/lib" not in line)
    assert lines[0].startswith("  ✗ vm1: failed: The volume")
    assert all(line.startswith("    ") and line[4] != " " for line in lines[1:])
    assert any("/var/lib/docker/overlay2/4f2a9c1e8d7b6a5f4e3d2c1b0a9f8e7d" in line for line in lines)
    assert " ".join(" ".join(lines).split()) == f"✗ vm1: failed: {LONG}"


def test_they_are_not_in_a_pipe_nor_where_the_width_is_not_known() -> None:
    assert told(ActEnded(**WHERE, outcome="failed", summary=LONG)) == f"  ✗ vm1: failed: {LONG}\n"
    for columns in (0, 20):  # a terminal that does not say how wide it is; one that is too narrow
        with terminal(columns) as (stream, read):
            told(StepEnded(step="second", attempt=1, verdict="fail", how="acted", reason=LONG), stream=stream)
            assert len(read()) == 1


def test_choices_are_wrapped_below_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    option = Option("retry_failed", "Try the failed hosts again", "vm1, vm2, vm3, vm4, vm5, vm6, vm7, vm8")
    question = Asked(id="q1", step="second", kind="failed", text="What now?", options=(option,))
    monkeypatch.setattr("sys.stdin", io.StringIO("retry_failed\n"))
    with terminal(60) as (stream, read):
        front = PlainFront(parse(GUIDE, name="made"), "ana", stream=stream)
        assert front._ask(question).value == "retry_failed"
        lines = read()
    assert lines[2].startswith("    retry_failed  Try the failed hosts again")
    assert lines[3].startswith(" " * 18 + "vm")


def test_nothing_is_said_to_a_stream_that_is_gone() -> None:
    read, write = os.pipe()
    os.close(read)
    lines = Lines(os.fdopen(write, "w"))
    for _ in range(3):
        lines.say("hello")
    with pytest.raises(BrokenPipeError):
        lines.stream.close()


# ── answering ──────────────────────────────────────────────────────────────────────────────
CHOICES = (Option("retry", "Try again"), Option("shell", "Open a shell"), Option("stop", "Stop"))


async def test_unattended_a_shell_is_never_chosen_and_no_terminal_is_lent() -> None:
    front = PlainFront(parse(GUIDE, name="made"), "ana", yes=True, stream=io.StringIO())
    assert not front.can_lend
    failed = Asked(id="q7", step="second", kind="failed", text="?", options=CHOICES, default="stop")
    answer = await front.answer(failed)
    assert (answer.id, answer.value, answer.via) == ("q7", "stop", "--yes")
    which = Asked(id="q8", step="second", kind="choice", text="Which?", options=CHOICES, default="shell")
    with pytest.raises(WaitsForPerson):
        await front.answer(which)


def test_without_a_terminal_none_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert not PlainFront(parse(GUIDE, name="made"), "ana", stream=io.StringIO()).can_lend


def test_what_may_be_left_out_says_so_and_an_empty_line_is_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    out = io.StringIO()
    front = PlainFront(parse(GUIDE, name="made"), "ana", stream=out)
    asked = Asked(id="q1", step="second", kind="text", text="Why is it skipped?", optional=True)
    assert front._ask(asked).value == ""
    assert "(nothing: back)" in out.getvalue()
