"""One line that answers: where am I, what is it doing, is it stuck, what do I press now."""

from __future__ import annotations

from collections.abc import Mapping

from runbook.events import LookingAgain
from runbook.record.runtime import seconds_between
from runbook.record.state import RunState
from runbook.text import printable
from runbook.units import duration
from tui.bridge import Sign
from tui.sections import View, sign_text, warned
from tui.words import GONE, RUN, STEP, Mark, plural, where

#: seconds without a sign of life after which the line says so aloud
QUIET = 60.0
#: and from when on it is mentioned
SILENT = 5.0


def sentence(
    view: View | None, state: RunState, *, steps: int, heard: float, stopping: bool
) -> tuple[Mark, str]:
    """``view`` is of the step the run is at; ``heard`` the monotonic time of the last sign of life."""
    if state.ended:
        reason = f": {state.ended.reason}".rstrip(".") if state.ended.reason else ""
        if state.ended.verdict == "stopped":
            said = f"Stopped{reason}. q, then enter on the run, goes on. r: report"
            return Mark(RUN["stopped"].glyph, "", RUN["stopped"].tone), printable(said)
        return RUN[state.ended.verdict], printable(f"The run has ended{reason}.  r: report")
    if view is None:
        return Mark("…", "starting", "accent"), ""
    place = f"step {view.number} of {steps}{_warnings(state)}"
    if view.question is not None:
        return STEP["asking"], f"{place} · your answer is needed below"
    if view.looking:
        return Mark("▶", "looking again", "accent"), printable(_looking(view.looking))
    ask = cancelling(state, view)
    if ask:
        return ask
    doing = _doing(view)
    quiet = view.monotonic - heard
    stop = " · then stops" if stopping else ""
    if quiet >= QUIET:
        limit = f" (limit {duration(view.step.timeout)})" if view.step.timeout else ""
        return Mark(
            "▶", "running", "warning"
        ), f"{place} · {doing} · QUIET for {duration(quiet)}{limit}{stop}"
    heard_ago = f" · heard {duration(quiet)} ago" if quiet >= SILENT else ""
    return STEP["running"], f"{place} · {doing}{heard_ago}{stop}"


def _warnings(state: RunState) -> str:
    """Steps that passed with a warning are not to be passed over."""
    count = sum(warned(step) for step in state.steps.values())
    return f" · ! {plural(count, 'warning')}" if count else ""


def cancelling(state: RunState, view: View) -> tuple[Mark, str] | None:
    """While a cancel of this attempt is under way: who is confirmed gone, who is not."""
    attempt = view.attempt
    if attempt is None or not state.cancels:
        return None
    at, request = state.cancels[-1]
    if request.step != view.step.id or at < attempt.started_at or view.known.ended:
        return None
    told = [f"{where(cancel.host)}: {GONE[cancel.gone].word}" for cancel in attempt.cancels]
    left = [where(host.name) for host in attempt.hosts.values() if host.status == "running"]
    if left:
        told.append(f"waiting for {', '.join(left)} to be gone")
    return Mark("■", "cancel requested", "warning"), printable(" · ".join(told) or "asking the machines")


def _looking(looking: Mapping[str, LookingAgain]) -> str:
    """The first of the steps that are looked at on resume; they are looked at side by side."""
    first = min(looking.values(), key=lambda one: one.number)
    more = f" (and {len(looking) - 1} more)" if len(looking) > 1 else ""
    return f"step {first.number} of {first.steps}: {first.title}{more}"


def _doing(view: View) -> str:
    attempt = view.attempt
    if attempt is None:
        sign = _newest(view.signs)
        return sign_text(sign, view.monotonic) if sign else "looking"
    if view.earlier:
        sign = _newest(view.signs)
        return sign_text(sign, view.monotonic) if sign else "looking at what an earlier attempt left"
    running = [host for host in attempt.hosts.values() if host.status == "running"]
    if running:
        longest = max(seconds_between(host.started_at, view.now) for host in running)
        return f"{' '.join(where(host.name) for host in running)} working {duration(longest)}"
    if sign := _newest(view.signs):
        return sign_text(sign, view.monotonic)
    acted = any(host.ended for host in attempt.hosts.values())
    return "checking the result" if acted else "looking before anything is done"


def _newest(signs: dict[str, Sign]) -> Sign | None:
    return max(signs.values(), key=lambda sign: sign.heard, default=None)
