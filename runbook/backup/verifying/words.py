"""A verification for a person, on a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from tabulate import tabulate

from runbook import units
from runbook.backup.verifying.actionitems import Item
from runbook.backup.verifying.findings import worst
from runbook.backup.verifying.report import Report
from runbook.backup.verifying.tested import Tested
from runbook.text import printable

_WIDTH, _TEXT, _MOST = 80, 52, 12
_STATES = {
    "proven": "proven",
    "good": "good",
    "note": "note",
    "unjudged": "not judged",
    "doubt": "look",
    "wrong": "WRONG",
}
#: true of all copies that are not the same
_ALWAYS = "; a document deleted on one node only comes back"
_VERDICTS = {
    "sound": "SOUND: nothing wrong was found.",
    "doubtful": "DOUBTFUL: usable, but look at what is said below.",
    "damaged": "DAMAGED: do not rely on it.",
}


def told(report: Report, tested: Tested | None, items: Iterable[Item]) -> str:
    where = f"{report.path} on {report.machine}" if report.machine else report.path
    parts = [f"Backup {printable(report.id)}: {_VERDICTS[report.verdict]}", wrapped(where, "  "), ""]
    parts.append(tabulate(_rows(report), headers=("aspect", "state", "what"), disable_numparse=True))
    for mark, texts in (("!", report.problems), ("?", report.remarks), ("·", report.notes)):
        if texts:
            parts += ["", *_list(mark, texts)]
    parts += ["", "Not proven by this:", *_list("-", report.unproven), ""]
    lacks = (
        f"no, it lacks {'; '.join(report.lacks)}" if report.lacks else "yes, by the names of what is in it"
    )
    parts.append(wrapped(f"Rebuildable from this alone: {lacks}.", ""))
    parts.append(wrapped(f"Last restore test: {_test(tested)}", ""))
    if report.written:
        parts.append(wrapped(f"SHA-256 of every file written to {report.written}.", ""))
    recorded = f"On record in {report.ledger}." if report.ledger else f"NOT on record: {report.unrecorded}."
    parts.append(wrapped(recorded, ""))
    open = [f"Action item ({item.at:%Y-%m-%d}, owner {item.owner}): {item.text}" for item in items]
    return "\n".join([*parts, *(wrapped(text, "") for text in open)])


def _rows(report: Report) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for aspect in _ORDER:
        found = [one for one in report.findings if one.aspect == aspect]
        if not found:
            continue
        state = worst(found)
        said = [one.text for one in found if one.state == state]
        if state in ("good", "note"):
            good = [one.text for one in found if one.state == "good"]
            text = _summed(aspect, report, good) if good else said[0]
            more = " (a note is below)" if state == "note" and good else ""
        else:
            text, more = said[0], f" (and {len(said) - 1} more)" if len(said) > 1 else ""
        rows.append((aspect, _STATES[state], _cell(text.removeprefix(f"{aspect}: "), more)))
    return rows


_ORDER = (
    "manifest",
    "checksum",
    "SHA-256",
    "dumps",
    "copies",
    "uploads",
    "archives",
    "settings",
    "logs",
    "relations",
    "earlier one",
    "age",
)


def _summed(aspect: str, report: Report, said: list[str]) -> str:
    match aspect:
        case "dumps" if report.documents:
            rows = sum(report.documents.values())
            return f"{len(report.documents)} dumps, {rows} documents, every row read"
        case "archives" | "logs":
            return f"{len(said)} read to the end, every member listed and safe"
        case "uploads":
            return "; ".join(dict.fromkeys(text.rpartition(": ")[2] for text in said))
        case "copies" | "settings":
            return "; ".join(text.replace(_ALWAYS, "") for text in dict.fromkeys(said))
    return said[0]


def _cell(text: str, more: str = "") -> str:
    lines = textwrap.wrap(printable(text, limit=400), _TEXT, break_on_hyphens=False)
    kept = lines if len(lines) <= 4 else [*lines[:3], f"{lines[3][: _TEXT - 2]} …"]
    if more and kept:
        kept = textwrap.wrap(" ".join(kept) + more, _TEXT, break_on_hyphens=False)
    return "\n".join(kept)


def _merged(texts: Iterable[str]) -> list[str]:
    """The same about several nodes' files is said once."""
    by: dict[str, list[str]] = {}
    for text in texts:
        name, colon, rest = text.partition(": ")
        of_file = bool(colon) and name.startswith("node-")
        by.setdefault(f"{name.partition('/')[2]}: {rest}" if of_file else text, []).append(text)
    return [
        all[0] if len(all) == 1 else f"{all[0].partition('/')[0]} and {len(all) - 1} more nodes, {text}"
        for text, all in by.items()
    ]


def _list(mark: str, given: Iterable[str]) -> list[str]:
    texts = _merged(given)
    lines = [wrapped(f"{mark} {text}", "  ", first="") for text in texts[:_MOST]]
    if len(texts) > _MOST:
        lines.append(f"  … and {len(texts) - _MOST} more; --json has all")
    return lines


def wrapped(text: str, indent: str, *, first: str | None = None) -> str:
    """``indent`` of the lines after the first (of which ``text`` may begin with one of its own)."""
    return textwrap.fill(
        printable(text, limit=1200),
        _WIDTH - 1,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _test(tested: Tested | None) -> str:
    if tested is None:
        return "none known; a drill with this backup would prove that it restores."
    lab = " (on the practice lab)" if tested.mode == "practice" else ""
    return f"{tested.at[:10]}, run {tested.run}{lab} passed."


def progress(done: int, total: int, seconds: float) -> str:
    """``1.2 GB of 3.4 GB, 350.1 MB/s, 6s left``"""
    rate = done / max(seconds, 0.001)
    left = f", {units.duration((total - done) / rate)} left" if done else ""
    return f"{units.size(done)} of {units.size(total)}, {units.size(rate)}/s{left}"
