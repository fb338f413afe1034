"""A guide's Markdown as calm text: paragraphs, lists, quotations, code. No links, no tables.

Not a renderer of all Markdown: what it does not know is shown as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tui.paper import Paper, tone

_MARKS = re.compile(r"\*\*(?P<bold>[^*\n]+)\*\*|(?<![\w*])[*_](?P<soft>[^*_\n]+)[*_](?![\w*])")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)])\s+")


def first_paragraph(markdown: str) -> str:
    return next((text for kind, text in blocks(markdown) if kind == "text"), "")


def write(paper: Paper, markdown: str, *, indent: int = 0) -> None:
    """Put it all on the paper."""
    before = ""
    for kind, text in blocks(markdown):
        if kind != before or kind in ("text", "heading"):
            paper.blank()
        before = kind
        if kind == "heading":
            paper.text(text, "bold", indent)
        elif kind == "item":
            paper.item(text, indent=indent)
        elif kind == "code":
            paper.item(text, " ", indent=indent + 2, style=tone("accent"))
        elif kind == "quote":
            paper.item(text, "│", indent=indent, style=tone("muted"))
        else:
            paper.text(text, indent=indent)


def blocks(markdown: str) -> Iterator[tuple[str, str]]:
    """(text, item, quote, code or heading; the words on one line)."""
    kind, words, code = "", "", False
    for line in [*markdown.split("\n"), ""]:
        if line.lstrip().startswith("```"):
            if words:
                yield kind, words
            words, code = "", not code
            continue
        if code:
            yield "code", line
            continue
        now, text = _kind(line)
        goes_on = now == kind == "text" or (now == "text" and kind in ("item", "quote"))
        if words and not (goes_on and text):
            yield kind, words
            words = ""
        if text:
            words = f"{words} {text}" if words else text
            kind = kind if goes_on and words != text else now


def _kind(line: str) -> tuple[str, str]:
    stripped = line.strip()
    if stripped.startswith("#"):
        return "heading", plain(stripped.lstrip("#").strip())
    if stripped.startswith(">"):
        return "quote", plain(stripped.lstrip("> ").strip())
    if item := _ITEM.match(line):
        return "item", plain(line[item.end() :].strip())
    return "text", plain(stripped)


def plain(text: str) -> str:
    return _MARKS.sub(lambda found: found["bold"] or found["soft"], text)
