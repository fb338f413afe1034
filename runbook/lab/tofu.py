"""Which OpenTofu the practice site uses: a real one on the PATH, else a stand-in that says so."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import runbook
from runbook.lab.layout import Layout
from runbook.lab.shims import quoted

#: set to "stand-in" to leave a real one alone, or to a program's path
CHOICE = "RUNBOOK_LAB_TOFU"


def choose(layout: Layout) -> tuple[str, bool]:
    """The program's path, and whether it is the stand-in."""
    wanted = os.environ.get(CHOICE, "")
    if wanted and wanted != "stand-in":
        return wanted, False
    real = None if wanted else shutil.which("tofu") or shutil.which("terraform")
    return (real, False) if real else (str(write_stand_in(layout)), True)


def write_stand_in(layout: Layout) -> Path:
    program = layout.programs / "tofu"
    program.parent.mkdir(parents=True, exist_ok=True)
    parent, python = quoted(Path(runbook.__file__).resolve().parent.parent), quoted(sys.executable)
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH='{parent}'${{PYTHONPATH:+:$PYTHONPATH}} "
        f"exec '{python}' -m runbook.lab.tofustandin \"$@\"\n"
    )
    program.chmod(0o755)
    return program
