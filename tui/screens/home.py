"""The first screen: what to recover, which runs are unfinished, whom to call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from runbook.text import printable
from tui import actions
from tui.paper import tone
from tui.widgets.choices import Choice, Choices
from tui.widgets.keybar import KeyBar
from tui.words import MODE, RUN

if TYPE_CHECKING:
    from runbook.record.runs import RunSummary
    from runbook.site.model import Contact
    from runbook.workbench import GuideInfo
    from tui.bridge import Bench

#: finished runs that are listed
RECENT = 8


@dataclass(frozen=True)
class HomeData:
    """Read in one go, off the event loop: files only, no machine is touched."""

    guides: Sequence[GuideInfo] = ()
    runs: Sequence[RunSummary] = ()
    contacts: Sequence[Contact] = ()
    problem: str = ""
    site: str = ""
    known: bool = field(default=False)


def load(bench: Bench) -> HomeData:
    return HomeData(
        bench.guides(), bench.runs(), bench.contacts(), bench.site_problem, bench.site_name, known=True
    )


class Home(Screen[None]):
    BINDINGS = actions.bindings("home")

    class Start(Message):
        def __init__(self, guide: GuideInfo) -> None:
            super().__init__()
            self.guide = guide

    class Resume(Message):
        def __init__(self, run: RunSummary) -> None:
            super().__init__()
            self.run = run

    class Backups(Message):
        pass

    class Report(Message):
        def __init__(self, run: str) -> None:
            super().__init__()
            self.run = run

    def __init__(self) -> None:
        super().__init__()
        self.data = HomeData()

    def compose(self) -> ComposeResult:
        yield Static(self._head(), id="home-head", markup=False)
        with VerticalScroll(id="home-list", can_focus=False):
            yield Choices(id="home-choices")
        yield Static(id="home-foot", markup=False)
        yield KeyBar("home")

    def on_mount(self) -> None:
        self.query_one(Choices).focus()

    def show(self, data: HomeData, left: str = "") -> None:
        """``left``: the run that was just left. It is marked while it can go on, else a run that was
        cut off: Enter goes on with it."""
        self.data = data
        self.query_one("#home-head", Static).update(self._head())
        self.query_one(Choices).set_items(self._items(), self._to_go_on(left))
        self.query_one("#home-foot", Static).update(self._foot())

    def _to_go_on(self, left: str) -> str:
        able = [run for run in self.data.runs if run.unfinished and run.status != "running"]
        cut_off = (run for run in able if run.id == left or (not left and run.status == "unfinished"))
        return next((f"run:{run.id}" for run in cut_off), "")

    # ── drawing ────────────────────────────────────────────────────────────────────────────
    def _head(self) -> Content:
        site = printable(self.data.site, limit=80) or ("no settings" if self.data.known else "")
        return Content.assemble((" Recovery runbook ", "bold reverse"), (f"  {site}", "bold"))

    def _items(self) -> list[Choice]:
        items = [Choice("", "What is to be recovered?", heading=True)]
        items += [Choice(f"guide:{guide.name}", guide.title, guide.summary) for guide in self.data.guides]
        open_runs = [run for run in self.data.runs if run.unfinished]
        if open_runs:
            items.append(Choice("", "Unfinished runs", "Enter goes on with one", heading=True))
            items += [self._run_item(run) for run in open_runs]
        finished = [run for run in self.data.runs if not run.unfinished]
        if finished:
            items.append(Choice("", "Earlier runs", "Enter or r: report", heading=True))
            items += [self._run_item(run) for run in finished[:RECENT]]
        return items

    def _run_item(self, run: RunSummary) -> Choice:
        mark = RUN.get(run.status, RUN["unreadable"])
        at = f" at step {run.step}" if run.unfinished and run.step else ""
        began = f" · {run.started[:16].replace('T', ' ')} UTC" if run.started else ""
        wrong = f": {printable(run.problem, limit=200)}" if run.problem else ""
        return Choice(f"run:{run.id}", run.id, f"{mark}{wrong}{at} · {run.mode.upper() or '?'}{began}")

    def _foot(self) -> Content:
        contact = printable(one_line(self.data.contacts), limit=200)
        parts: list[tuple[str, str]] = [(" Emergency contact: ", "bold"), (contact, "")]
        if self.data.problem:
            first = self.data.problem.split("\n")[0].split(". ")[0].rstrip(".")
            parts.append(("\n Practice only ", tone("warning") + " bold"))
            shown = f"! Drill and recovery cannot start: {printable(first, limit=300)}."
            parts.append((shown, tone("warning")))
        return Content.assemble(*parts)

    # ── keys ───────────────────────────────────────────────────────────────────────────────
    def _run(self, value: str) -> RunSummary | None:
        return next((run for run in self.data.runs if f"run:{run.id}" == value), None)

    def on_choices_chosen(self, event: Choices.Chosen) -> None:
        event.stop()
        for guide in self.data.guides:
            if event.value == f"guide:{guide.name}":
                self.post_message(self.Start(guide))
        run = self._run(event.value)
        if run is not None and run.unfinished:
            self.post_message(self.Resume(run))
        elif run is not None:
            self.post_message(self.Report(run.id))

    def action_backups(self) -> None:
        self.post_message(self.Backups())

    def action_report(self) -> None:
        run = self._run(self.query_one(Choices).value)
        if run is None:
            self.notify("Mark a run first; guides have no report.", markup=False)
        else:
            self.post_message(self.Report(run.id))


def mode_choices(guide: GuideInfo, problem: str) -> list[Choice]:
    """Practice first: it is the harmless one."""
    choices = []
    for mode, meaning in MODE.items():
        if mode not in guide.modes:
            choices.append(Choice(mode, mode.upper(), "this guide is not made for it", disabled=True))
        elif mode != "practice" and problem:
            choices.append(Choice(mode, mode.upper(), f"not possible: {problem}", disabled=True))
        else:
            choices.append(Choice(mode, mode.upper(), meaning))
    return choices


def one_line(contacts: Sequence[Contact]) -> str:
    """The first contact, for the home screen."""
    if not contacts:
        return "nobody is named in the settings"
    first = contacts[0]
    more = f" (and {len(contacts) - 1} more)" if len(contacts) > 1 else ""
    return " · ".join(part for part in (first.name, first.role, first.phone or first.email) if part) + more
