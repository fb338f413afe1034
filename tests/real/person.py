"""The person at the keyboard of a run on the real machines: answers as the guide's text tells one to.

As a program it drives a run in a process of its own, which a test can kill; the documents are then
restored beside the data, on the backup VM:

    python -m tests.real.person PLATFORM_FOLDER start|resume
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from runbook.couch.restoring import ways
from runbook.errors import RunbookError, WaitsForPerson
from runbook.events import Asked, CheckDone, Live, Record, RunVerdict, Waiting
from runbook.front import Answer
from runbook.workbench import Workbench
from tests.real import cloud

GUIDE = "full-system-restore"
BY = "Test Operator"


def fingerprint(vm_root: Path) -> str:
    """Of the VM's own host key, read from its disk: its "console"."""
    key = vm_root / "etc/ssh/host_ed25519.pub"
    told = subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True)
    return told.stdout.split()[1]


class Person:
    """Confirms plans, compares fingerprints with the VM's disk, changes the DNS when told to, lets the
    restore work on ``restore_on`` where that is offered. All else is a problem: it stops there."""

    def __init__(self, folder: Path, restore_on: str = ways.HERE) -> None:
        self.folder, self.restore_on = folder, restore_on
        self.asked: list[Asked] = []
        self.checks: list[CheckDone] = []
        self.waits: list[Waiting] = []
        self.problems: list[str] = []

    async def answer(self, question: Asked) -> Answer:
        self.asked.append(question)
        match question.kind:
            case "confirm":
                return Answer(question.id, "go", BY, "test")
            case "accept":
                return Answer(question.id, "accept", BY, "test")
            case "host_key":
                return Answer(question.id, self._compared(question.text), BY, "test")
            case "evidence" if question.step == "dns":
                said = await asyncio.to_thread(cloud.ask, self.folder / "cloud.sock", "dns_point")
                return Answer(question.id, said, BY, "test")
            case "choice" if question.text == "Where shall the restore work?":
                offered = {option.value for option in question.options}
                way = self.restore_on if self.restore_on in offered else ways.HERE
                return Answer(question.id, way, BY, "test")
        self.problems.append(f"{question.step}: {question.kind}: {question.text}")
        if any(option.value == "stop" for option in question.options):
            return Answer(question.id, "stop", BY, "test")
        raise WaitsForPerson(question.text)

    def _compared(self, text: str) -> str:
        """Trust it only when it is that VM's own."""
        (name,) = re.findall(r"^(\S+) is not known yet", text)
        (told,) = re.findall(r"SHA256:\S{43}", text)
        real = fingerprint(self.folder / "net" / name)
        if told == real:
            return "accept"
        self.problems.append(f"{name} shows {told}, its disk has {real}")
        return "refuse"

    def record(self, record: Record) -> None:
        if isinstance(record.event, CheckDone):
            self.checks.append(record.event)

    def live(self, live: Live) -> None:
        if isinstance(live, Waiting):
            self.waits.append(live)


async def drive(folder: Path, person: Person, *, resume: bool = False) -> tuple[RunVerdict, Path]:
    """A drill of the guide, to its end or to the first problem: its verdict and folder."""
    bench = Workbench(folder / "state", site_path=folder / "site/runbook.toml")
    if resume:
        session = await bench.resume(bench.folder("latest").name)
    else:
        session = await bench.start(GUIDE, "drill")
    try:
        return await session.go(person), session.folder
    finally:
        await session.close()


def main(folder: Path, how: str) -> int:
    person = Person(folder, restore_on="backup")
    try:
        verdict, _ = asyncio.run(drive(folder, person, resume=how == "resume"))
    except RunbookError as error:
        print(error, file=sys.stderr)
        return 3
    print("\n".join(person.problems), file=sys.stderr)
    return 0 if verdict == "passed" else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
