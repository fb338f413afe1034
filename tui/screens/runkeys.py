"""What the keys of a run do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual.screen import Screen

from runbook import terminal
from runbook.errors import RunbookError
from runbook.record.state import HostState
from runbook.text import printable
from tui.paper import Paper
from tui.screens.dialogs import Pick, Read, Write, inner_width, problem
from tui.widgets.choices import Choice
from tui.widgets.detail import Detail
from tui.widgets.output import OutputPane
from tui.widgets.question import QuestionPanel
from tui.widgets.steps import StepsTree
from tui.words import CHECK, where

#: what ssh ends with when it could not connect
NO_CONNECTION = 255

if TYPE_CHECKING:
    from tui.bridge import Bench, Bridge, Run
    from tui.sections import View


class RunKeys(Screen[Any]):
    """The action methods; RunScreen has the state."""

    if TYPE_CHECKING:
        bench: Bench
        run: Run
        bridge: Bridge
        looked_at: str
        follow_run: bool
        stopping: bool
        written: str

        @property
        def current(self) -> str: ...
        @property
        def driving(self) -> bool: ...
        @property
        def exit_code(self) -> int: ...
        def redraw(self) -> None: ...
        def view(self, step_id: str) -> View: ...

    def _hosts_now(self) -> list[HostState]:
        step = self.run.state.steps.get(self.run.state.current)
        return list(step.last.hosts.values()) if step and step.last else []

    # ── looking ────────────────────────────────────────────────────────────────────────────
    def action_pane(self) -> None:
        """Steps → detail → output → question → steps; in a narrow terminal steps have the screen."""
        order: list[Any] = [self.query_one(StepsTree), self.query_one(Detail)]
        output, panel = self.query_one(OutputPane), self.query_one(QuestionPanel)
        if output.display:
            order.append(output.log_widget)
        if panel.display:
            order += list(panel.query("#answer, #file"))
        at = next((n for n, widget in enumerate(order) if widget is self.focused), len(order) - 1)
        target = order[(at + 1) % len(order)]
        self.set_class(target is order[0], "-steps")
        self.call_after_refresh(target.focus)

    def action_output(self) -> None:
        output = self.query_one(OutputPane)
        if not self.has_class("-printed"):
            self.notify("No machine has printed anything in this step yet.", markup=False)
            return
        self.remove_class("-steps")
        self.toggle_class("-big-output")
        self.call_after_refresh((output.log_widget if self.has_class("-big-output") else self._rest()).focus)

    def _rest(self) -> Any:
        panel = self.query_one(QuestionPanel)
        return panel.query("#answer").first() if panel.display else self.query_one(Detail)

    def action_host(self, number: int) -> None:
        self.query_one(OutputPane).choose(number)
        self.redraw()

    def action_follow(self) -> None:
        self.query_one(OutputPane).follow()
        self.redraw()

    def action_current(self) -> None:
        self.follow_run = True
        self.remove_class("-steps")
        self._rest().focus()
        self.redraw()

    def key_pageup(self) -> None:
        self.query_one(Detail).scroll_page_up(animate=False)

    def key_pagedown(self) -> None:
        self.query_one(Detail).scroll_page_down(animate=False)

    def key_escape(self) -> None:
        if self.has_class("-big-output"):
            self.action_output()
        elif not self.query_one(QuestionPanel).decline():
            self.action_current()

    # ── the record ─────────────────────────────────────────────────────────────────────────
    async def action_send(self) -> None:
        await self.query_one(QuestionPanel).send()

    def action_note(self, kind: str) -> None:
        step = self.looked_at or self.current

        def write(text: str | None) -> None:
            if text:
                self._do(self.run.note(kind, text, self.bridge.by, step), f"Your {kind} is on record.")

        self.app.push_screen(
            Write(f"{kind.capitalize()} on step {step}", "Goes on the record with the time."), write
        )

    def _do(self, work: Any, said: str = "") -> None:
        async def doing() -> None:
            try:
                await work
            except Exception as error:
                self.app.push_screen(problem(error))
                return
            if said:
                self.notify(said, markup=False)

        self.run_worker(doing(), exit_on_error=False)

    def action_report(self) -> None:
        from tui.screens.report import ReportScreen

        self.app.push_screen(ReportScreen(self.bench, self.run.id, self.run.save_report))

    async def _keep_report(self) -> None:
        """The run has ended: its report is written, without being asked."""
        try:
            paths = await self.run.save_report()
        except Exception as error:
            self.app.push_screen(problem(error, "The report could not be written"))
            return
        self.written = ", ".join(printable(str(path)) for path in paths[:1])
        self.redraw()

    # ── checks, cancel, shell ──────────────────────────────────────────────────────────────
    def action_checks(self) -> None:
        self.notify("Running the step's checks, read-only …", markup=False)
        self.run_worker(self._recheck(), exit_on_error=False, exclusive=True, group="recheck")

    async def _recheck(self) -> None:
        try:
            results = await self.run.recheck()
        except Exception as error:
            self.app.push_screen(problem(error, "The checks could not be run"))
            return
        paper = Paper(inner_width(self.size.width))
        view = self.view(self.current)
        later = set() if view.acted else {call.text for call in view.step.after}
        later -= {call.text for call in view.step.before}
        for done in results:
            if done.check in later:
                continue
            paper.mark(CHECK[done.verdict], f"{where(done.host)}  {done.check}: {done.observed}", 0, 4)
            if done.verdict != "pass":
                paper.text(f"expected: {done.expected}", "dim", 7)
        if not results:
            paper.text("This step has no checks.")
        if later:
            paper.heading("Only after the step", "nothing is done yet, so they cannot hold")
            for text in sorted(later):
                paper.item(text)
        self.app.push_screen(Read("Checks now (off the record)", paper.content))

    def action_cancel(self) -> None:
        running = [where(host.name) for host in self._hosts_now() if host.status == "running"]
        if not running or not self.driving:
            self.notify("Nothing runs that could be cancelled.", markup=False)
            return
        names = ", ".join(running)
        choices = (
            Choice("no", "Let it go on", "nothing happens"),
            Choice("yes", "Cancel it", "each machine is asked to stop it, and then looked at"),
        )

        def cancel(choice: str | None) -> None:
            if choice == "yes":
                self.run_worker(self._cancel(), exit_on_error=False)

        text = f"Running on {names}. What it has done so far stays done."
        self.app.push_screen(
            Pick(f"Cancel step {self.run.state.current}?", text, choices, "no", "error"), cancel
        )

    async def _cancel(self) -> None:
        try:
            running = await self.run.cancel_step(self.bridge.by)
        except Exception as error:
            self.app.push_screen(problem(error))
            return
        if not running:
            self.notify("Nothing runs any more that could be cancelled.", markup=False)

    def action_shell(self) -> None:
        hosts = [host.name for host in self._hosts_now()]
        if "operator" not in hosts:
            hosts.append("operator")
        if len(hosts) == 1:
            self._open_shell(hosts[0])
            return
        choices = [Choice(name, where(name)) for name in hosts]
        text = "What you do there is not on record: note it with n. The run goes on meanwhile."
        self.app.push_screen(Pick("A shell on which machine?", text, choices), self._open_shell)

    def _open_shell(self, host: str | None) -> None:
        if host is not None:
            self.run_worker(self._shell(host), exit_on_error=False, exclusive=True, group="shell")

    async def _shell(self, host: str) -> None:
        try:
            status = await self.run.shell(host, self.bridge.by)
        except Exception as error:
            self.app.push_screen(problem(error, f"No shell on {where(host)}"))
            return
        if status == NO_CONNECTION and host != "operator":
            text = f"ssh ended with exit status {status}, as it does when it cannot connect."
            self.app.push_screen(Read(f"No shell on {where(host)}", text))

    @property
    def can_lend(self) -> bool:
        """Is there a terminal that can be lent? (Not in a browser, nor in a test.)"""
        driver = self.app._driver
        return driver is not None and driver.can_suspend

    async def lend(self, host: str, argv: Sequence[str]) -> int:
        """For the engine: see LendsTerminal. Awaited, so that every other machine's work goes on;
        nothing is drawn meanwhile. Nothing may be raised while the app is suspended: it would stay so."""
        status, refused, ended = 0, None, None
        with self.app.batch_update(), self.app.suspend():
            print(f"\nA shell on {where(host)}. `exit` brings you back to the run.\n", flush=True)
            try:
                status = await terminal.run(argv)
            except OSError as error:
                refused = error
            except asyncio.CancelledError as error:
                ended = error
        self.app.refresh(layout=True)
        self.redraw()
        if ended is not None:
            raise ended
        if refused is not None:
            raise RunbookError(f"{where(host)}: no shell: {argv[0]}: {refused.strerror}.")
        return status

    # ── leaving ────────────────────────────────────────────────────────────────────────────
    def leave(self) -> None:
        if not self.driving:
            self.run_worker(self._close(), exit_on_error=False, exclusive=True, group="leave")
            return
        running = [where(host.name) for host in self._hosts_now() if host.status == "running"]
        text = "The journal is kept; go on later from here or with\n" + f"runbook resume {self.run.id}"
        if running:
            text += f"\n\nNow running on {', '.join(running)}: jobs there go on and are followed again."
        choices = (
            Choice("stay", "Stay"),
            Choice("after", "Stop after this step", "then leave when you like"),
            Choice("now", "Leave now", "nothing is cancelled"),
        )
        self.app.push_screen(Pick("Leave the run?", text, choices, "stay"), self._leave)

    def _leave(self, choice: str | None) -> None:
        if choice == "after":
            self.stopping = True
            self.redraw()
            self._do(self.run.stop())
        elif choice == "now":
            self.run_worker(self._close(), exit_on_error=False, exclusive=True, group="leave")

    async def _close(self) -> None:
        """The journal's lock is let go before the home screen reads which runs are open."""
        await self.run.close()
        self.dismiss(self.exit_code)
