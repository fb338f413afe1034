"""The OpenTofu program and a mirror of its providers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from runbook.kit.parts import Lack, Part, counted
from runbook.site.model import Tofu
from runbook.text import lines, printable
from runbook.tofu.program import QUIET, which

BIN = "tofu/bin"
PROVIDERS = "tofu/providers"
#: seconds; every provider is downloaded
_LIMIT = 600.0


def program(tofu: Tofu | None, into: Path) -> Part:
    named = tofu.program if tofu else ""
    found = which(named)
    if not found:
        what = f"{named or 'neither tofu nor terraform'} is not on the PATH of this PC"
        lack = Lack(
            what, "Install OpenTofu (opentofu.org), or set tofu.program; then run `runbook kit` again."
        )
        return Part(name="opentofu", words="none", lacks=(lack,))
    target = into / BIN / Path(found).name
    target.parent.mkdir(parents=True)
    shutil.copyfile(found, target)
    target.chmod(0o700)
    if not _is_program(target):
        target.unlink()
        target.parent.rmdir()
        lack = Lack(
            f"{found} is a script that calls something else", "Set tofu.program to the program itself."
        )
        return Part(name="opentofu", words="none", lacks=(lack,))
    return Part(name="opentofu", words=f"{found}, for this kind of PC")


def _is_program(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) != b"#!"


def providers(tofu: Tofu | None, into: Path) -> Part:
    """Downloaded where there is a network; else what `init` has brought into the folder."""
    folder = Path(tofu.folder) if tofu else None
    if folder is None or not folder.is_dir():
        lack = Lack("without OpenTofu's files it is not known which", "See infrastructure.")
        return Part(name="providers", words="none", lacks=(lack,))
    target = into / PROVIDERS
    target.parent.mkdir(parents=True, exist_ok=True)
    problem = _mirror(which(tofu.program if tofu else ""), folder, target)
    if not problem:
        count = _count(target)
        if count:
            return Part(name="providers", words=f"{counted(count, 'provider')}, by `providers mirror`")
        shutil.rmtree(target, ignore_errors=True)
        return Part(name="providers", words="none are needed")
    shutil.rmtree(target, ignore_errors=True)
    brought = folder / ".terraform" / "providers"
    if brought.is_dir() and any(brought.iterdir()):
        shutil.copytree(brought, target)
        return Part(
            name="providers",
            words=f"{counted(_count(target), 'provider')}, as `init` brought them to {folder}",
        )
    lack = Lack(
        f"they could not be downloaded ({problem}), and {brought} holds none",
        "Run `tofu init` in the folder, or `runbook kit` again, where there is a network.",
    )
    return Part(name="providers", words="none", lacks=(lack,))


def _mirror(tofu: str | None, folder: Path, target: Path) -> str:
    """Why it could not be made; "" when it was."""
    if tofu is None:
        return "there is no OpenTofu here"
    target.mkdir()
    argv = [tofu, "providers", "mirror", str(target)]
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env={**os.environ, **QUIET},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {_LIMIT:.0f} s"
    except OSError as error:
        return f"{tofu}: {error.strerror}"
    if not done.returncode:
        return ""
    said = [text for line in lines(done.stderr) if (text := line.strip("│╷╵ "))]
    errors = [at for at, text in enumerate(said) if text.startswith("Error:")]
    told = " ".join(said[errors[0] : errors[0] + 2] if errors else said[-1:])
    return printable(told, limit=300) or f"exit status {done.returncode}"


def _count(mirror: Path) -> int:
    """Providers: HOST/NAMESPACE/NAME."""
    return sum(path.is_dir() for path in mirror.glob("*/*/*"))
