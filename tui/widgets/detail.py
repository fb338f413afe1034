"""One step in full. Only the step that is looked at is drawn, at the pane's own width."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.paper import Paper
from tui.sections import View, draw


class Detail(VerticalScroll):
    def __init__(self) -> None:
        super().__init__(id="detail")
        self.view: View | None = None
        self._shown = ""

    def compose(self) -> ComposeResult:
        yield Static(id="detail-text", markup=False)

    def show(self, view: View) -> None:
        """Goes to the top when it is another step, or when something else is asked."""
        before, self.view = self.view, view
        question = view.question.id if view.asked and view.question else ""
        last = before.question.id if before and before.asked and before.question else ""
        if before is None or before.step.id != view.step.id or question != last:
            self.scroll_home(animate=False)
        self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        if self.view is None:
            return
        paper = Paper(self.scrollable_content_region.width or self.size.width)
        draw(self.view, paper)
        content: Content = paper.content
        if content.markup != self._shown:
            self._shown = content.markup
            self.query_one("#detail-text", Static).update(content)
