"""The two lines on top: which mode, which run, how much time is left. The mode is never in doubt."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from runbook.text import printable
from tui.paper import tone
from tui.words import MODE


class Banner(Static):
    def __init__(self, title: str, mode: str, run: str, site: str) -> None:
        super().__init__(id="banner", classes=f"-{mode}", markup=False)
        self.mode, self.run = mode, printable(run, limit=60)
        self.title_text, self.site = printable(title, limit=100), printable(site, limit=60)
        self.clock, self.clock_tone = "", ""

    def set_clock(self, text: str, tone_name: str) -> None:
        if (text, tone_name) != (self.clock, self.clock_tone):
            self.clock, self.clock_tone = text, tone_name
            self.refresh()

    def render(self) -> Content:
        width = self.size.width
        meaning = MODE.get(self.mode, "")
        if self.mode != "practice" and self.site:
            meaning = f"{meaning} · {self.site}"
        first = Content.assemble((f" {self.mode.upper()} ", "bold reverse"), f" {meaning}")
        left = Content.assemble((f" {self.title_text}", "bold"), (f" · {self.run}", tone("muted")))
        right = Content.assemble((self.clock, f"bold {tone(self.clock_tone)}"), " ")
        room = max(width - right.cell_length - 1, 0)
        second = left.truncate(room, ellipsis=True).pad_right(max(room - left.cell_length, 0) + 1)
        return Content("\n").join([first.truncate(width, ellipsis=True), second.append(right)])
