"""The open question and the means to answer it. What the answer rests on stands above it."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from runbook.events import Asked
from runbook.secrets import Secret
from runbook.text import printable
from runbook.units import size
from tui.paper import rows
from tui.widgets.choices import Choice, Choices

TITLES = {
    "confirm": "Do this?",
    "accept": "It is already so",
    "failed": "The step did not pass. What now?",
    "drift": "It is not as it was",
    "evidence": "Your work: do it, then say what you saw",
    "name": "DANGER: type the name to go on",
    "host_key": "First contact: compare the fingerprint",
    "secret": "A secret is needed (not shown, not recorded)",
    "text": "In your words",
    "choice": "Choose",
}
#: what the keys do, for questions without choices
HINTS = {
    "evidence": "F2 sends · Tab: a file that shows it, instead or as well",
    "name": "Enter sends · Esc: do not do it. Anything but the name stops the run here; nothing is changed.",
    "secret": "Enter sends · Esc: not now (the run stops and can be resumed)",
    "text": "Enter sends",
}
#: seconds in which a new question takes no Enter
GUARD = 0.4


class QuestionPanel(Vertical):
    class Answered(Message):
        def __init__(self, question: Asked, value: str, secret: Secret | None = None) -> None:
            super().__init__()
            self.question, self.value, self.secret = question, value, secret

    guard = GUARD

    def __init__(self) -> None:
        super().__init__(id="question")
        self.question: Asked | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="question-title", markup=False)
        with VerticalScroll(id="question-text-box", can_focus=False):
            yield Static(id="question-text", markup=False)
        yield VerticalScroll(id="question-body", can_focus=False)
        yield Static(id="question-hint", markup=False)

    async def ask(self, question: Asked | None) -> None:
        """Show this question, or none."""
        self.question = question
        self.display = question is not None
        body = self.query_one("#question-body", VerticalScroll)
        await body.remove_children()
        if question is None:
            return
        self.set_class(dangerous(question), "-danger")
        self.query_one("#question-title", Static).update(f"? {TITLES[question.kind]}")
        text = "\n".join(rows(question.text)[:200])
        self.query_one("#question-text", Static).update(Content(text))
        self._hint("" if question.options else _keys(question))
        widgets = self._widgets(question)
        await body.mount_all(widgets)
        widgets[0].focus()

    def _widgets(self, question: Asked) -> list[Widget]:
        if question.options:
            items = [Choice(o.value, o.label, o.consequence) for o in question.options]
            return [Choices(items, safe_choice(question), id="answer", guard=self.guard)]
        if question.kind == "evidence":
            area = TextArea(id="answer", show_line_numbers=False, tab_behavior="focus")
            area.cursor_blink = False
            return [area, Input(placeholder="path of a file on this PC that shows it", id="file")]
        field = Input(password=question.kind == "secret", id="answer", value=printable(question.default))
        field.cursor_blink = False
        return [field]

    def _hint(self, text: str) -> None:
        self.query_one("#question-hint", Static).update(Content(text))
        self.query_one("#question-hint", Static).display = bool(text)

    # ── answers ────────────────────────────────────────────────────────────────────────────
    def on_choices_chosen(self, event: Choices.Chosen) -> None:
        event.stop()
        self._send(event.value)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self.question is None:
            return
        if self.question.kind == "evidence":
            await self.send()
        elif not event.value.strip():
            self._hint("Nothing is typed yet. " + _keys(self.question))
        elif self.question.kind == "secret":
            secret = Secret(event.value, printable(self.question.text, limit=80))
            event.input.value = ""
            self._send("", secret)
        else:
            self._send(event.value.strip())

    async def send(self) -> None:
        """F2: what has several lines."""
        if self.question is None or self.question.kind != "evidence" or self.question.options:
            return
        text = self.query_one("#answer", TextArea).text.strip()
        path = self.query_one("#file", Input).value.strip()
        if not text and not path:
            self._hint("Say what you did and saw, or name a file that shows it. " + HINTS["evidence"])
            return
        if path and not text:
            text = path  # the engine reads the file, keeps a copy, and asks again if it cannot
        elif path:
            try:
                text = f"{text}\n{await asyncio.to_thread(describe, path)}".strip()
            except OSError as error:
                self._hint(f"{printable(path, limit=200)} cannot be read: {error.strerror}.")
                return
        self._send(text)

    def decline(self) -> bool:
        """Esc. True when that means something for this question."""
        if self.question is None:
            return False
        if self.question.kind not in ("name", "secret") and not self.question.optional:
            return False
        self._send("")
        return True

    def _send(self, value: str, secret: Secret | None = None) -> None:
        if self.question is not None:
            question, self.question = self.question, None
            self.post_message(self.Answered(question, value, secret))


def _keys(question: Asked) -> str:
    back = " · Esc: back to the choices" if question.optional else ""
    return HINTS.get(question.kind, HINTS["text"]) + back


def dangerous(question: Asked) -> bool:
    return question.kind in ("name", "host_key", "drift") or (
        question.kind == "confirm" and not question.unattended
    )


def safe_choice(question: Asked) -> str:
    """Which choice has the focus: where it is dangerous, the one that changes nothing."""
    values = [option.value for option in question.options]
    if question.kind == "confirm" and dangerous(question) and "stop" in values:
        return "stop"
    return (
        question.default if question.default in values else values[-1] if dangerous(question) else values[0]
    )


def describe(path: str) -> str:
    """A file as evidence: its path, size and SHA-256. Raises OSError."""
    file = Path(path).expanduser().absolute()
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return f"file: {file} ({size(file.stat().st_size)}, sha256 {digest.hexdigest()})"
