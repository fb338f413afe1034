"""Between the engine and the screen: the engine's front end, and what the app needs of the rest.

Engine and screen share one event loop. Records are folded by the engine into the session's state;
the bridge only counts them (``version``) and keeps what is not on record: output, progress, waits,
the open question. The screen looks ten times a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runbook.clock import Clock
from runbook.errors import EXIT_FAILED, EXIT_OK, EXIT_UNKNOWN, EXIT_WAITS, RunbookError
from runbook.events import (
    ActEnded,
    Asked,
    AttemptStarted,
    CheckDone,
    Live,
    LookingAgain,
    Mode,
    Output,
    Progress,
    Record,
    RunVerdict,
    Waiting,
)
from runbook.front import Answer
from runbook.text import printable

if TYPE_CHECKING:
    from runbook.guide.model import Guide
    from runbook.record.runs import RunSummary
    from runbook.record.state import RunState
    from runbook.site.model import Contact, Site
    from runbook.workbench import GuideInfo

#: lines of one machine's output that are kept for the screen (all of it is in the run's folder)
KEPT_LINES = 5_000
#: (host, command) -> its exit status
Lender = Callable[[str, Sequence[str]], Awaitable[int]]


class Run(Protocol):
    """What the app needs of a Session."""

    id: str
    folder: Path
    guide: Guide
    site: Site
    mode: Mode
    state: RunState

    async def go(self, front: Any) -> RunVerdict: ...
    async def note(self, kind: str, text: str, by: str, step: str = "") -> None: ...
    async def cancel_step(self, by: str) -> bool: ...
    async def stop(self) -> None: ...
    async def recheck(self) -> list[CheckDone]: ...
    async def shell(self, host: str, by: str) -> int: ...
    async def save_report(self) -> list[Path]: ...
    async def close(self) -> None: ...


class Bench(Protocol):
    """What the app needs of a Workbench."""

    def guides(self) -> list[GuideInfo]: ...
    def runs(self) -> list[RunSummary]: ...
    def contacts(self) -> tuple[Contact, ...]: ...
    @property
    def site_problem(self) -> str: ...
    @property
    def site_name(self) -> str: ...
    @property
    def operator(self) -> str: ...
    async def start(
        self, guide: str, mode: Mode, name: str = "", on_wait: Callable[[str], None] = ...
    ) -> Run: ...
    async def resume(self, run: str, on_wait: Callable[[str], None] = ...) -> Run: ...
    def report(self, run: str, form: str = "md") -> str: ...
    def save_report(self, run: str) -> list[Path]: ...


@dataclass
class HostOutput:
    """The newest lines; ``total`` counts all that ever came."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    total: int = 0

    def since(self, seen: int) -> list[str]:
        """The lines after the first ``seen`` ones, as far as they are kept."""
        new = min(self.total - seen, len(self.lines))
        return [self.lines[at] for at in range(len(self.lines) - new, len(self.lines))]


@dataclass(frozen=True)
class Sign:
    """A progress or a wait, and when (monotonic) this subject was first and last heard of."""

    live: Progress | Waiting
    since: float
    heard: float


@dataclass
class Bridge:
    """A FrontEnd that lends its terminal. ``version`` grows with everything that changes the picture;
    ``asked`` counts every time that an answer was waited for, also to the same question again."""

    by: str
    clock: Clock
    version: int = 0
    step: str = ""
    output: dict[str, HostOutput] = field(default_factory=dict)
    signs: dict[str, Sign] = field(default_factory=dict)
    #: earlier steps that are looked at again now
    looking: dict[str, LookingAgain] = field(default_factory=dict)
    question: Asked | None = None
    asked: int = 0
    heard: float = 0.0
    #: gives the terminal to a shell; None where there is none to give
    lender: Lender | None = None
    _answer: asyncio.Future[Answer] | None = None

    def __post_init__(self) -> None:
        self.heard = self.clock.monotonic()

    # ── the engine calls ───────────────────────────────────────────────────────────────────
    def record(self, record: Record) -> None:
        self._changed()
        match record.event:
            case AttemptStarted(step=step):
                if step != self.step:
                    self.step, self.output = step, {}
                self.signs, self.looking = {}, {}
            case ActEnded(host=host):
                self.signs.pop(host, None)
            case CheckDone():
                self.signs = {}
            case _:
                pass

    def live(self, live: Live) -> None:
        self._changed()
        if isinstance(live, Output):
            kept = self.output.setdefault(live.host, HostOutput())
            kept.total += len(live.lines)
            kept.lines.extend(printable(line) for line in live.lines[-KEPT_LINES:])
            return
        if isinstance(live, LookingAgain):
            self.looking.pop(live.step, None)
            self.signs = {host: sign for host, sign in self.signs.items() if sign.live.step}
            if not live.over:
                self.looking[live.step] = live
            return
        now, before = self.clock.monotonic(), self.signs.get(live.host)
        same = before is not None and (type(before.live), before.live.what) == (type(live), live.what)
        self.signs[live.host] = Sign(live, before.since if same and before else now, now)

    async def answer(self, question: Asked) -> Answer:
        self._answer = asyncio.get_running_loop().create_future()
        self.question = question
        self.asked += 1
        self._changed()
        try:
            return await self._answer
        finally:
            self.question = self._answer = None
            self._changed()

    @property
    def can_lend(self) -> bool:
        return self.lender is not None

    async def lend(self, host: str, argv: Sequence[str]) -> int:
        if self.lender is None:
            raise RunbookError("This terminal cannot be lent.")
        return await self.lender(host, argv)

    # ── the screen calls ───────────────────────────────────────────────────────────────────
    def reply(self, answer: Answer) -> bool:
        """False when no question is open any more. Whether it answers the one that is open is for the
        engine to say."""
        if self._answer is None or self._answer.done():
            return False
        self._answer.set_result(answer)
        return True

    def _changed(self) -> None:
        self.version += 1
        self.heard = self.clock.monotonic()


def exit_code(verdict: RunVerdict | None, state: RunState) -> int:
    """The program's exit code after a run; ``verdict`` None: it was left and can be resumed."""
    if verdict == "passed":
        return EXIT_OK
    if verdict not in (None, "stopped"):
        return EXIT_FAILED
    last = [step.last for step in state.steps.values() if step.last]
    if any(host.outcome == "unknown" for attempt in last for host in attempt.hosts.values()):
        return EXIT_UNKNOWN
    failed = any(step.verdict == "fail" for step in state.steps.values())
    return EXIT_FAILED if failed else EXIT_WAITS
