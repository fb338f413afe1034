"""Words that every front end uses: machines, each named once (most messages name theirs first, others
do not), and how far a work is."""

from __future__ import annotations

from runbook.events import Progress
from runbook.units import duration, size


def named(host: str, text: str) -> str:
    """``text`` with its machine's name before it."""
    return text if text.startswith((f"{host}:", f"{host} ")) else f"{host}: {text}"


def unnamed(host: str, text: str) -> str:
    """``text`` for a place where the machine's name stands already."""
    return text.removeprefix(f"{host}:").lstrip() if text.startswith(f"{host}:") else text


def place(host: str) -> str:
    """A machine as a person calls it."""
    return "this PC" if host == "operator" else host


def amount(live: Progress) -> str:
    """``1.2 GB of 3.4 GB 35%, 80 MB/s, 27s left``; what is not known is left out."""

    def show(number: float) -> str:
        return size(number) if live.unit == "bytes" else f"{number:,.0f}"

    total = f" of {show(live.total)}" if live.total else ""
    share = f" {min(live.done / live.total, 1):.0%}" if live.total > 0 else ""
    unit = "" if live.unit == "bytes" else f" {live.unit}"
    rate = f", {show(live.per_second)}/s" if live.per_second else ""
    if live.per_second and live.total > live.done:
        rate += f", {duration((live.total - live.done) / live.per_second)} left"
    return f"{show(live.done)}{total}{unit}{share}{rate}"
