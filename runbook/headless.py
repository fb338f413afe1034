"""The second front end: plain lines on stderr, questions on a terminal, or --yes."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from runbook import terminal
from runbook.errors import RunbookError, WaitsForPerson
from runbook.events import (
    ActEnded,
    ActStarted,
    AnswerRefused,
    Asked,
    AttemptStarted,
    CancelConfirmed,
    CheckDone,
    JobStarted,
    JournalRepaired,
    Live,
    LookingAgain,
    Noted,
    Output,
    Planned,
    Probed,
    Progress,
    Record,
    RunEnded,
    RunResumed,
    RunStarted,
    ShellClosed,
    StepEnded,
    Waiting,
)
from runbook.front import Answer
from runbook.guide.model import Guide
from runbook.lines import Lines
from runbook.secrets import Secret
from runbook.text import printable
from runbook.units import duration
from runbook.wording import amount, place, unnamed

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
        self._lines = Lines(stream or sys.stderr)
        self._titles = {step.id: step.title for step in guide.steps}
        self._order = {step.id: number for number, step in enumerate(guide.steps, 1)}
        self._said: dict[tuple[str, ...], float] = {}

    # ── showing ────────────────────────────────────────────────────────────────────────────
    def record(self, record: Record) -> None:
        event = record.event
        match event:
            case RunStarted():
                self._lines.say(f"{event.title} · {event.mode.upper()} · {event.run}")
            case RunResumed():
                self._lines.say(f"Resumed by {event.by}. Earlier steps are looked at again.")
            case JournalRepaired():
                self._lines.say(f"The journal's last line was cut off; kept in {event.kept_as}.")
            case AttemptStarted():
                again = f" (attempt {event.attempt})" if event.attempt > 1 else ""
                title = self._titles.get(event.step, event.step)
                self._lines.say(f"\n── {self._place(event.step)} {title}{again} [{event.step}]")
            case CheckDone():
                glyph, phase = GLYPH[event.verdict], "" if event.phase == "after" else "before: "
                word, observed = event.verdict.upper(), unnamed(event.host, event.observed)
                self._lines.say(f"{glyph} {word} {event.host}: {phase}{event.check}: {observed}", 2)
                if event.verdict != "pass":
                    self._lines.say(f"expected: {event.expected}", 6)
            case Probed(satisfied=satisfied):
                word = {True: "already so", False: "to do", None: "not known yet"}[satisfied]
                where = event.host
                if event.phase == "resume":
                    word = {True: "as it was", False: "NOT AS IT WAS", None: "could not look"}[satisfied]
                    where = f"{self._place(event.step)} [{event.step}] {event.host}"
                self._lines.say(f"· {where}: {word}: {unnamed(event.host, event.summary)}", 2)
            case Planned():
                self._lines.say(f"→ {event.host}: {unnamed(event.host, event.summary)}", 2)
                for item in event.items[:40]:
                    self._lines.say(item, 6)
                if len(event.items) > 40:
                    self._lines.say(f"… and {len(event.items) - 40} more (all in the journal's plan)", 6)
            case ActStarted():
                self._lines.say(f"… {event.host}: started", 2)
            case JobStarted():
                self._lines.say(f"… {event.host}: runs on by itself as job {event.job}", 2)
            case Noted():
                self._lines.say(f"· {event.host}: {unnamed(event.host, event.text)}", 2)
            case ActEnded():
                glyph = "✓" if event.outcome == "done" else "✗"
                said = f"{unnamed(event.host, event.summary)} {event.next}".rstrip()
                self._lines.say(f"{glyph} {event.host}: {event.outcome}: {said}", 2)
            case CancelConfirmed():
                word = {True: "confirmed gone", False: "STILL RUNNING", None: "could not look"}[event.gone]
                self._lines.say(f"! cancelled: {word} on {event.host} {event.detail}", 2)
            case AnswerRefused():
                self._lines.say(f"! an answer was not taken: {event.why}", 2)
            case ShellClosed():
                self._lines.say(f"· {event.host}: the shell was open for {duration(event.seconds)}", 2)
            case StepEnded():
                glyph = GLYPH[event.verdict]
                reason = f": {event.reason}" if event.reason else ""
                self._lines.say(f"{glyph} {event.verdict.upper()} {event.step} ({event.how}){reason}", 0)
            case RunEnded():
                self._lines.say(f"\nRun {event.verdict}. {event.reason}".rstrip())
            case _:
                pass

    def live(self, live: Live) -> None:
        match live:
            case Output():
                if self.output:
                    for line in live.lines:
                        self._lines.raw(f"    {live.host} | {line}\n")
            case Progress():
                if self._due("progress", live.host, live.what):
                    self._lines.say(f"… {live.host}: {live.what} {amount(live)}", 2)
            case Waiting():
                if self._due("waiting", live.host, live.what.split(":")[0]):
                    limit = f"(at most {live.limit:.0f} s)"
                    self._lines.say(f"… {live.host}: waiting for {live.what} {limit}", 2)
            case LookingAgain(over=False):
                self._lines.say(f"… looking again at step {live.number} of {live.steps}: {live.title}", 2)
            case _:
                pass

    def _place(self, step: str) -> str:
        return f"{self._order.get(step, 0)}/{len(self._order)}"

    def _due(self, *key: str) -> bool:
        now = time.monotonic()
        if now - self._said.get(key, now - REPEAT - 1) < REPEAT:
            return False
        self._said[key] = now
        return True

    # ── asking ─────────────────────────────────────────────────────────────────────────────
    async def answer(self, question: Asked) -> Answer:
        if self.yes and question.unattended:
            return Answer(question.id, question.default, self.by, "--yes")
        if self.yes and question.kind == "failed":
            return Answer(question.id, "stop", self.by, "--yes", reason="unattended: nobody to ask")
        if self.yes or not sys.stdin.isatty():
            raise WaitsForPerson(
                f"Step {question.step or '-'} waits for a person: {printable(question.text)}",
                next="Go on with `runbook resume` on a terminal, or in the app with `runbook`.",
            )
        return await terminal.unwaited(lambda: self._ask(question))

    def _ask(self, question: Asked) -> Answer:
        self._lines.say("\n? " + question.text)
        if question.kind == "secret":
            secret = Secret(getpass.getpass("  (not shown) "), "answer")
            return Answer(question.id, "", self.by, "cli", secret=secret)
        for option in question.options:
            note = f" — {option.consequence}" if option.consequence else ""
            mark = "*" if option.value == question.default else " "
            self._lines.say(f"{mark} {option.value:13} {option.label}{note}", 2, hang=16)
        if question.optional:
            self._lines.say("(nothing: back)", 2)
        values = [option.value for option in question.options]
        while True:
            self._lines.raw("  > ")
            typed = sys.stdin.readline()
            if not typed:
                raise WaitsForPerson("The terminal was closed while a question was open.")
            value = typed.strip() or question.default
            if not values or value in values:
                return Answer(question.id, value, self.by, "cli")
            self._lines.say(f"Please one of: {', '.join(values)}", 2)

    # ── lending the terminal ───────────────────────────────────────────────────────────────
    @property
    def can_lend(self) -> bool:
        return not self.yes and sys.stdin.isatty() and self._lines.stream.isatty()

    async def lend(self, host: str, argv: Sequence[str]) -> int:
        self._lines.say(f"\nA shell on {place(host)}. `exit` brings you back; what you do is not on record.")
        try:
            return await terminal.run(argv, stdout=self._lines.stream.fileno())
        except OSError as error:
            raise RunbookError(f"{place(host)}: no shell: {argv[0]}: {error.strerror}.") from None
