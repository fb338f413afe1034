"""The program in the kit: its wheel, those it needs, and the script that installs them."""

from __future__ import annotations

import sys
import sysconfig
from importlib.resources import files
from pathlib import Path

from runbook.errors import ActionFailed
from runbook.hosts.localfiles import sha256
from runbook.kit import source
from runbook.kit.parts import Lack, Part, counted
from runbook.text import printable

#: in a kit
WHEELS = "program/wheels"
REQUIREMENTS = "program/requirements.txt"
INSTALL = "install.sh"
_AGAIN = "Run `runbook kit` again where there is a network; until then this kit installs nothing."


def gather(into: Path, previous: Path) -> Part:
    """``previous``: a kit whose wheels serve again, if it is there: they are compared by hash."""
    ours, wheels = source.find(), into / WHEELS
    wheels.mkdir(parents=True)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    (into / "program" / "python").write_text(f"{python} {sysconfig.get_platform()}\n")
    (into / INSTALL).write_bytes(files("runbook.kit").joinpath(INSTALL).read_bytes())
    (into / INSTALL).chmod(0o700)
    bring = (f"Python {python} for {sysconfig.get_platform()}, with its venv module (the kit holds wheels)",)
    lacks = []
    try:
        ours.wheel(wheels)
    except (ActionFailed, OSError) as error:
        lacks.append(Lack(f"its own wheel could not be made: {printable(str(error))}", _AGAIN))
    if ours.lock is None:
        lacks.append(Lack("the list of what it needs, by hash, was not installed with it", _AGAIN))
    else:
        try:
            _needed(ours.lock, wheels, previous / WHEELS)
        except ActionFailed as error:
            lacks.append(Lack(f"the wheels it needs could not be had: {printable(error.what)}", _AGAIN))
    found = sorted(wheels.glob("*.whl"))
    if lacks:
        return Part(name="program", words="cannot be installed from it", lacks=tuple(lacks), bring=bring)
    (into / REQUIREMENTS).write_text("".join(map(_pinned, found)))
    return Part(name="program", words=f"{counted(len(found), 'wheel')}, for Python {python}", bring=bring)


def _needed(lock: Path, wheels: Path, previous: Path) -> None:
    """What is locked, by hash: from the kit before where that has it all, else as pip is configured."""
    arguments = ("wheel", "-q", "--no-deps", "--require-hashes", "-r", str(lock), "-w", str(wheels))
    if previous.is_dir():
        try:
            source.pip(*arguments, "--no-index", "--find-links", str(previous))
            return
        except ActionFailed:
            pass  # it holds others, or is damaged
    source.pip(*arguments)


def _pinned(wheel: Path) -> str:
    """A requirement on exactly this file."""
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version} --hash=sha256:{sha256(wheel)}\n"
