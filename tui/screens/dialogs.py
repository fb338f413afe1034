"""Small questions and notices over any screen: choose, write a line, read, an error. Esc closes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from runbook.errors import RunbookError
from tui.paper import Paper, rows
from tui.widgets.choices import Choice, Choices

Result = TypeVar("Result")


def inner_width(terminal: int) -> int:
    """Cells for text in a box, for a terminal that wide (see app.tcss)."""
    return min(terminal * 9 // 10, 104) - 8


class Dialog(ModalScreen[Result]):
    """A box with a title, text and a hint of its keys. The contact stays one key away."""

    BINDINGS: ClassVar = [
        Binding("escape,f10", "close", show=False),
        Binding("f5", "app.contact", show=False),
    ]

    def __init__(self, title: str, text: str | Content = "", hint: str = "", tone: str = "") -> None:
        super().__init__(classes=f"-{tone}" if tone else None)
        self._title, self._text, self._hint = title, text, hint

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(Content("\n".join(rows(self._title))), id="box-title", markup=False)
            if self._text:
                yield VerticalScroll(Static(self._shown(), id="box-text", markup=False), id="box-scroll")
            yield from self.body()
            yield Static(Content(self._hint), id="box-hint", markup=False)

    def _shown(self) -> Content:
        if isinstance(self._text, Content):
            return self._text
        return Content("\n".join(rows(self._text)))

    def body(self) -> ComposeResult:
        yield from ()

    def action_close(self) -> None:
        self.dismiss(None)


class Pick(Dialog[str]):
    """One of several; None when it was closed. ``marked`` has the focus: the harmless one."""

    def __init__(
        self, title: str, text: str | Content, choices: Sequence[Choice], marked: str = "", tone: str = ""
    ) -> None:
        super().__init__(title, text, "↑ ↓ choose · Enter takes it · Esc back", tone)
        self._choices, self._marked = choices, marked

    def body(self) -> ComposeResult:
        yield VerticalScroll(Choices(self._choices, self._marked, id="pick"), id="box-body", can_focus=False)

    def on_mount(self) -> None:
        self.query_one(Choices).focus()

    def on_choices_chosen(self, event: Choices.Chosen) -> None:
        event.stop()
        self.dismiss(event.value)


class Read(Dialog[None]):
    """Something to read."""

    BINDINGS: ClassVar = [Binding("enter,q", "close", show=False)]

    def __init__(self, title: str, text: str | Content, tone: str = "") -> None:
        super().__init__(title, text, "Esc back · ↑ ↓ scroll", tone)

    def on_mount(self) -> None:
        self.query_one("#box-scroll").focus()


class Write(Dialog[str]):
    """One line of text; None when it was closed. Tab does not lead out of the line."""

    BINDINGS: ClassVar = [Binding("tab,shift+tab", "line", show=False)]

    def __init__(self, title: str, text: str) -> None:
        super().__init__(title, text, "Enter keeps it · Esc back")

    def body(self) -> ComposeResult:
        from textual.widgets import Input

        field = Input(id="line", max_length=2000, placeholder="type here")
        field.cursor_blink = False
        yield field

    def on_mount(self) -> None:
        for scroll in self.query(VerticalScroll):
            scroll.can_focus = False
        self.action_line()

    def action_line(self) -> None:
        self.query_one("#line").focus()

    def on_input_submitted(self, event: object) -> None:
        from textual.widgets import Input

        assert isinstance(event, Input.Submitted)
        event.stop()
        if event.value.strip():
            self.dismiss(event.value.strip())


class Working(Dialog[None]):
    """Something takes a while before there is a screen for it; closes when it is done."""

    def __init__(self, title: str) -> None:
        super().__init__(title, "…", "Nothing has been changed yet. Esc gives up.")

    def say(self, text: str) -> None:
        if self.is_mounted:
            self.query_one("#box-text", Static).update(Content("\n".join(rows(f"Waiting for {text} …"))))

    def action_close(self) -> None:
        self.app.workers.cancel_group(self.app, "open")
        self.dismiss(None)


def problem(error: BaseException, title: str = "This did not work") -> Read:
    """What happened and what to do next; a defect of the program is named as one."""
    paper = Paper(inner_width(80))
    if isinstance(error, RunbookError):
        paper.text(error.what)
        if error.next:
            paper.heading("What to do next")
            paper.text(error.next)
    else:
        paper.text(f"The program itself failed here: {type(error).__name__}: {error}")
        paper.heading("What to do next")
        paper.text(
            "The journal is safe up to its last record, and jobs on machines go on. "
            "Leave with q and go on with the run: the world is looked at again first."
        )
    return Read(title, paper.content, "error")
