"""Text for one pane, wrapped with hanging indents. What is put on it is shown, never parsed as markup."""

from __future__ import annotations

import textwrap

from textual.content import Content

from runbook.text import printable
from tui.words import Mark


def tone(name: str) -> str:
    """A tone as a style of Content."""
    return {"": "", "muted": "dim", "bold": "bold"}.get(name, f"$text-{name}")


def rows(text: str) -> list[str]:
    """The lines of a text that is no program output: a carriage return in it cannot hide what
    stands before it."""
    return [printable(line) for line in text.split("\n")]


#: cells that a column of text needs at least
MIN_COLUMN = 28


class Paper:
    """Made for a width in cells; every method makes outside text safe itself."""

    def __init__(self, width: int) -> None:
        self.width = max(width, 20)
        self._lines: list[Content] = []

    def blank(self) -> None:
        if self._lines and self._lines[-1].plain:
            self._lines.append(Content(""))

    def heading(self, text: str, aside: str = "") -> None:
        self.blank()
        shown, note = printable(text, limit=300), printable(aside, limit=300)
        if note and len(shown) + len(note) + 2 <= self.width:
            self._lines.append(Content.assemble((shown, "bold"), (f"  {note}", tone("muted"))))
            return
        self._wrap(shown, "bold", 0, 0)
        if note:
            self._wrap(note, tone("muted"), 0, 0)

    def text(self, text: str, style: str = "", indent: int = 0) -> None:
        """Several lines, each wrapped."""
        for line in rows(text):
            self._wrap(line, style, indent, indent)

    def mark(self, mark: Mark, text: str, indent: int = 0, pad: int = 0) -> None:
        """``✓ PASS  text``; what is too long goes on below the text's beginning."""
        word = f"{mark.glyph} {mark.word:<{pad}} "
        hang = min(indent + len(word), self.width // 2)
        first, *rest = self._wrapped(printable(text), self.width - hang) or [""]
        start = " " * indent
        self._lines.append(Content.assemble(start, (word, f"{tone(mark.tone)} bold"), first))
        self._lines += [Content(" " * hang + line) for line in rest]

    def entry(self, label: Content, text: str, column: int, note_style: str = "") -> None:
        """A label (safe already), and its text in a column of its own, or below it."""
        if label.cell_length + 2 > column or self.width - column < MIN_COLUMN:
            self._lines.append(label)
            if text:
                self._wrap(printable(text), note_style, 4, 4)
            return
        first, *rest = self._wrapped(printable(text), self.width - column) or [""]
        fill = " " * (column - label.cell_length)
        self._lines.append(Content.assemble(label, fill, (first, note_style)))
        self._lines += [Content.assemble(" " * column, (line, note_style)) for line in rest]

    def item(self, text: str, bullet: str = "•", indent: int = 2, style: str = "") -> None:
        shown = printable(text)
        text = shown.lstrip()
        own = " " * min(len(shown) - len(text), self.width // 3)
        for number, line in enumerate(self._wrapped(text, self.width - indent - 2 - len(own)) or [""]):
            lead = f"{bullet} " if number == 0 else "  "
            self._lines.append(Content.assemble(" " * indent + lead + own, (line, style)))

    def raw(self, content: Content) -> None:
        self._lines.append(content)

    @staticmethod
    def _wrapped(text: str, width: int) -> list[str]:
        """Not at hyphens: paths and commands stay whole."""
        return textwrap.wrap(text, width, break_on_hyphens=False)

    def _wrap(self, line: str, style: str, first: int, hang: int) -> None:
        width = self.width - hang
        for number, part in enumerate(self._wrapped(line, width) or [""]):
            self._lines.append(Content.assemble(" " * (first if number == 0 else hang), (part, style)))

    @property
    def content(self) -> Content:
        return Content("\n").join(self._lines)

    @property
    def height(self) -> int:
        return len(self._lines)
