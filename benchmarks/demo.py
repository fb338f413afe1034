"""How long the whole practice run takes, and how much of it is only looking on.

    .venv/bin/python benchmarks/demo.py [ROUNDS]

Starts the lab, then runs the whole restore headless, side by side with the OpenTofu or Terraform
found on the PATH and with the lab's stand-in for it. Some of a run's time is fixed on purpose:
services are watched for a while before they are called steady. How long that was is read from the
run's journal; the rest is what a change of this program can move, and what a busy machine stretches.
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

from runbook.events import ActEnded, AttemptStarted, CheckDone, JobEnded, StepEnded
from runbook.guide import model as guide
from runbook.record import journal

GUIDE = "full-system-restore"


@dataclass
class Round:
    lab: float
    run: float
    #: seconds of each step, and of those the ones that were spent looking on
    steps: dict[str, float] = field(default_factory=dict)
    looking: dict[str, float] = field(default_factory=dict)


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
            return Round(lab, run, dict(_steps(journalled)), _looking(journalled))
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


def _looking(run: Path) -> dict[str, float]:
    """From the end of docker-compose to the end of the act, and in checks of steadiness; the slowest
    machine counts, as machines are watched side by side."""
    up = {step.id for step in guide.load(GUIDE).steps if step.action == "compose.up"}
    started: dict[tuple[str, str], datetime] = {}
    longest: dict[tuple[str, str], float] = {}

    def count(step: str, what: str, seconds: float) -> None:
        longest[step, what] = max(seconds, longest.get((step, what), 0.0))

    for record in journal.read(run):
        event, at = record.event, datetime.fromisoformat(record.at)
        if isinstance(event, JobEnded) and event.step in up:
            started[event.step, event.host] = at
        elif isinstance(event, ActEnded) and (begun := started.get((event.step, event.host))):
            count(event.step, "act", (at - begun).total_seconds())
        elif isinstance(event, CheckDone) and event.check.startswith("compose.steady"):
            count(event.step, event.check, event.seconds)
    found: dict[str, float] = {}
    for (step, _), seconds in longest.items():
        found[step] = found.get(step, 0.0) + seconds
    return found


def main(rounds: int) -> None:
    real = next((name for name in ("tofu", "terraform") if shutil.which(name)), None)
    kinds = {real or "": "", "stand-in": "stand-in"} if real else {"stand-in": "stand-in"}
    # in turns, so that a machine that gets slower does so for all of them
    found: dict[str, list[Round]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, tofu in kinds.items():
            found[name].append(measure(tofu))
    best = {name: min(measured, key=lambda one: one.run) for name, measured in found.items()}

    rows = []
    for name, one in best.items():
        looking = sum(one.looking.values())
        rows.append((name, one.lab, one.run, looking, one.run - looking))
    print(f"The best of {rounds}; seconds.")
    print(tabulate(rows, headers=("with", "lab up", "whole run", "looking on", "the rest"), floatfmt=".2f"))
    print()
    names = list(best)
    first = best[names[0]]
    steps = [
        (step, first.looking.get(step, 0.0), *(best[name].steps[step] for name in names))
        for step in first.steps
    ]
    print(tabulate(steps, headers=("step", "looking on", *names), floatfmt=".2f"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
