"""Every key of the app, once: bindings, key bar and help are all made from this list.

Plain letters and function keys only: terminals, tmux and editors eat the others. Where a text is
being typed a letter is text, so what must work even then has a function key too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Key:
    """``where``: home, run, report, backups or everywhere. ``rank``: place in the key bar, 0 is not in it.
    ``action`` empty: the focused widget has the key already; it is listed for help and key bar."""

    id: str
    keys: str
    action: str
    label: str
    help: str
    where: str = "run"
    rank: int = 0
    shown: str = ""

    @property
    def letter(self) -> str:
        """As a person reads it."""
        return self.shown or _NAMES.get(first := self.keys.split(",")[0], first)

    @property
    def function_key(self) -> str:
        """The key that works while a text is typed; empty when there is none."""
        return next((key.upper() for key in self.keys.split(",") if key[:1] == "f" and key[1:].isdigit()), "")


_NAMES = {"question_mark": "?", "up": "↑", "down": "↓", "escape": "esc"}

KEYS = (
    Key("choose", "up,down", "", "choose", "Move between the choices.", "everywhere", shown="↑ ↓"),
    Key("start", "enter", "", "start", "Start the guide, or go on with the run, that is marked.", "home", 10),
    Key("backups", "b", "backups", "backups", "Which backups there are; verify or fetch one.", "home", 15),
    Key("look", "r", "report", "report", "Show the report of the run that is marked.", "home", 20),
    Key(
        "answer", "enter", "", "answer", "Answer the open question with the choice that is marked.", "run", 10
    ),
    Key("send", "f2", "send", "send", "Send what was typed when it has several lines (evidence).", "run", 11),
    Key("pane", "tab", "pane", "pane", "The next pane: steps, details, output, question.", "run", 20),
    Key("output", "o", "output", "output", "What the machines print: large; o or esc: back.", "run", 30),
    Key("host", "1,2,3,4,5,6,7,8,9", "", "machine", "Output of the first, second, … machine.", shown="1–9"),
    Key("follow", "end", "follow", "follow", "To the end of the output, and follow it.", shown="End"),
    Key("scroll", "pageup,pagedown", "", "scroll", "Scroll details or output.", shown="PgUp PgDn"),
    Key("current", "g", "current", "go to now", "Back to the step at which the run is."),
    Key("note", "n,f3", "note('note')", "note", "Put a note on the record, at any moment.", "run", 40),
    Key("issue", "i,f4", "note('issue')", "issue", "Put an issue on the record: something to mend later."),
    Key("checks", "c", "checks", "checks", "Run the step's checks now: read-only, off the record."),
    Key(
        "cancel",
        "x",
        "cancel",
        "cancel",
        "Cancel what runs now; asks first, then says if it is gone.",
        "run",
        50,
    ),
    Key("shell", "s", "shell", "shell", "A shell on a machine; exit brings you back. The run goes on."),
    Key("report", "r", "report", "report", "The report as it stands now."),
    Key("save", "w", "save", "write files", "Write the report into the run's folder.", "report", 10),
    Key("back", "escape", "app.leave", "back", "Close the report.", "report", 5),
    Key(
        "details",
        "enter",
        "",
        "details",
        "What is known of the marked backup; verify or fetch it.",
        "backups",
        10,
    ),
    Key("cells", "up,down,left,right", "", "move", "Move between the backups.", "backups", shown="↑ ↓ ← →"),
    Key("again", "a", "refresh", "look again", "Look at every place again.", "backups", 20),
    Key("home", "escape", "app.leave", "back", "Back to the first screen.", "backups", 5),
    Key("contact", "e,f5", "app.contact", "emergency", "The emergency contacts.", "everywhere", 80),
    Key("help", "question_mark,f1", "app.help", "help", "This list.", "everywhere", 90),
    Key(
        "leave",
        "q,f10",
        "app.leave",
        "leave",
        "Leave. A run keeps its journal; go on later.",
        "everywhere",
        99,
    ),
)


def of(where: str) -> Iterator[Key]:
    """The keys of a screen, those of every screen included."""
    return (key for key in KEYS if key.where in (where, "everywhere"))


def bindings(where: str) -> list[BindingType]:
    """For a screen's or the app's BINDINGS (``where`` "everywhere": the app's)."""
    made: list[BindingType] = []
    for key in KEYS:
        if key.where != where:
            continue
        if key.id == "host":
            digits = key.keys.split(",")
            made += [Binding(d, f"host({d})", key.label, show=False, id=f"host-{d}") for d in digits]
        elif key.action:
            binding = Binding(key.keys, key.action, key.label, show=False, tooltip=key.help, id=key.id)
            made.append(binding)
    return made
