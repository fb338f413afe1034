"""A report's Markdown as lines for a terminal: fast for thousands of lines, tables that fit.

Made for what the report writes: headings, lists, tables, indented and fenced code. A table too
wide for the pane becomes records: its first cell, then the others with their column's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from textual.content import Content

from runbook.text import printable
from tui.paper import Paper, tone
from tui.prose import plain

_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_RULE = re.compile(r"\|?[\s:|-]+\|?")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


def write(paper: Paper, markdown: str) -> None:
    """Put it all on the paper."""
    table: list[list[str]] = []
    fenced = False
    for line in [*markdown.split("\n"), ""]:
        if not fenced and line.startswith("|"):
            if not (table and _RULE.fullmatch(line)):
                table.append(_cells(line))
            continue
        if table:
            _table(paper, table)
            table = []
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            paper.item(line if fenced else line[4:], " ", 2, tone("accent"))
        elif line.startswith("#"):
            paper.heading(_words(line.lstrip("# ")))
        elif line.startswith("- "):
            paper.item(_words(line[2:]), indent=0)
        elif line.strip():
            paper.text(_words(line))
        else:
            paper.blank()


def _words(text: str) -> str:
    """Without marks, escapes and entities."""
    # an escaped sign stands aside while marks are taken away
    kept: list[str] = []

    def aside(found: re.Match[str]) -> str:
        kept.append(found[1])
        return "\ue000"

    text = plain(_ESCAPE.sub(aside, text.replace("\ue000", "")))
    for entity, sign in _ENTITIES:
        text = text.replace(entity, sign)
    signs = iter(kept)
    return printable(re.sub("\ue000", lambda _: next(signs, ""), text), limit=20_000)


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [_words(cell.strip()) for cell in re.split(r"(?<!\\)\|", inner)]


def _table(paper: Paper, rows: Sequence[Sequence[str]]) -> None:
    head, *body = rows
    widths = [max(cell_len(row[at]) if at < len(row) else 0 for row in rows) for at in range(len(head))]
    if sum(widths) + 2 * len(widths) <= paper.width:
        for number, row in enumerate(rows):
            line = "  ".join(_padded(row, widths)).rstrip()
            paper.raw(Content.assemble((line, tone("muted") if number == 0 else "")))
        return
    for row in body:
        paper.text(row[0] if row else "", "bold")
        more = [
            f"{name}: {cell}" if name else cell for name, cell in zip(head[1:], row[1:], strict=False) if cell
        ]
        paper.text(" · ".join(more), indent=2)


def _padded(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for cell, width in zip(row, widths, strict=False):
        yield cell + " " * (width - cell_len(cell))
