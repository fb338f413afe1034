"""Is a kit still what it was, and does the program install from it without a network?"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import msgspec

from runbook.errors import UseError
from runbook.kit import program, sums
from runbook.text import lines, printable

#: seconds for the installation; for each call of what was installed
_INSTALL, _CALL = 600.0, 60.0


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """``problems``: of the sums; ``failed``: why the installation failed; "" where it did not, or none was
    tried (then ``how`` is empty too)."""

    folder: str
    problems: tuple[str, ...]
    how: str
    version: str
    failed: str

    @property
    def ok(self) -> bool:
        return not self.problems and not self.failed and bool(self.how)


def verify(folder: Path) -> Trial:
    """Raises UseError when it is no kit. Nothing of a kit that has changed is run."""
    kit = folder.expanduser().resolve()
    if not kit.is_dir():
        raise UseError(f"There is no folder {kit}.", next="runbook kit DIR makes a kit.")
    found = tuple(map(printable, sums.problems(kit)))
    how = version = failed = ""
    if not found and (kit / program.REQUIREMENTS).is_file():
        away = _no_network()
        how = (
            "in a network namespace of its own, without any network"
            if away
            else "with pip's --no-index (this user cannot take the network itself away)"
        )
        version, failed = _install(kit, away)
    elif not found:
        failed = "the kit holds no program to install; MISSING.txt says why"
    return Trial(folder=str(kit), problems=found, how=how, version=version, failed=failed)


def _no_network() -> tuple[str, ...]:
    """What to put before a command so that it runs without a network; nothing where that is not allowed."""
    away = ("unshare", "-n", "--") if os.geteuid() == 0 else ("unshare", "-r", "-n", "--")
    try:
        done = subprocess.run([*away, "true"], capture_output=True, timeout=_CALL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return away if done.returncode == 0 else ()


def _install(kit: Path, away: tuple[str, ...]) -> tuple[str, str]:
    """(the version that runs, "") or ("", what failed). In a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="runbook-kit-") as folder:
        target = Path(folder, "recovery")
        program = str(target / "venv" / "bin" / "runbook")
        env = {
            name: value for name, value in os.environ.items() if not name.startswith(("RUNBOOK_", "PYTHON"))
        }
        version = ""
        for argv, limit in (
            (["sh", str(kit / "install.sh"), str(target)], _INSTALL),
            ([program, "--version"], _CALL),
            ([program, "guide", "list"], _CALL),
        ):
            try:
                done = subprocess.run(
                    [*away, *argv],
                    cwd=folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=limit,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return "", f"{' '.join(argv[:2])} did not end within {limit:.0f} s"
            if done.returncode:
                said = "; ".join(lines(done.stderr)[-4:])
                return "", f"{' '.join(argv[:2])} ended with exit status {done.returncode}: {said}"
            if argv[1] == "--version":
                version = printable(done.stdout.strip())
        return version, ""
