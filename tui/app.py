"""The app: which screen is shown, starting and resuming runs, and its exit code.

Imported lazily by the command line; what a screen needs is imported when it is first shown, so
that the home screen is painted almost as fast as any Textual app.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual.app import App
from textual.worker import Worker, WorkerState

from runbook.clock import Clock, SystemClock
from runbook.errors import EXIT_FAILED, EXIT_OK, RunbookError
from tui import actions
from tui.screens.home import Home, HomeData, load, mode_choices

if TYPE_CHECKING:
    from runbook.events import Mode
    from runbook.workbench import Workbench
    from tui.bridge import Bench, Run


#: the guide that brings a backup to this PC
FETCHING = "fetch-local-backup"


class RunbookApp(App[None]):
    CSS_PATH = Path(__file__).with_name("app.tcss")
    TITLE = "runbook"
    ENABLE_COMMAND_PALETTE = False
    NOTIFICATION_TIMEOUT = 2
    BINDINGS = actions.bindings("everywhere")

    def __init__(
        self,
        bench: Bench | Callable[[], Bench],
        guide: str | None = None,
        mode: str | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self.animation_level = "none"
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (118, "-wider"), (140, "-very-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-high")]
        self.clock = clock or SystemClock()
        self.exit_code = EXIT_OK
        self._made_from = bench
        self._bench: Bench | None = None if callable(bench) else bench
        self._wanted = (guide, mode)
        self._left = ""
        self.home = Home()

    @property
    def bench(self) -> Bench:
        assert self._bench is not None  # made before anything that needs it can be pressed
        return self._bench

    def on_mount(self) -> None:
        self.push_screen(self.home)
        self.call_after_refresh(self._reload, first=True)

    # ── home ───────────────────────────────────────────────────────────────────────────────
    def _reload(self, *, first: bool = False) -> None:
        self.run_worker(self._load(first), exit_on_error=False, exclusive=True, group="home")

    async def _load(self, first: bool) -> None:
        def read() -> HomeData:
            if self._bench is None:
                self._bench = cast("Callable[[], Bench]", self._made_from)()
            return load(self._bench)

        try:
            self.home.show(await asyncio.to_thread(read), self._left)
        except Exception as error:
            self.failed(error)
            return
        guide, mode = self._wanted
        if first and guide:
            info = next((known for known in self.home.data.guides if known.name == guide), None)
            if mode:
                self._open(lambda say: self.bench.start(guide, cast("Mode", mode), on_wait=say))
            elif info is not None:
                self._ask_mode(Home.Start(info))

    def on_home_start(self, message: Home.Start) -> None:
        self._ask_mode(message)

    def _ask_mode(self, message: Home.Start, bench: Bench | None = None) -> None:
        """``bench``: what the run starts from, where it is not the app's own."""
        from tui.screens.dialogs import Pick

        guide, start = message.guide, (bench or self.bench).start

        def chosen(mode: str | None) -> None:
            if mode:
                self._open(lambda say: start(guide.name, cast("Mode", mode), on_wait=say))

        choices = mode_choices(guide, self.home.data.problem)
        self.push_screen(Pick(guide.title, f"{guide.summary}\n\nIn which mode?", choices), chosen)

    def on_home_resume(self, message: Home.Resume) -> None:
        self._open(lambda say: self.bench.resume(message.run.id, on_wait=say))

    def on_home_report(self, message: Home.Report) -> None:
        self.show_report(message.run)

    def on_home_backups(self, message: Home.Backups) -> None:
        from tui.screens.backups import BackupsScreen, Deeds

        def left(id: str | None) -> None:
            if id:
                self.fetch(id)

        self.push_screen(BackupsScreen(Deeds(cast("Workbench", self.bench))), left)

    def fetch(self, id: str) -> None:
        """A run of the guide that brings that backup here."""
        info = next((known for known in self.home.data.guides if known.name == FETCHING), None)
        if info is not None:
            self._ask_mode(Home.Start(info), replace(cast("Workbench", self.bench), backup=id))

    def show_report(self, run: str) -> None:
        from tui.screens.report import ReportScreen

        self.push_screen(ReportScreen(self.bench, run))

    # ── a run ──────────────────────────────────────────────────────────────────────────────
    def _open(self, opening: Callable[[Callable[[str], None]], Awaitable[Run]]) -> None:
        self.run_worker(self._open_run(opening), exit_on_error=False, exclusive=True, group="open")

    async def _open_run(self, opening: Callable[[Callable[[str], None]], Awaitable[Run]]) -> None:
        from tui.screens.dialogs import Working

        working = Working("Preparing the run")
        await self.push_screen(working)
        try:
            run = await opening(working.say)
        except Exception as error:
            working.dismiss()
            self.failed(error, "The run could not be started")
            return
        from tui.screens.run import RunScreen

        working.dismiss()
        self._left = run.id
        screen = RunScreen(self.bench, run, self.clock)
        await self.push_screen(screen, self._run_left)

    def _run_left(self, code: int | None) -> None:
        self.exit_code = EXIT_OK if code is None else code
        self._reload()

    # ── everywhere ─────────────────────────────────────────────────────────────────────────
    def action_help(self) -> None:
        from tui.screens.help import help_screen

        self.push_screen(help_screen(self.size.width))

    def action_contact(self) -> None:
        from tui.screens.contact import contact_screen

        contacts = getattr(self.screen, "contacts", ()) or self.home.data.contacts
        self.push_screen(contact_screen(contacts, self.size.width))

    def action_leave(self) -> None:
        """q: the screen decides; the home screen ends the app."""
        leave = getattr(self.screen, "leave", None)
        if leave is not None:
            leave()
        elif self.screen is self.home:
            self.exit()

    async def action_quit(self) -> None:
        """Ctrl+q, where a terminal lets it through: the same as leaving."""
        self.action_leave()

    def action_help_quit(self) -> None:
        self.notify("q leaves (F10 while typing). Ctrl+C does nothing here.", markup=False)

    def failed(self, error: BaseException, title: str = "This did not work") -> None:
        """Show it; the app goes on."""
        from tui.screens.dialogs import problem

        self.exit_code = error.exit_code if isinstance(error, RunbookError) else EXIT_FAILED
        self.push_screen(problem(error, title))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.failed(event.worker.error)


def run(bench: Bench | Callable[[], Bench], guide: str | None = None, mode: str | None = None) -> int:
    """Open the app; the program's exit code. Without mouse capture: the terminal's own selecting
    and copying works."""
    app = RunbookApp(bench, guide, mode)
    app.run(mouse=False)
    if app.return_code:
        return app.return_code
    return app.exit_code
