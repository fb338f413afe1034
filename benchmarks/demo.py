"""How long the whole practice run takes, and how much of it is only looking on.

    .venv/bin/python benchmarks/demo.py [ROUNDS]

Starts the lab, then runs the whole restore headless, side by side with the OpenTofu or Terraform
found on the PATH and with the lab's stand-in for it. Some of a run's time is fixed on purpose:
services are watched for a while before they are called steady. The ratio to those windows is
what a change of this program can move; the seconds depend on the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tabulate import tabulate

from runbook import guide, journal
from runbook.actions.compose import UpParams
from runbook.events import AttemptStarted, StepEnded
from runbook.units import parse_duration

GUIDE = "full-system-restore"


def windows() -> dict[str, float]:
    """Seconds each step of the guide looks on at least, by step."""
    found: dict[str, float] = {}
    for step in guide.load(GUIDE).steps:
        seconds = 0.0
        if step.action == "compose.up":
            seconds += parse_duration(str(step.with_.get("steady_for", UpParams().steady_for)))
        for call in step.after:
            if call.name == "compose.steady":
                seconds += parse_duration(str(call.args["over"]))
        if seconds:
            found[step.id] = seconds
    return found


@dataclass
class Round:
    lab: float
    run: float
    steps: dict[str, float] = field(default_factory=dict)


def measure(tofu: str) -> Round:
    """``tofu``: "" for what is on the PATH, "stand-in" for the lab's own."""
    with tempfile.TemporaryDirectory(prefix="runbook-bench-") as folder:
        state = Path(folder) / "state"
        command = [sys.executable, "-m", "runbook.cli", "--state", str(state)]
        environment = os.environ | ({"RUNBOOK_LAB_TOFU": tofu} if tofu else {})

        def seconds(*words: str) -> float:
            began = time.perf_counter()
            done = subprocess.run(
                [*command, *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
            return time.perf_counter() - began

        try:
            lab = seconds("lab", "up")
            run = seconds("run", GUIDE, "--mode", "practice", "--yes")
            (journalled,) = (state / "runs").iterdir()
            return Round(lab, run, dict(_steps(journalled)))
        finally:
            subprocess.run([*command, "lab", "down"], capture_output=True, check=False)


def _steps(run: Path) -> Iterator[tuple[str, float]]:
    begun: dict[str, datetime] = {}
    for record in journal.read(run):
        at = datetime.fromisoformat(record.at)
        if isinstance(record.event, AttemptStarted):
            begun.setdefault(record.event.step, at)
        elif isinstance(record.event, StepEnded):
            yield record.event.step, (at - begun[record.event.step]).total_seconds()


def main(rounds: int) -> None:
    real = next((name for name in ("tofu", "terraform") if shutil.which(name)), None)
    kinds = {real or "": "", "stand-in": "stand-in"} if real else {"stand-in": "stand-in"}
    # in turns, so that a machine that gets slower does so for all of them
    found: dict[str, list[Round]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, tofu in kinds.items():
            found[name].append(measure(tofu))
    best = {name: min(measured, key=lambda one: one.run) for name, measured in found.items()}

    looking = windows()
    total = sum(looking.values())
    rows = [(name, one.lab, one.run, total, one.run / total, one.run - total) for name, one in best.items()]
    print(f"The best of {rounds}; seconds.")
    headers = ("with", "lab up", "whole run", "of it watch windows", "run ÷ windows", "the rest")
    print(tabulate(rows, headers=headers, floatfmt=".2f"))
    print()
    names = list(best)
    steps = [
        (step, looking.get(step, 0.0), *(best[name].steps[step] for name in names))
        for step in best[names[0]].steps
    ]
    print(tabulate(steps, headers=("step", "watch window", *names), floatfmt=".2f"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
