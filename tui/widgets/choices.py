"""A list to choose from with the arrows: the marked line has a ▶, so it is seen without colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from runbook.text import printable
from tui.paper import Paper, tone

#: labels up to this length have their notes in one column
_LONGEST_PAD = 34


@dataclass(frozen=True)
class Choice:
    """``note`` says what it would mean. ``heading``: a line between, nothing to choose."""

    value: str
    label: str
    note: str = ""
    heading: bool = False
    disabled: bool = False

    @property
    def open(self) -> bool:
        return not self.heading and not self.disabled


class Choices(Static, can_focus=True):
    BINDINGS: ClassVar = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Chosen(Message):
        def __init__(self, choices: Choices, value: str) -> None:
            super().__init__()
            self.choices, self.value = choices, value

        @property
        def control(self) -> Choices:
            return self.choices

    def __init__(
        self, items: Sequence[Choice] = (), marked: str = "", *, id: str | None = None, guard: float = 0.0
    ) -> None:
        super().__init__(id=id, markup=False)
        self.items: Sequence[Choice] = ()
        self.at = 0
        #: seconds in which Enter is not taken yet: nobody answers what has just appeared
        self.guard = guard
        self._places: list[tuple[int, int]] = []
        self._pad = 0
        self._put(items, marked)

    def set_items(self, items: Sequence[Choice], marked: str = "") -> None:
        """New items; the same value stays marked when it is still there."""
        self._put(items, marked or self.value)
        self.refresh(layout=True)

    @property
    def value(self) -> str:
        """Of the marked item; empty when there is none."""
        return self.items[self.at].value if self.items and self.items[self.at].open else ""

    def _put(self, items: Sequence[Choice], marked: str) -> None:
        self.items = tuple(items)
        able = [at for at, item in enumerate(self.items) if item.open]
        self.at = next((at for at in able if self.items[at].value == marked), able[0] if able else 0)

    # ── drawing ────────────────────────────────────────────────────────────────────────────
    def render(self) -> Content:
        return self._drawn(self.size.width or 76)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return max(self._drawn(width).plain.count("\n") + 1, 1)

    def _drawn(self, width: int) -> Content:
        paper = Paper(width)
        self._places = []
        lengths = [len(item.label) for item in self.items if not item.heading and item.note]
        self._pad = max((length for length in lengths if length <= _LONGEST_PAD), default=0)
        for at, item in enumerate(self.items):
            top = paper.height
            if item.heading:
                paper.heading(item.label, item.note)
            else:
                self._draw_item(paper, item, at == self.at)
            self._places.append((top, paper.height - top))
        return paper.content

    def _draw_item(self, paper: Paper, item: Choice, marked: bool) -> None:
        pointer = "▶ " if marked else "  "
        style = "dim" if item.disabled else "bold reverse" if marked and self.has_focus else "bold"
        lead = Content.assemble(pointer, (printable(item.label, limit=200), style))
        paper.entry(lead, item.note, self._pad + 4, note_style=tone("muted"))

    # ── keys ───────────────────────────────────────────────────────────────────────────────
    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self._show_marked()

    def on_mount(self) -> None:
        if self.guard:
            self.set_timer(self.guard, self._unguard)

    def _unguard(self) -> None:
        self.guard = 0.0

    def action_move(self, by: int) -> None:
        able = [at for at, item in enumerate(self.items) if item.open]
        if able:
            here = able.index(self.at) if self.at in able else 0
            self.at = able[max(0, min(here + by, len(able) - 1))]
            self.refresh()
            self._show_marked()

    def _show_marked(self) -> None:
        if self.at < len(self._places) and self.is_mounted and self.parent is not None:
            top, height = self._places[self.at]
            if isinstance(parent := self.parent, Widget):
                region = Region(0, self.virtual_region.y + top, 1, height)
                parent.scroll_to_region(region, animate=False)

    def action_choose(self) -> None:
        if self.value and not self.guard:
            self.post_message(self.Chosen(self, self.value))
