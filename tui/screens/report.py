"""The report of a run, as it stands; written into the run's folder on request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from runbook.text import printable
from tui import actions
from tui.bridge import Bench
from tui.paper import Paper
from tui.reader import write
from tui.screens.dialogs import problem
from tui.widgets.keybar import KeyBar

Save = Callable[[], Awaitable[list[Path]]]


class ReportScreen(Screen[None]):
    BINDINGS = actions.bindings("report")

    def __init__(self, bench: Bench, run: str, save: Save | None = None) -> None:
        """``save``: how the report of a run that is open here is written, so that it goes on record."""
        super().__init__()
        self.bench, self.run = bench, run
        self._write = save or self._write_closed

    async def _write_closed(self) -> list[Path]:
        return await asyncio.to_thread(self.bench.save_report, self.run)

    def compose(self) -> ComposeResult:
        yield Static(Content(f" Report of {printable(self.run)}"), id="report-title", markup=False)
        written = Static(id="report-written", markup=False)
        written.display = False
        yield written
        yield VerticalScroll(
            Static("Reading the journal …", id="report-text", markup=False), id="report-body"
        )
        yield KeyBar("report")

    def on_mount(self) -> None:
        self.query_one("#report-body").focus()

    async def _load(self) -> None:
        body = self.query_one("#report-body")
        width = body.scrollable_content_region.width

        def read() -> Content:
            paper = Paper(width)
            write(paper, self.bench.report(self.run, "md"))
            return paper.content

        try:
            content = await asyncio.to_thread(read)
        except Exception as error:
            await self.app.push_screen(problem(error, "The report could not be made"))
            return
        self.query_one("#report-text", Static).update(content)

    def on_resize(self) -> None:
        self.run_worker(self._load(), exit_on_error=False, exclusive=True, group="load")

    def action_save(self) -> None:
        self.run_worker(self._save(), exit_on_error=False, exclusive=True, group="save")

    async def _save(self) -> None:
        try:
            paths = await self._write()
        except Exception as error:
            await self.app.push_screen(problem(error, "The report could not be written"))
            return
        written = self.query_one("#report-written", Static)
        written.update(Content("\n".join(f"Written: {printable(str(path))}" for path in paths)))
        written.display = True

    def leave(self) -> None:
        self.dismiss()
