"""Backups as calendars of cells, a row a tier; the marked cell has a ▶, so it is seen without colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from runbook.text import printable
from tui.paper import Paper, tone
from tui.words import BACKUP

if TYPE_CHECKING:
    from runbook.backup.overview import Cell, Row

#: columns that one takes: at 80 of them a week of days stands in one line
WIDTH = 11
#: remarks below a row; `runbook backup retention` has all
MOST = 3


class Calendar(Static, can_focus=True):
    BINDINGS: ClassVar = [
        Binding("left,h", "move(-1, 0)", show=False),
        Binding("right,l", "move(1, 0)", show=False),
        Binding("up,k", "move(0, -1)", show=False),
        Binding("down,j", "move(0, 1)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Chosen(Message):
        def __init__(self, row: Row, cell: Cell) -> None:
            super().__init__()
            self.row, self.cell = row, cell

    class Marked(Message):
        def __init__(self, row: Row, cell: Cell) -> None:
            super().__init__()
            self.row, self.cell = row, cell

    def __init__(self) -> None:
        super().__init__(id="calendar", markup=False)
        self.rows: Sequence[Row] = ()
        #: row, cell
        self.at = (0, 0)
        self._tops: dict[tuple[int, int], int] = {}

    def show(self, rows: Sequence[Row]) -> None:
        """New rows; the same place stays marked where it is still there."""
        self.rows = tuple(rows)
        number, cell = self.at
        if not (number < len(rows) and cell < len(rows[number].cells)):
            self.at = (next((n for n, row in enumerate(rows) if row.cells), 0), 0)
        self.refresh(layout=True)
        self._tell()

    @property
    def marked(self) -> tuple[Row, Cell] | None:
        number, cell = self.at
        row = self.rows[number] if number < len(self.rows) else None
        return (row, row.cells[cell]) if row and cell < len(row.cells) else None

    # ── drawing ────────────────────────────────────────────────────────────────────────────
    def render(self) -> Content:
        return self._drawn(self.size.width or 76)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return max(self._drawn(width).plain.count("\n") + 1, 1)

    def _per_line(self, width: int) -> int:
        return max(1, width // WIDTH)

    def _drawn(self, width: int) -> Content:
        paper, each = Paper(width), self._per_line(width)
        self._tops = {}
        for number, row in enumerate(self.rows):
            paper.heading(row.title)
            for start in range(0, len(row.cells), each):
                part = range(start, min(start + each, len(row.cells)))
                for cell in part:
                    self._tops[number, cell] = paper.height
                paper.raw(Content("").join(self._label(number, cell, row.cells[cell]) for cell in part))
                paper.raw(Content("").join(self._word(row.cells[cell]) for cell in part))
            for text in row.remarks[:MOST]:
                paper.item(text, "!", 1, tone("warning"))
        return paper.content

    def _label(self, number: int, at: int, cell: Cell) -> Content:
        marked = (number, at) == self.at
        style = "bold reverse" if marked and self.has_focus else "bold"
        text = printable(cell.label)
        text = text if len(text) < WIDTH else f"{text[: WIDTH - 2]}…"
        return Content.assemble("▶" if marked else " ", (text, style), " " * (WIDTH - 1 - len(text)))

    def _word(self, cell: Cell) -> Content:
        mark = BACKUP[cell.word]
        text = f"{mark.glyph} {mark.word}"
        return Content.assemble(" ", (text, tone(mark.tone)), " " * (WIDTH - 1 - len(text)))

    # ── keys ───────────────────────────────────────────────────────────────────────────────
    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self._show_marked()

    def action_move(self, across: int, down: int) -> None:
        places = [(row, cell) for row, found in enumerate(self.rows) for cell in range(len(found.cells))]
        if self.at not in places:
            return
        if across:
            place = places.index(self.at) + across
            self.at = places[max(0, min(place, len(places) - 1))]
        else:
            self.at = self._beside(down)
        self.refresh()
        self._show_marked()
        self._tell()

    def _beside(self, down: int) -> tuple[int, int]:
        """The cell below or above; at the end of a row the next row's, in the same column."""
        number, cell = self.at
        each = self._per_line(self.size.width or 76)
        column, count = cell % each, len(self.rows[number].cells)
        if 0 <= cell + down * each < count:
            return number, cell + down * each
        if down > 0 and cell // each < (count - 1) // each:
            return number, count - 1
        others = range(number + 1, len(self.rows)) if down > 0 else range(number - 1, -1, -1)
        for other in others:
            if left := len(self.rows[other].cells):
                first = 0 if down > 0 else (left - 1) // each * each
                return other, min(first + column, left - 1)
        return self.at

    def _show_marked(self) -> None:
        if self.at in self._tops and self.is_mounted and isinstance(parent := self.parent, Widget):
            top = self._tops[self.at]
            # with the row's heading above, and with what is said of it below
            region = Region(0, self.virtual_region.y + max(top - 1, 0), 1, 4)
            parent.scroll_to_region(region, animate=False)

    def _tell(self) -> None:
        if self.is_mounted and self.marked:
            self.post_message(self.Marked(*self.marked))

    def action_choose(self) -> None:
        if self.marked:
            self.post_message(self.Chosen(*self.marked))
