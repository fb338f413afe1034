"""Runs OpenTofu as a job and turns its event stream into lines for a person. A program of its own:

    python tofujob.py EVENTS_FILE PROGRAM ARGUMENT…   (stdin: a JSON object of TF_VAR_… variables)

Secrets come by stdin and go into the child's environment alone. The raw events are kept in
EVENTS_FILE for whoever started the job; a plan file beside it, which holds secrets, is removed
when it has been applied. It imports nothing of this package, so that it starts at
once and needs no installation.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def line(event: dict[str, Any]) -> str:
    """An event of ``-json`` for a person: its ``@message``, and what a diagnostic says besides."""
    text = str(event.get("@message") or event.get("type") or event)
    diagnostic = event.get("diagnostic")
    if isinstance(diagnostic, dict):
        if where := place(diagnostic):
            text += f" ({where})"
        if diagnostic.get("detail"):
            text += f"\n{diagnostic['detail']}"
    return text


def place(diagnostic: dict[str, Any]) -> str:
    """Where in the files a diagnostic points to: ``main.tf:19``; empty when it does not."""
    where = diagnostic.get("range")
    if isinstance(where, dict) and isinstance(where.get("start"), dict):
        return f"{where.get('filename')}:{where['start'].get('line')}"
    return ""


def parse(raw: bytes | str) -> dict[str, Any] | None:
    """The event of a line; None when it is none (plain text, cut off)."""
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def main(argv: list[str]) -> int:
    events, program = argv[0], argv[1:]
    secrets = json.loads(sys.stdin.buffer.read() or b"{}")
    # a stop comes to the whole process group: OpenTofu ends in order, and we say what it says
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    descriptor = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with (
        open(descriptor, "ab") as kept,  # noqa: PTH123 - made with its mode
        subprocess.Popen(
            program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **secrets},
        ) as child,
    ):
        assert child.stdout
        for raw in child.stdout:
            kept.write(raw)
            kept.flush()
            event = parse(raw)
            text = line(event) if event is not None else raw.decode(errors="replace").rstrip("\n")
            print(text, flush=True)
        status = child.wait()
    # applied or refused, it is of no more use; who started us may never come back to remove it
    plan = Path(program[-1])
    if plan.suffix == ".plan" and plan.parent == Path(events).parent:
        plan.unlink(missing_ok=True)
    return status if status >= 0 else 128 - status


PATH = str(Path(__file__).resolve())

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
