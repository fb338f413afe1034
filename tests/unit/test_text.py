"""Text from outside can do no harm where it is shown."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from runbook.text import LineSplitter, cell, lines, printable

hostile = st.text(
    st.one_of(
        st.sampled_from("\x1b[]PX^_\\\x07\x9b\x9d\x90\x9c\r\n\t0;31mHJ|`*_<>&:/"),
        st.characters(exclude_categories=()),
    )
)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]0;new title\x07after", "after"),
        (b"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1bP+q544e\x1b\\x", "x"),
        (b"\xc2\x9b31mC1", "C1"),
        (b"\xc2\x9dtitle\xc2\x9cC1", "C1"),
        (b"\x9b31m as a raw byte", "\ufffd31m as a raw byte"),
        (b"never ended \x1b]0;title", "never ended 0;title"),
        (b"\x1b\x1b[0m[31mjoined", "␛[31mjoined"),
        (b"bell\x07 back\x08 nul\x00 del\x7f", "bell␇ back␈ nul␀ del␡"),
        (b"one\ntwo", "one␊two"),
        (b"a\tb", "a       b"),
        ("user\u202egnp.exe", "user<U+202E>gnp.exe"),
        ("zero\u200bwidth\ufeff", "zero<U+200B>width<U+FEFF>"),
        ("tag\U000e0041", "tag<U+E0041>"),
        ("line\u2028end", "line<U+2028>end"),
        ("no\u00a0break", "no break"),
        ("lone \udcff", "lone \ufffd"),
        ("Zürich 東京 🎓", "Zürich 東京 🎓"),
    ],
)
def test_printable(raw: bytes | str, shown: str) -> None:
    assert printable(raw) == shown


@given(st.one_of(hostile, st.binary()))
def test_nothing_unprintable_survives(raw: str | bytes) -> None:
    shown = printable(raw)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode()
    assert printable(shown) == shown


def test_length_is_bounded() -> None:
    assert printable("x" * 10, limit=4) == "xxxx…"
    assert len(printable("\t" * 100_000, limit=100)) == 101
    assert printable(b"\xc2\x9d" * 200_000, limit=10).startswith("<U+009D>")


def test_lines_show_what_a_terminal_would() -> None:
    assert lines(b"one\r\ntwo\n\n 10%\r 50%\r100%\nlast") == ["one", "two", "", "100%", "last"]
    assert lines(b"") == []


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
@example(b"a\rb\r\nc", [1, 2, 3, 4])
def test_splitter_gives_the_same_lines_however_it_is_fed(raw: bytes, cuts: list[int]) -> None:
    splitter = LineSplitter()
    borders = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    found = [line for a, b in pairwise(borders) for line in splitter.feed(raw[a:b])] + splitter.flush()
    assert found == lines(raw)


def test_splitter_is_bounded_and_shows_what_is_being_drawn() -> None:
    splitter = LineSplitter(limit=10)
    for _ in range(1000):
        assert splitter.feed(b"x" * 1000) == []
    assert splitter.partial == "xxxxxxxxxx…"
    assert splitter.feed(b"\r 99%") == []
    assert splitter.partial == " 99%"
    assert splitter.feed(b"\nnext\n") == [" 99%", "next"]
    assert splitter.flush() == []


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        ("backup_id = 20261101", "backup_id = 20261101"),
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("<script>", "&lt;script>"),
        ("&lt;b&gt; & co", "&amp;lt;b&amp;gt; & co"),
        ("[x](javascript:1)", r"\[x\](javascript:1)"),
        ("https://evil www.evil.org", r"https\://evil www\.evil.org"),
        ("# heading", r"\# heading"),
        ("1. item", r"1\. item"),
        ("_all_ *b* `c` ~~d~~ $e$", r"\_all\_ \*b\* \`c\` \~\~d\~\~ \$e\$"),
        ("two\nlines", "two␊lines"),
    ],
)
def test_cell(raw: str, written: str) -> None:
    assert cell(raw) == written


@given(hostile)
def test_a_cell_stays_one_cell_of_literal_text(raw: str) -> None:
    parser = MarkdownIt("gfm-like", {"html": True})
    assert parser.linkify is not None
    parser.linkify.set({"fuzzy_link": False})  # as in GFM: a bare domain is no link there
    table = f"| a | b |\n|---|---|\n| x{cell(raw)}x | end |\n"
    html = parser.render(table)
    body = html.split("<tbody>")[1]
    assert body.count("<td>") == 2
    assert "<td>end</td>" in body
    inside = body.split("<td>")[1].split("</td>")[0]
    assert "<" not in inside
    assert parser.render(f"- **x**: {cell(raw)}.\n").count("<") == 6
