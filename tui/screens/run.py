"""A run, live: steps, the step's detail, the machines' output, the open question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Input, Static, TextArea

from runbook.clock import Clock, stamp
from runbook.errors import EXIT_FAILED, RunbookError
from runbook.events import RunVerdict
from runbook.front import Answer
from runbook.units import parse_duration
from tui import actions
from tui.bridge import Bench, Bridge, Run, exit_code
from tui.paper import tone
from tui.screens.dialogs import problem
from tui.screens.runkeys import RunKeys
from tui.sections import View
from tui.widgets.banner import Banner
from tui.widgets.detail import Detail
from tui.widgets.keybar import KeyBar
from tui.widgets.now import sentence
from tui.widgets.output import OutputPane
from tui.widgets.question import QuestionPanel
from tui.widgets.steps import StepsTree
from tui.words import Mark, clock

if TYPE_CHECKING:
    from runbook.site.model import Contact

#: seconds between two looks at what changed
TICK = 0.1


class RunScreen(RunKeys, Screen[int]):
    """Dismissed with the exit code of the run."""

    BINDINGS = actions.bindings("run")

    def __init__(self, bench: Bench, run: Run, clock: Clock) -> None:
        super().__init__()
        self.bench, self.run, self.clock = bench, run, clock
        self.bridge = Bridge(run.site.operator or bench.operator, clock)
        self.contacts: tuple[Contact, ...] = run.site.contacts or bench.contacts()
        self.verdict: RunVerdict | None = None
        self.error: BaseException | None = None
        self.stopping = False
        #: where the report of the ended run is
        self.written = ""
        #: the step that is looked at; follows the run until a person picks another
        self.looked_at = ""
        self.follow_run = True
        self._target = _seconds(run.guide.rto) or _seconds(run.site.objectives.rto)
        self._drawn = (-1, -1)
        #: which question is shown: its id, and how often it was asked
        self._asked = ("", 0)
        #: drawing failed once; that was said
        self._undrawn = False

    def compose(self) -> ComposeResult:
        yield Banner(self.run.guide.title, self.run.mode, self.run.id, self.run.site.name)
        yield Static(id="now", markup=False)
        with Horizontal(id="panes"):
            yield StepsTree()
            with Vertical(id="work"):
                yield Detail()
                yield OutputPane()
                yield QuestionPanel()
        yield KeyBar("run")

    async def on_mount(self) -> None:
        await self.query_one(QuestionPanel).ask(None)
        self.query_one(Detail).focus()
        if self.can_lend:
            self.bridge.lender = self.lend
        self.set_interval(TICK, self.tick)
        await self.tick()
        self.run_worker(self._drive(), exit_on_error=False, group="drive")

    async def _drive(self) -> None:
        try:
            self.verdict = await self.run.go(self.bridge)
        except Exception as error:
            self.error = error
            self.app.push_screen(problem(error, "The run has stopped here"))
        finally:
            self.bridge.version += 1
            self.remove_class("-big-output")  # why it stopped is said beside it
        if self.verdict is not None:
            self.run_worker(self._keep_report(), exit_on_error=False)

    async def on_unmount(self) -> None:
        await self.run.close()

    # ── what is shown ──────────────────────────────────────────────────────────────────────
    @property
    def driving(self) -> bool:
        return self.verdict is None and self.error is None

    def view(self, step_id: str) -> View:
        number, step = next(
            (number, step) for number, step in enumerate(self.run.guide.steps, 1) if step.id == step_id
        )
        question = self.bridge.question
        now, monotonic = stamp(self.clock.now()), self.clock.monotonic()
        signs, looking = self.bridge.signs, self.bridge.looking
        return View(step, number, self.run.state, question, signs, looking, now, monotonic)

    @property
    def current(self) -> str:
        """The step at which the run is; a question's step counts as that."""
        ids = [step.id for step in self.run.guide.steps]
        asked = self.bridge.question.step if self.bridge.question else ""
        return next((id for id in (asked, self.run.state.current) if id in ids), ids[0])

    async def tick(self) -> None:
        """Ten times a second: nothing when nothing changed; times once a second. A defect in drawing
        is said, once, and does not take the run down."""
        if not self.is_mounted or self.app._batch_count:  # a shell has the terminal
            return
        try:
            await self._tick()
        except Exception as error:
            if not self._undrawn and self.is_mounted:
                self._undrawn = True
                self.app.push_screen(problem(error, "The screen could not be drawn; the run goes on"))

    async def _tick(self) -> None:
        await self._question()
        second = int(self.clock.monotonic())
        known = self.run.state.steps.get(self.bridge.step)
        self.query_one(OutputPane).feed(self.bridge.output, known.last if known else None)
        self._edge()
        state = (self.bridge.version, second)
        if state == self._drawn:
            return
        self._drawn = state
        if self.follow_run:
            self.looked_at = self.current
        self._redraw()
        printed = bool(self.bridge.output) and self.looked_at == self.bridge.step
        self.set_class(printed, "-printed")
        self.set_class(self.bridge.question is not None, "-asking")

    def _edge(self) -> None:
        """What the answer rests on may go on below the fold: said at the pane's lower edge."""
        detail, output, panel = (
            self.query_one(Detail),
            self.query_one(OutputPane),
            self.query_one(QuestionPanel),
        )
        more = "more below: pgdn" if detail.scroll_offset.y < detail.max_scroll_y else ""
        output.border_title = more if panel.display and output.display else ""
        panel.border_title = more if not output.display else ""

    def redraw(self) -> None:
        """At the next tick, whatever changed."""
        self._drawn = (-1, -1)

    def _redraw(self) -> None:
        views = [self.view(step.id) for step in self.run.guide.steps]
        tree = self.query_one(StepsTree)
        tree.show(views)
        looked_at = next(view for view in views if view.step.id == (self.looked_at or self.current))
        tree.mark(looked_at.step.id)
        self.query_one(Detail).show(looked_at)
        state = self.run.state
        begun = self.view(self.current) if state.started else None
        mark, text = sentence(begun, state, steps=len(views), heard=self.bridge.heard, stopping=self.stopping)
        if self.error is not None:
            mark, text = (
                Mark("✗", "not running", "error"),
                "The program stopped. q leaves; then go on with it.",
            )
        elif self.written:
            text += f"\n {self.written}"
        elif not self.follow_run and self.driving:
            text += " · g goes there"
        now = Content.assemble((f" {str(mark).rstrip()} ", f"bold {tone(mark.tone)}"), f" {text}")
        self.query_one("#now", Static).update(now)
        times = state.times
        at = stamp(self.clock.now())
        self.query_one(Banner).set_clock(*clock(self._target, times.elapsed(at)))
        self._keys()

    def _keys(self) -> None:
        typing = isinstance(self.focused, Input | TextArea)
        question = self.bridge.question
        lines_typed = question is not None and question.kind == "evidence" and not question.options
        hidden = {"answer", "send"} if question is None else {"answer" if lines_typed else "send"}
        if not any(host.status == "running" for host in self._hosts_now()):
            hidden.add("cancel")
        self.query_one(KeyBar).set_state(typing=typing, hidden=frozenset(hidden))

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._keys()

    # ── questions ──────────────────────────────────────────────────────────────────────────
    async def _question(self) -> None:
        question = self.bridge.question
        asked = (question.id, self.bridge.asked) if question else ("", 0)
        if asked == self._asked:
            return
        self._asked = asked
        panel = self.query_one(QuestionPanel)
        had_focus = panel.has_focus_within
        if question is not None:
            self.follow_run = True
            self.remove_class("-steps", "-big-output")
        await panel.ask(question)
        if question is None and had_focus:
            self.query_one(Detail).focus()
        self.redraw()

    def on_question_panel_answered(self, message: QuestionPanel.Answered) -> None:
        question = message.question.id
        answer = Answer(question, message.value, self.bridge.by, "tui", secret=message.secret)
        if not self.bridge.reply(answer):
            self.notify("That question is no longer open; nothing was answered.", markup=False)

    def on_steps_tree_picked(self, message: StepsTree.Picked) -> None:
        if message.step != self.looked_at and self.query_one(StepsTree).has_focus:
            self.looked_at = message.step
            self.follow_run = message.step == self.current
            self.redraw()

    @property
    def exit_code(self) -> int:
        if isinstance(self.error, RunbookError):
            return self.error.exit_code
        return EXIT_FAILED if self.error else exit_code(self.verdict, self.run.state)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        return 0.0
