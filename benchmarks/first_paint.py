"""How long until the home screen is painted, beside a trivial Textual app. Goal: at most 1.5 times.

    .venv/bin/python benchmarks/first_paint.py [ROUNDS]

Each is a process of its own, timed from its start to its first paint. On a busy machine such a time
can double from one moment to the next, so the apps are started in turns and never far apart: what
counts is the ratio of neighbours, and of those the median. The processor time of the same starts is
told beside it: that hardly depends on what else runs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

GOAL = 1.5
ROOT = Path(__file__).resolve().parent.parent
#: shared by both: notes the moment at which ``text`` is in what is sent to the terminal, and the
#: processor time that the process had used until then
WATCH = """
import sys, time
class Watch:
    at = 0.0
    def _display(self, screen, renderable):
        super()._display(screen, renderable)
        if not self.at and renderable is not None:
            drawn = "".join(strip.text for strip in screen._compositor.render_strips())
            if self.text in drawn:
                self.at, self.processor = time.time(), time.process_time()
                self.exit()
"""
TRIVIAL = f"""{WATCH}
from textual.app import App
from textual.widgets import Static
class Trivial(Watch, App):
    text = "hello"
    def compose(self):
        yield Static("hello")
app = Trivial()
app.run(headless=True, size=(80, 24))
print(app.at, app.processor)
"""
HOME = f"""{WATCH}
from tui.app import RunbookApp
def bench():
    from pathlib import Path
    from runbook.workbench import Workbench
    return Workbench(Path(sys.argv[1]))
class Home(Watch, RunbookApp):
    text = "Recovery runbook"
app = Home(bench)
app.run(headless=True, size=(80, 24))
print(app.at, app.processor)
"""
PROGRAMS = {
    "home screen": HOME,
    # everything of the first screen is there: guides and settings were read
    "guides listed": HOME.replace('"Recovery runbook"', '"Full system restore"'),
}


class Start(NamedTuple):
    paint: float  #: seconds until the first paint
    processor: float  #: seconds of processor time until then


def once(program: str) -> Start:
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-c", program, "/nonexistent"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    painted, processor = map(float, done.stdout.split())
    return Start(painted - began, processor)


def rounds(name: str, count: int) -> list[tuple[Start, Start]]:
    """(trivial app, the other) by turns: A B, B A, A B … so that neither always comes second."""
    found = []
    for number in range(count):
        if number % 2:
            other, trivial = once(PROGRAMS[name]), once(TRIVIAL)
        else:
            trivial, other = once(TRIVIAL), once(PROGRAMS[name])
        found.append((trivial, other))
    return found


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    for program in (TRIVIAL, *PROGRAMS.values()):
        once(program)  # the byte code is written, the files are in memory
    rows, ratios = [], {}
    for name in PROGRAMS:
        pairs = rounds(name, count)
        ratios[name] = statistics.median(other.paint / trivial.paint for trivial, other in pairs)
        rows.append(
            (
                name,
                statistics.median(trivial.paint for trivial, _ in pairs),
                statistics.median(other.paint for _, other in pairs),
                ratios[name],
                statistics.median(other.processor / trivial.processor for trivial, other in pairs),
            )
        )
    headers = ("first paint of", "trivial app (s)", "this (s)", "ratio", "ratio of processor time")
    print(f"Medians of {count} pairs.")
    print(tabulate(rows, headers=headers, floatfmt=".2f"))
    return 0 if ratios["home screen"] <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
