"""The keys that matter here, as many as fit, the most important ones first; never clipped."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from tui import actions


class KeyBar(Static):
    """``typing``: a text has the focus, so letters are text and function keys are shown."""

    def __init__(self, where: str) -> None:
        super().__init__(id="keybar", markup=False)
        self.where = where
        self.typing = False
        self.hidden: frozenset[str] = frozenset()

    def set_state(self, *, typing: bool, hidden: frozenset[str] = frozenset()) -> None:
        if (typing, hidden) != (self.typing, self.hidden):
            self.typing, self.hidden = typing, hidden
            self.refresh()

    def render(self) -> Content:
        return self.fitted(self.size.width)

    def fitted(self, width: int) -> Content:
        keys = [key for key in actions.of(self.where) if key.rank and key.id not in self.hidden]
        if self.typing:
            keys = [key for key in keys if key.function_key or key.id in ("answer", "pane")]
        order = sorted(keys, key=lambda key: key.rank)
        # what is left out first: the middle of the list; help and leave always stay
        while order and self._width(order) > width:
            spare = [key for key in order if key.id not in ("help", "leave")]
            if not spare:
                break
            order.remove(max(spare, key=lambda key: (key.rank < 80, key.rank)))
        parts: list[Content | tuple[str, str]] = []
        for key in order:
            parts += [(f" {self._shown_name(key)}", "bold"), (f" {key.label} ", "")]
        return Content.assemble(*parts)

    def _shown_name(self, key: actions.Key) -> str:
        return (self.typing and key.function_key) or key.letter

    def _width(self, keys: list[actions.Key]) -> int:
        return sum(len(self._shown_name(key)) + len(key.label) + 3 for key in keys)
