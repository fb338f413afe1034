"""What the detail pane says of a step, in the order in which it matters now.

Pure: run state, guide and live signs in, text out. When something is asked, what the answer rests
on comes first; otherwise what happens comes first, and what the guide says of the step last.
"""

from __future__ import annotations

from dataclasses import dataclass

from runbook.events import Asked, LookingAgain, Waiting
from runbook.guide.model import Step
from runbook.record.runtime import seconds_between
from runbook.record.state import AttemptState, HostState, RunState, StepState
from runbook.text import printable
from runbook.units import duration, size
from runbook.wording import amount, unnamed
from tui import prose
from tui.bridge import Sign
from tui.paper import Paper, tone
from tui.words import CHECK, GONE, HOST, STEP, Mark, plural, where

#: plan items and check results shown of each kind; the journal has all
MOST = 200


@dataclass(frozen=True)
class View:
    """What is known of one step at one moment. ``now``: as the journal writes times."""

    step: Step
    number: int
    state: RunState
    question: Asked | None
    signs: dict[str, Sign]
    looking: dict[str, LookingAgain]
    now: str
    monotonic: float

    @property
    def known(self) -> StepState:
        return self.state.steps.get(self.step.id) or StepState(self.step.id)

    @property
    def attempt(self) -> AttemptState | None:
        return self.known.last

    @property
    def asked(self) -> bool:
        return self.question is not None and self.question.step == self.step.id

    @property
    def earlier(self) -> bool:
        """The run goes on here, and what is known is still of an attempt before that."""
        attempt, resumed = self.attempt, self.state.resumed
        if attempt is None or not resumed or self.state.ended or self.state.current != self.step.id:
            return False
        begun_before = max(attempt.started_at, self.known.ended_at) < resumed[-1][0]
        return begun_before and self.known.status in ("running", "failed")

    @property
    def mark(self) -> Mark:
        if self.asked:
            return STEP["asking"]
        if self.earlier or self.step.id in self.looking:
            return Mark("▶", "looking", "accent")
        return STEP["warned" if self.warned else self.known.status]

    @property
    def warned(self) -> bool:
        """It passed, and a check had a warning."""
        return warned(self.known)

    @property
    def seconds(self) -> float:
        """Since the step began, what a person took to answer left out."""
        whole = seconds_between(self.known.started_at, self.known.ended_at or self.now)
        waited = (
            seconds_between(question.asked_at, question.answered_at or self.now)
            for question in self.state.questions.values()
            if question.asked.step == self.step.id and not question.void
        )
        lent = (
            seconds_between(shell.opened_at, shell.closed_at or self.now)
            for shell in self.state.shells.values()
            if shell.opened.step == self.step.id and shell.opened.standing
        )
        return max(whole - sum(waited) - sum(lent), 0.0)

    @property
    def acted(self) -> bool:
        """What the step is for may hold now: something was done, or there is nothing to do."""
        if not self.step.action:
            return True
        attempts = self.known.attempts
        begun = any(host.started_at for attempt in attempts for host in attempt.hosts.values())
        return begun or any(check.phase == "after" for attempt in attempts for check in attempt.checks)


def warned(step: StepState) -> bool:
    return step.status == "passed" and step.ended is not None and step.ended.verdict == "warn"


def draw(view: View, paper: Paper) -> None:
    """The whole detail of one step."""
    _title(view, paper)
    attempt = view.attempt
    if attempt is None:
        prose.write(paper, _about(view.step))
        _promise(view, paper)
        return
    if not view.asked:
        paper.text(prose.first_paragraph(view.step.prose), tone("muted"))
    if view.earlier:
        paper.heading("Earlier attempt", "before the run was resumed; it is looked at again now")
    _outcome(view, paper)
    kind = view.question.kind if view.asked and view.question else ""
    if kind in ("failed", "text"):
        _hosts(view, paper, attempt)
        _checks(view, paper, "after", bad_first=True)
        _checks(view, paper, "before", bad_first=True)
        _plan(paper, attempt)
    elif kind:
        _plan(paper, attempt)
        _checks(view, paper, "before")
        _hosts(view, paper, attempt)
        _checks(view, paper, "after")
    else:
        _hosts(view, paper, attempt)
        _checks(view, paper, "after")
        _checks(view, paper, "before")
        _plan(paper, attempt)
    _looked_back(view, paper)
    _notes(view, paper, attempt)
    paper.heading("What the guide says")
    prose.write(paper, _about(view.step))


def _about(step: Step) -> str:
    return step.prose.strip() or "The guide says nothing more about this step."


def _title(view: View, paper: Paper) -> None:
    attempt = view.attempt
    again = f" · attempt {attempt.number}" if attempt and attempt.number > 1 else ""
    took = f" {duration(view.seconds)}" if attempt else ""
    aside = f"{where(view.step.on)} · {view.mark}{took}{again}"
    paper.heading(f"{view.number}  {view.step.title}", aside)


def _promise(view: View, paper: Paper) -> None:
    step = view.step
    if step.changes:
        paper.blank()
        paper.text(f"It {step.changes}.", "bold")
    for phase, calls in (("Checked before", step.before), ("Checked after", step.after)):
        if calls:
            paper.heading(phase)
            for call in calls:
                paper.item(call.text)


def _outcome(view: View, paper: Paper) -> None:
    ended = view.known.ended
    if ended is None or view.known.status == "passed":
        return
    by = f" (by {ended.by})" if ended.by else ""
    paper.blank()
    paper.mark(STEP[view.known.status], f"{ended.reason}{by}")


def _hosts(view: View, paper: Paper, attempt: AttemptState) -> None:
    cancels = {cancel.host: cancel for cancel in attempt.cancels}
    hosts = [host for host in attempt.hosts.values() if host.status != "waiting" or host.probe]
    if not hosts and not view.signs and not cancels:
        return
    paper.heading("Machines")
    names = [host.name for host in hosts]
    pad = max((len(where(name)) for name in [*names, *view.signs]), default=0)
    for host in hosts:
        _host(view, paper, host, pad)
    for name, sign in view.signs.items():
        if name not in names and view.step.id == sign.live.step:
            paper.mark(HOST["running"], f"{where(name):<{pad}}  {sign_text(sign, view.monotonic)}", 2)
    for name, cancel in cancels.items():
        paper.mark(GONE[cancel.gone], f"on {where(name)} after the cancel. {cancel.detail}", 2)


def _host(view: View, paper: Paper, host: HostState, pad: int) -> None:
    mark = HOST[host.status]
    if host.status == "waiting" and host.probe and host.probe.satisfied:
        mark = HOST["already"]
    took = duration(seconds_between(host.started_at, host.ended_at or view.now)) if host.started_at else ""
    sign = view.signs.get(host.name)
    if host.status == "running":
        said = sign_text(sign, view.monotonic) if sign and sign.live.step == view.step.id else ""
    else:
        said = unnamed(host.name, host.summary)
    text = "  ".join(part for part in (f"{where(host.name):<{pad}}", took, said) if part)
    paper.mark(mark, text, 2)
    if host.ended and host.ended.next:
        paper.text(f"Next: {host.ended.next}", "bold", 6)
    if host.ended and host.ended.output:
        what = f"all output: {host.ended.output} ({size(host.ended.output_bytes)})"
        paper.text(what, tone("muted"), 6)


def sign_text(sign: Sign, now: float) -> str:
    """One line about a progress or a wait."""
    live = sign.live
    if isinstance(live, Waiting):
        return f"waiting for {live.what} ({duration(now - sign.since)} of at most {duration(live.limit)})"
    return f"{live.what} {amount(live)}"


def _checks(view: View, paper: Paper, phase: str, *, bad_first: bool = False) -> None:
    attempt = view.attempt
    assert attempt is not None
    marked = view.state.mode != "practice"  # there all of it is, as the top line says
    found = [check for check in attempt.checks if check.phase == phase]
    if not found:
        return
    if bad_first:
        found.sort(key=lambda check: check.verdict in ("pass", "warn"))
    paper.heading("Checks after the step" if phase == "after" else "Checks before the step")
    for check in found[:MOST]:
        extra = "" if check.required else " (not required)"
        simulated = " (simulated)" if check.simulated and marked else ""
        said = f"{where(check.host)}  {check.check}: {unnamed(check.host, check.observed)}{extra}{simulated}"
        paper.mark(CHECK[check.verdict], said, 2, 4)
        if check.verdict != "pass":
            paper.text(f"expected: {check.expected}", tone("muted"), 9)
    _more(paper, len(found))


def _plan(paper: Paper, attempt: AttemptState) -> None:
    plans = [host.plan for host in attempt.hosts.values() if host.plan]
    if not plans:
        return
    changes = next((plan.changes for plan in plans if plan.changes), "")
    paper.heading("Plan", changes)
    for plan in plans:
        paper.text(f"{where(plan.host)}: {unnamed(plan.host, plan.summary)}", "bold", 2)
        for item in plan.items[:MOST]:
            for line in item.split("\n")[:MOST]:
                paper.item(line, " " if line[:1].isspace() else "→", 4, _diff_tone(line))
        _more(paper, len(plan.items))


def _diff_tone(line: str) -> str:
    return tone({"+": "success", "-": "error"}.get(line.lstrip()[:1], ""))


def _more(paper: Paper, count: int) -> None:
    if count > MOST:
        paper.text(f"… and {plural(count - MOST, 'more line')} (all in the journal)", tone("muted"), 4)


def _looked_back(view: View, paper: Paper) -> None:
    if not view.known.looked_back:
        return
    paper.heading("Looked at again on resume")
    words = {True: HOST["already"], False: Mark("!", "changed", "warning"), None: GONE[None]}
    for probe in view.known.looked_back[-MOST:]:
        said = unnamed(probe.host, probe.summary)
        paper.mark(words[probe.satisfied], f"{where(probe.host)}  {said}", 2)


def _notes(view: View, paper: Paper, attempt: AttemptState) -> None:
    said = [note for note in view.state.notes if note.step == view.step.id]
    shells = [shell for shell in view.state.shells.values() if shell.opened.step == view.step.id]
    if not said and not attempt.notes and not shells:
        return
    paper.heading("On record")
    for note in attempt.notes[-MOST:]:
        text = unnamed(note.host, note.text)
        paper.item(f"{where(note.host)}: {text}" if note.host else text)
    for shell in shells[-MOST:]:
        long = f" for {duration(shell.closed.seconds)}" if shell.closed else ", its end is not on record"
        paper.item(f"{where(shell.opened.host)}: a shell was open{long} (by {shell.opened.by})")
    for note in said[-MOST:]:
        paper.item(f"{note.kind.upper()} by {note.by}: {printable(note.text)}", "✎")
