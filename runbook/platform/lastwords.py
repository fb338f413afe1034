"""What a command that failed said at its end, for a message."""

from __future__ import annotations

from runbook.hosts.base import Completed
from runbook.platform.troubles import last_lines


def last_words(done: Completed, lines: int = 3) -> str:
    """The last lines of its errors, else of its output, else its exit status."""
    said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    return " / ".join(said[-lines:]) or f"exit status {done.exit_status}, no output"


def ended(command: str, done: Completed) -> str:
    """How a command ended that should have ended well, in words."""
    if done.exit_status is None:
        return f"{command}: the connection went before it ended"
    said = last_lines((done.stdout + done.stderr).decode(errors="replace"), 1)
    return f"{command} ended with {done.exit_status}: {said or 'it said nothing'}"
