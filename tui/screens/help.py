"""All keys, made from the one list of keys; and what the glyphs mean."""

from __future__ import annotations

from textual.content import Content

from tui import actions
from tui.paper import Paper
from tui.screens.dialogs import Read, inner_width
from tui.words import BACKUP, CHECK, HOST, STEP

_TITLES = {
    "everywhere": "Everywhere",
    "home": "Home",
    "run": "In a run",
    "report": "In a report",
    "backups": "Backups",
}


def help_screen(width: int) -> Read:
    paper = Paper(inner_width(width))
    for where, title in _TITLES.items():
        paper.heading(title)
        for key in actions.KEYS:
            if key.where == where:
                also = f" (while typing: {key.function_key})" if key.function_key != key.letter else ""
                also = also if key.function_key else ""
                paper.entry(Content(key.letter), f"{key.help}{also}", 12)
    paper.heading("What the signs mean")
    for title, marks in (("steps", STEP), ("machines", HOST), ("checks", CHECK), ("backups", BACKUP)):
        paper.item(f"{title}: " + "   ".join(dict.fromkeys(str(mark) for mark in marks.values())), " ", 0)
    return Read("Keys", paper.content)
