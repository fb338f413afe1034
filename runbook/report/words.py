"""How the report writes times, sizes and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from tabulate import DataRow, TableFormat, tabulate

from runbook.report import model
from runbook.text import cell, lines
from runbook.units import duration, size


def _rule(widths: Sequence[int], aligns: object) -> str:
    return "|" + "---|" * len(widths)


_ROW = DataRow("| ", " | ", " |")
#: Markdown's table without padding
_TIGHT: Any = TableFormat(
    lineabove=None,
    linebelowheader=_rule,
    linebetweenrows=None,
    linebelow=None,
    headerrow=_ROW,
    datarow=_ROW,
    padding=0,
    with_header_hide=None,
)

#: lines and characters of a check's evidence that are shown; the JSON has all of it
_EVIDENCE_LINES = 60
_EVIDENCE_WIDTH = 200
#: characters of a table's cell
_CELL = 1500


def when(at: str) -> str:
    """``2026-11-24 02:32:10 UTC``; what is no time stays as it is."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return at
    if moment.tzinfo is None:
        return f"{moment:%Y-%m-%d %H:%M:%S} (zone not recorded)"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def took(seconds: float) -> str:
    return f"{seconds:.1f}s" if 0 < seconds < 10 else duration(seconds)


def sized(count: int) -> str:
    return f"{size(count)} ({count} bytes)" if count >= 1000 else f"{count} bytes"


def ended_in(status: int | None) -> str:
    return "unknown" if status is None else str(status)


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A table of harmless cells; "None on record." when there are no rows. Columns are not
    padded: one long cell would widen every line, and change them all in a comparison."""
    written = [[cell(str(value), limit=_CELL) if value is not None else "?" for value in row] for row in rows]
    if not written:
        return ["None on record."]
    text = tabulate(written, list(headers), _TIGHT, disable_numparse=True, stralign=None)
    return text.split("\n")


def facts(*pairs: tuple[str, str]) -> list[str]:
    return [f"- **{name}**: {cell(value, limit=4000)}" for name, value in pairs]


def checks_table(checks: Iterable[model.Checked]) -> list[str]:
    """The checks, and below them the evidence of those that gave some."""
    checks = list(checks)
    found = table(
        ("check", "host", "verdict", "expected", "observed", "took", "evidence"),
        [
            (
                each.check if each.required else f"{each.check} (optional)",
                each.host,
                each.verdict if each.verdict == "pass" else each.verdict.upper(),
                each.expected,
                each.observed,
                took(each.seconds),
                each.label,
            )
            for each in checks
        ],
    )
    for each in checks:
        if each.evidence:
            found += ["", f"Evidence of {cell(each.check)} on {cell(each.host)}:", "", *block(each.evidence)]
    return found


def block(text: str) -> list[str]:
    """Lines from outside, literally: an indented block, which nothing in it can end."""
    shown = lines(text, limit=_EVIDENCE_WIDTH)
    rest = len(shown) - _EVIDENCE_LINES
    if rest > 0:
        shown = [*shown[:_EVIDENCE_LINES], f"… and {rest} more lines (the JSON report has them)"]
    return [f"    {line}".rstrip() for line in shown]
