"""Parts that need no running app."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tui import actions, prose
from tui.paper import Paper
from tui.reader import write
from tui.widgets.keybar import KeyBar
from tui.words import clock

HEAVY = (
    "asyncssh",
    "couchdb",
    "markdown_it",
    "textual.widgets._markdown",
    "runbook.workbench",
    "tui.screens.run",
)


def test_the_first_screen_imports_nothing_heavy() -> None:
    program = f"import sys, tui.app; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("where", ["home", "run", "report", "backups"])
@pytest.mark.parametrize("typing", [False, True])
def test_the_key_bar_fits_and_always_has_help_and_leave(where: str, width: int, typing: bool) -> None:
    bar = KeyBar(where)
    bar.typing = typing
    text = bar.fitted(width)
    assert text.cell_length <= width
    assert "help" in text.plain and "leave" in text.plain


def test_keys_are_plain_letters_and_function_keys_each_with_one_meaning() -> None:
    for where in ("home", "run", "report", "backups"):
        keys = [
            key
            for entry in actions.of(where)
            if entry.action or entry.id == "host"
            for key in entry.keys.split(",")
        ]
        assert len(keys) == len(set(keys))
        assert not [key for key in keys if "+" in key]


def test_prose_is_read_as_paragraphs_lists_and_quotations() -> None:
    text = "One **bold**\ntwo.\n\n- item a\n  goes on\n- item b\n\n> **Why:** because\n\n```\ncode  x\n```\n"
    assert list(prose.blocks(text)) == [
        ("text", "One bold two."),
        ("item", "item a goes on"),
        ("item", "item b"),
        ("quote", "Why: because"),
        ("code", "code  x"),
    ]
    assert prose.first_paragraph(text) == "One bold two."


def test_a_table_is_aligned_where_it_fits_and_records_where_not() -> None:
    table = "# R\n\n| step | result |\n|---|---|\n| a\\|b | \\*pass\\* &lt;x |\n"
    wide, narrow = Paper(60), Paper(20)
    write(wide, table)
    write(narrow, table.replace("pass", "a long result"))
    assert wide.content.plain == "R\n\nstep  result\na|b   *pass* <x\n"
    assert narrow.content.plain == "R\n\na|b\n  result: *a long\n  result* <x\n"


def test_a_carriage_return_hides_nothing() -> None:
    paper = Paper(60)
    paper.text("check on vm1: failed\rall is well")
    assert paper.content.plain == "check on vm1: failed␍all is well"


@pytest.mark.parametrize(
    ("used", "text", "tone"),
    [
        (60, "RTO 1h00 · used 1m00 · left 59m00", "success"),
        (3000, "RTO 1h00 · used 50m00 · left 10m00", "warning"),
        (3660, "RTO 1h00 · used 1h01 · OVER by 1m00", "error"),
    ],
)
def test_the_recovery_clock(used: float, text: str, tone: str) -> None:
    assert clock(3600, used) == (text, tone)
