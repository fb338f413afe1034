"""How long until the home screen is painted, beside a trivial Textual app. Goal: at most 1.5 times.

Each is started in a process of its own, in turns, and timed from the process's start to its first
paint. ``python benchmarks/first_paint.py [ROUNDS]`` prints the medians and their ratio.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: shared by both: notes the moment at which ``text`` is in what is sent to the terminal
WATCH = """
import sys, time
class Watch:
    at = 0.0
    def _display(self, screen, renderable):
        super()._display(screen, renderable)
        if not self.at and renderable is not None:
            drawn = "".join(strip.text for strip in screen._compositor.render_strips())
            if self.text in drawn:
                self.at = time.time()
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
print(app.at)
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
print(app.at)
"""
#: the guides are listed: everything of the first screen is there
LISTED = HOME.replace('"Recovery runbook"', '"Full system restore"')


def once(program: str, state: str) -> float:
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", program, state],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return float(done.stdout) - started


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    programs = {"trivial app": TRIVIAL, "home screen": HOME, "guides listed": LISTED}
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            times[name].append(once(program, "/nonexistent"))
    base = statistics.median(times["trivial app"])
    for name, each in times.items():
        median = statistics.median(each)
        print(f"{name:14} median {median:.3f} s  (min {min(each):.3f})  ratio {median / base:.2f}")
    return 0 if statistics.median(times["home screen"]) <= 1.5 * base else 1


if __name__ == "__main__":
    sys.exit(main())
