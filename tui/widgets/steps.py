"""The steps of the guide, as a tree: glyph, word, number, title, time."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from runbook.text import printable
from tui.sections import View
from tui.words import STEP


class StepsTree(Tree[str]):
    """``Picked`` tells which step the person looks at."""

    class Picked(Message):
        def __init__(self, step: str) -> None:
            super().__init__()
            self.step = step

    def __init__(self) -> None:
        super().__init__("steps", id="steps")
        self.show_root, self.show_guides, self.guide_depth = False, False, 1
        self._leaves: dict[str, TreeNode[str]] = {}
        self._labels_shown: dict[str, str] = {}
        self._views: list[View] = []
        self._marked = ""

    def show(self, views: list[View]) -> None:
        self._views = views
        for view in views:
            self._label(view)

    def mark(self, step: str) -> None:
        """Put the cursor there."""
        if step != self._marked:
            self._marked = step
            self.show(self._views)
            self.call_after_refresh(self._move, step)  # the lines are there only then

    def _move(self, step: str) -> None:
        node = self._leaves.get(step)
        if node is not None:
            self.move_cursor(node)
            self.scroll_to_node(node, animate=False)

    def on_resize(self, event: events.Resize) -> None:
        self._labels_shown.clear()
        self.show(self._views)

    def _label(self, view: View) -> None:
        mark = view.mark
        took = _short(view.seconds) if view.attempt or view.known.ended else ""
        width = max(self.size.width - 2, 20)
        here = "▸" if view.step.id == self._marked else " "
        lead = f"{here}{mark.glyph} {mark.word:<8} "
        room = width - cell_len(lead) - len(took) - 4
        title = printable(view.step.title, limit=200)
        if cell_len(title) > room:
            title = set_cell_size(title, max(room - 1, 1)).rstrip() + "…"
        text = f"{lead}{view.number:>2} {set_cell_size(title, max(room, 1))} {took}"
        if self._labels_shown.get(view.step.id) == text:
            return
        self._labels_shown[view.step.id] = text
        label = Text(text, no_wrap=True, end="")
        label.stylize(self._style(mark.tone, mark is STEP["running"]), 0, len(lead))
        node = self._leaves.get(view.step.id)
        if node is None:
            self._leaves[view.step.id] = self.root.add_leaf(label, data=view.step.id)
        else:
            node.set_label(label)

    def _style(self, tone: str, bold: bool) -> str:
        colour = self.app.theme_variables.get(tone, "")
        style = "dim" if tone == "muted" else colour
        return f"bold {style}" if bold else style

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[str]) -> None:
        event.stop()
        if event.node.data:
            self.post_message(self.Picked(event.node.data))


def _short(seconds: float) -> str:
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60:>2}m{whole % 60:02}"
    return f"{whole // 3600:>2}h{whole % 3600 // 60:02}"
