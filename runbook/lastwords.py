"""What a command that failed said at its end, for a message."""

from __future__ import annotations

from runbook.hosts.base import Completed


def last_words(done: Completed, lines: int = 3) -> str:
    """The last lines of its errors, else of its output, else its exit status."""
    said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return " / ".join(said[-lines:]) or f"exit status {done.exit_status}, no output"
