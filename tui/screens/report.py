"""The report of a run, as it stands; written into the run's folder on request."""

from __future__ import annotations

import asyncio

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Markdown, Static

from runbook.text import printable
from tui import actions
from tui.bridge import Bench
from tui.screens.dialogs import problem
from tui.widgets.keybar import KeyBar

#: characters that are drawn as Markdown; a longer report is shown as its plain text
MOST = 200_000


class ReportScreen(Screen[None]):
    BINDINGS = actions.bindings("report")

    def __init__(self, bench: Bench, run: str) -> None:
        super().__init__()
        self.bench, self.run = bench, run

    def compose(self) -> ComposeResult:
        yield Static(Content(f" Report of {printable(self.run)}"), id="report-title", markup=False)
        yield VerticalScroll(Static("Reading the journal …", markup=False), id="report-body")
        yield KeyBar("report")

    def on_mount(self) -> None:
        self.query_one("#report-body").focus()
        self.run_worker(self._load(), exit_on_error=False)

    async def _load(self) -> None:
        body = self.query_one("#report-body")
        try:
            text = await asyncio.to_thread(self.bench.report, self.run, "md")
        except Exception as error:
            await self.app.push_screen(problem(error, "The report could not be made"))
            return
        text = "\n".join(printable(line, limit=20_000) for line in text.split("\n"))
        await body.remove_children()
        if len(text) > MOST:
            await body.mount(Static(Content(text), markup=False))
        else:
            await body.mount(Markdown(text, open_links=False))

    def action_save(self) -> None:
        self.run_worker(self._save(), exit_on_error=False, exclusive=True, group="save")

    async def _save(self) -> None:
        try:
            paths = await asyncio.to_thread(self.bench.save_report, self.run)
        except Exception as error:
            await self.app.push_screen(problem(error, "The report could not be written"))
            return
        shown = "  ".join(printable(str(path)) for path in paths)
        self.query_one("#report-title", Static).update(Content(f" Written: {shown}"))

    def leave(self) -> None:
        self.dismiss()
