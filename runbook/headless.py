"""The second front end: plain lines on stderr, questions on a terminal, or --yes."""

from __future__ import annotations

import asyncio
import getpass
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from runbook.errors import WaitsForPerson
from runbook.events import (
    ActEnded,
    ActStarted,
    Asked,
    AttemptStarted,
    CancelConfirmed,
    CheckDone,
    JobStarted,
    JournalRepaired,
    Live,
    Noted,
    Output,
    Planned,
    Probed,
    Progress,
    Record,
    RunEnded,
    RunResumed,
    RunStarted,
    StepEnded,
    Waiting,
)
from runbook.front import Answer
from runbook.guide import Guide
from runbook.secrets import Secret
from runbook.text import printable
from runbook.units import size

GLYPH = {"pass": "✓", "warn": "!", "fail": "✗", "unknown": "?"}
#: a wait or a progress is repeated at most this often (seconds) for each host and subject
REPEAT = 5.0


class PlainFront:
    """``yes``: answer what may be answered unattended. Without a terminal and without it, a
    question ends the program with exit 3, and the run waits."""

    def __init__(
        self, guide: Guide, by: str, *, yes: bool = False, output: bool = False, stream: TextIO | None = None
    ) -> None:
        self.by, self.yes, self.output = by, yes, output
        self._out = stream or sys.stderr
        self._titles = {step.id: step.title for step in guide.steps}
        self._order = {step.id: number for number, step in enumerate(guide.steps, 1)}
        self._said: dict[tuple[str, ...], float] = {}

    def _print(self, text: str, indent: int = 0) -> None:
        for line in text.split("\n"):
            print(" " * indent + printable(line), file=self._out, flush=True)

    # ── showing ────────────────────────────────────────────────────────────────────────────
    def record(self, record: Record) -> None:
        event = record.event
        match event:
            case RunStarted():
                self._print(f"{event.title} · {event.mode.upper()} · {event.run}")
            case RunResumed():
                self._print(f"Resumed by {event.by}. Earlier steps are looked at again.")
            case JournalRepaired():
                self._print(f"The journal's last line was cut off; kept in {event.kept_as}.")
            case AttemptStarted():
                number, again = self._order.get(event.step, 0), ""
                if event.attempt > 1:
                    again = f" (attempt {event.attempt})"
                title = self._titles.get(event.step, event.step)
                self._print(f"\n── {number}/{len(self._order)} {title}{again} [{event.step}]")
            case CheckDone():
                glyph, phase = GLYPH[event.verdict], "" if event.phase == "after" else "before: "
                word = event.verdict.upper()
                self._print(f"{glyph} {word} {event.host}: {phase}{event.check}: {event.observed}", 2)
                if event.verdict != "pass":
                    self._print(f"expected: {event.expected}", 6)
            case Probed(satisfied=satisfied):
                word = {True: "already so", False: "to do", None: "could not look"}[satisfied]
                self._print(f"· {event.host}: {word}: {event.summary}", 2)
            case Planned():
                self._print(f"→ {event.host}: {event.summary}", 2)
                for item in event.items[:40]:
                    self._print(item, 6)
                if len(event.items) > 40:
                    self._print(f"… and {len(event.items) - 40} more (all in the journal's plan)", 6)
            case ActStarted():
                self._print(f"… {event.host}: started", 2)
            case JobStarted():
                self._print(f"… {event.host}: runs on by itself as job {event.job}", 2)
            case Noted():
                self._print(f"· {event.host}: {event.text}", 2)
            case ActEnded():
                glyph = "✓" if event.outcome == "done" else "✗"
                self._print(
                    f"{glyph} {event.host}: {event.outcome}: {event.summary} {event.next}".rstrip(), 2
                )
            case CancelConfirmed():
                word = {True: "confirmed gone", False: "STILL RUNNING", None: "could not look"}[event.gone]
                self._print(f"! cancelled: {word} on {event.host} {event.detail}", 2)
            case StepEnded():
                glyph = GLYPH[event.verdict]
                reason = f": {event.reason}" if event.reason else ""
                self._print(f"{glyph} {event.verdict.upper()} {event.step} ({event.how}){reason}", 0)
            case RunEnded():
                self._print(f"\nRun {event.verdict}. {event.reason}")
            case _:
                pass

    def live(self, live: Live) -> None:
        match live:
            case Output():
                if self.output:
                    for line in live.lines:
                        print(f"    {live.host} | {line}", file=self._out, flush=True)
            case Progress():
                if self._due("progress", live.host, live.what):
                    self._print(f"… {live.host}: {live.what} {_amount(live)}", 2)
            case Waiting():
                if self._due("waiting", live.host, live.what.split(":")[0]):
                    self._print(f"… {live.host}: waiting for {live.what} (at most {live.limit:.0f} s)", 2)

    def _due(self, *key: str) -> bool:
        now = time.monotonic()
        if now - self._said.get(key, now - REPEAT - 1) < REPEAT:
            return False
        self._said[key] = now
        return True

    # ── asking ─────────────────────────────────────────────────────────────────────────────
    async def answer(self, question: Asked) -> Answer:
        if self.yes and question.unattended:
            return Answer(question.default, self.by, "--yes")
        if self.yes and question.kind == "failed":
            return Answer("stop", self.by, "--yes", reason="unattended: nobody to ask")
        if self.yes or not sys.stdin.isatty():
            raise WaitsForPerson(
                f"Step {question.step or '-'} waits for a person: {printable(question.text)}",
                next="Go on with `runbook resume` on a terminal, or in the app with `runbook`.",
            )
        return await _in_thread(lambda: self._ask(question))

    def _ask(self, question: Asked) -> Answer:
        self._print("\n? " + question.text)
        if question.kind == "secret":
            return Answer("", self.by, "cli", secret=Secret(getpass.getpass("  (not shown) "), "answer"))
        for option in question.options:
            note = f" — {option.consequence}" if option.consequence else ""
            mark = "*" if option.value == question.default else " "
            self._print(f"{mark} {option.value:13} {option.label}{note}", 2)
        values = [option.value for option in question.options]
        while True:
            print("  > ", end="", file=self._out, flush=True)
            typed = sys.stdin.readline()
            if not typed:
                raise WaitsForPerson("The terminal was closed while a question was open.")
            value = typed.strip() or question.default
            if not values or value in values:
                return Answer(value, self.by, "cli")
            self._print(f"Please one of: {', '.join(values)}", 2)


async def _in_thread(ask: Callable[[], Answer]) -> Answer:
    """In a thread that the program does not wait for when it ends: a terminal cannot be unread."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Answer] = loop.create_future()

    def give(setter: Callable[[Any], None], value: object) -> None:
        if not answered.done():
            setter(value)

    def run() -> None:
        try:
            value = ask()
        except BaseException as error:
            loop.call_soon_threadsafe(give, answered.set_exception, error)
        else:
            loop.call_soon_threadsafe(give, answered.set_result, value)

    threading.Thread(target=run, daemon=True, name="question").start()
    return await answered


def _amount(live: Progress) -> str:
    def show(number: float) -> str:
        return size(number) if live.unit == "bytes" else f"{number:,.0f}"

    total = f" of {show(live.total)}" if live.total else ""
    unit = "" if live.unit == "bytes" else f" {live.unit}"
    rate = f", {show(live.per_second)}/s" if live.per_second else ""
    return f"{show(live.done)}{total}{unit}{rate}"
