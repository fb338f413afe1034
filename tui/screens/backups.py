"""Which backups there are, as calendars; what is known of one; verifying one, or fetching it here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from runbook import units
from runbook.text import printable
from tui import actions
from tui.paper import Paper, tone
from tui.screens.dialogs import Dialog, Pick, Read, inner_width, problem
from tui.widgets.calendar import Calendar
from tui.widgets.choices import Choice
from tui.widgets.keybar import KeyBar
from tui.words import BACKUP, plural

if TYPE_CHECKING:
    from textual.worker import Worker

    from runbook.backup.inventory import Item
    from runbook.backup.overview import Cell, Overview, Row
    from runbook.backup.verifying.report import Report
    from runbook.workbench import Workbench

Tick = Callable[[int, int], None]


class Deeds:
    """What the screen can have done. Tests give others."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    async def look(self) -> Overview:
        from runbook.backup import desk

        return await desk.look(self._bench)

    async def verify(self, item: Item, tick: Tick) -> Report:
        from runbook.backup import desk

        return await desk.verify(self._bench, item, tick)


class BackupsScreen(Screen[str]):
    """Dismissed with the id of a backup that is to be fetched here, or with None."""

    BINDINGS = actions.bindings("backups")

    def __init__(self, deeds: Deeds) -> None:
        super().__init__()
        self.deeds = deeds

    def compose(self) -> ComposeResult:
        yield Static(Content(" Backups"), id="backups-title", markup=False)
        with VerticalScroll(id="backups-body", can_focus=False):
            yield Calendar()
        yield Static("Looking at every place …", id="backups-foot", markup=False)
        yield KeyBar("backups")

    def on_mount(self) -> None:
        self.query_one(Calendar).focus()
        self.action_refresh()

    # ── looking ────────────────────────────────────────────────────────────────────────────
    def action_refresh(self) -> None:
        self.query_one("#backups-foot", Static).update(Content(" Looking at every place …"))
        self.run_worker(self._look(), exit_on_error=False, exclusive=True, group="look")

    async def _look(self) -> None:
        try:
            found = await self.deeds.look()
        except Exception as error:
            self.query_one("#backups-foot", Static).update(Content(" Nothing could be looked at."))
            self.app.push_screen(problem(error, "The backups could not be looked at"))
            return
        title = f" Backups, as of {found.at:%Y-%m-%d %H:%M} UTC"
        self.query_one("#backups-title", Static).update(Content(title))
        if not any(row.cells for row in found.rows):
            self.query_one("#backups-foot", Static).update(Content(" No backup is anywhere."))
        self.query_one(Calendar).show(found.rows)

    def on_calendar_marked(self, event: Calendar.Marked) -> None:
        event.stop()
        self.query_one("#backups-foot", Static).update(_foot(event.row, event.cell))

    # ── one of them ────────────────────────────────────────────────────────────────────────
    def on_calendar_chosen(self, event: Calendar.Chosen) -> None:
        event.stop()
        item = event.cell.item
        text = _details(event.row, event.cell, inner_width(self.size.width))
        if item is None:
            self.app.push_screen(Read(f"{event.row.title}: {event.cell.id}", text))
            return

        def chosen(what: str | None) -> None:
            if what == "verify":
                self._verify(item)
            elif what == "fetch":
                self.dismiss(item.id)

        self.app.push_screen(Pick(f"Backup {item.id}", text, _choices(item), "back"), chosen)

    def _verify(self, item: Item) -> None:
        working = Verifying(item)

        async def work() -> None:
            try:
                report = await self.deeds.verify(item, working.tick)
            except Exception as error:
                working.dismiss()
                self.app.push_screen(problem(error, f"Backup {item.id} could not be verified"))
                return
            working.dismiss()
            self.app.push_screen(_told(report, inner_width(self.size.width)))
            self.action_refresh()

        self.app.push_screen(working)
        working.work = self.run_worker(work(), exit_on_error=False, group="verify")

    def leave(self) -> None:
        self.dismiss(None)


class Verifying(Dialog[None]):
    """A backup is read to its end; Esc ends that."""

    def __init__(self, item: Item) -> None:
        super().__init__(
            f"Backup {item.id} is read to its end", "…", "Nothing in it is changed. Esc gives up."
        )
        self.work: Worker[None] | None = None
        self._begun = asyncio.get_running_loop().time()
        self._said = (0, 0)

    def on_mount(self) -> None:
        self.set_interval(0.5, self._draw)

    def tick(self, done: int, total: int) -> None:
        """From any thread."""
        self._said = (done, total)

    def _draw(self) -> None:
        from runbook.backup.verifying.words import progress

        seconds = asyncio.get_running_loop().time() - self._begun
        self.query_one("#box-text", Static).update(Content(progress(*self._said, seconds)))

    def action_close(self) -> None:
        if self.work is not None:
            self.work.cancel()
        self.dismiss(None)


# ── words ──────────────────────────────────────────────────────────────────────────────────
def _foot(row: Row, cell: Cell) -> Content:
    mark = BACKUP[cell.word]
    name = f" {printable(cell.id, limit=60)} "
    said = f" {printable(row.title)} · {_size(cell.item)}" if cell.item else f" {printable(row.title)}"
    return Content.assemble((name, "bold reverse"), (f" {mark} ", tone(mark.tone)), said)


def _size(item: Item) -> str:
    nodes = "an archive, not opened" if item.archive else plural(len(item.nodes), "node")
    return f"{units.size(item.bytes)}, {plural(item.files, 'file')}, {nodes}"


def _details(row: Row, cell: Cell, width: int) -> Content:
    paper, item, mark = Paper(width), cell.item, BACKUP[cell.word]
    paper.mark(mark, row.title)
    if item is None:
        paper.text(
            "The schedule should have made it, and it is not there."
            if cell.word == "missing"
            else "It is not late yet: the schedule makes it, or it was taken away in its time."
        )
        return paper.content
    paper.text(item.path, tone("muted"))
    made = f"{item.made:%Y-%m-%d %H:%M} UTC" if item.made else "nothing tells when"
    manifest = {"there": "there", "bad": "there, but no good", "none": "none", "unknown": "in the archive"}
    paper.item(f"made: {made}")
    paper.item(f"holds: {_size(item)}; manifest: {manifest[item.manifest]}")
    if last := item.verified:
        paper.item(
            f"last verified: {last.at:%Y-%m-%d %H:%M} UTC, {last.verdict} (by {last.by or 'nobody named'})"
        )
        if last.first:
            paper.item(last.first, "!", 4, tone("warning"))
    else:
        paper.item("last verified: never, or it is not on record")
    for text in item.problems:
        paper.item(text, "✗", 2, tone("error"))
    return paper.content


def _choices(item: Item) -> list[Choice]:
    where = "on the backup VM, where it lies" if item.place == "backup VM" else "here"
    found = [
        Choice("verify", "Verify it", f"reads every file of it to its end, {where}; changes nothing in it")
    ]
    if item.place == "backup VM":
        found.append(
            Choice("fetch", "Fetch it", "brings it to this PC and verifies it here; a run of its own")
        )
    return [*found, Choice("back", "Back")]


def _told(report: Report, width: int) -> Read:
    word = {"sound": "verified", "doubtful": "doubtful", "damaged": "damaged"}[report.verdict]
    paper = Paper(width)
    mark = BACKUP[word]
    paper.mark(
        mark, f"{plural(sum(report.documents.values()), 'document')} read in {plural(report.files, 'file')}"
    )
    for texts, bullet, colour in (
        (report.problems, "✗", "error"),
        (report.remarks, "!", "warning"),
        (report.notes, "·", "muted"),
    ):
        for text in texts:
            paper.item(text, bullet, 2, tone(colour))
    paper.heading("Not proven by this")
    for text in report.unproven:
        paper.item(text)
    record = f"On record in {report.ledger}." if report.ledger else f"NOT on record: {report.unrecorded}."
    paper.blank()
    paper.text(record, tone("muted"))
    if report.verdict == "damaged":
        paper.heading("What to do next")
        paper.text(f"runbook backup verify {report.id} says what can be done. Use another backup until then.")
    return Read(f"Backup {report.id}: {report.verdict}", paper.content, "error" if report.problems else "")
