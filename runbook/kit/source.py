"""Where this program's own files are: in a checkout, or as they were installed from a wheel."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from shutil import copytree, ignore_patterns

import runbook
from runbook.errors import ActionFailed
from runbook.text import lines

NAME = "openedx-dr-runbook"
#: where a wheel's data files go, below the environment's prefix
SHARE = f"share/{NAME}/"
#: of what an installer writes beside the files
_INSTALLERS = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
_PACKAGES = ("runbook", "checks", "tui")
_LIMIT = 600.0


@dataclass(frozen=True)
class Source:
    """``root``: the checkout; None when this program was installed from a wheel. ``lock``: what it needs,
    pinned by hash; None when that did not come along."""

    root: Path | None
    lock: Path | None
    docs: tuple[Path, ...]

    def wheel(self, into: Path) -> None:
        """This program as a wheel in that folder. Raises ActionFailed."""
        if self.root:
            _built(self.root, into)
        else:
            _packed(metadata.distribution(NAME), into)


def find() -> Source:
    root = Path(runbook.__file__).resolve().parents[1]
    if (root / "pyproject.toml").is_file():
        lock = root / "requirements" / "run.txt"
        docs = (root / "README.md", root / "ARCHITECTURE.md", *sorted((root / "docs").glob("*.md")))
        return Source(root, lock if lock.is_file() else None, tuple(doc for doc in docs if doc.is_file()))
    shared = [Path(str(file.locate())) for file in _files() if SHARE in file.as_posix()]
    pins = next((file for file in shared if file.name == "run.txt"), None)
    return Source(None, pins, tuple(file for file in shared if file.suffix == ".md"))


def _files() -> list[metadata.PackagePath]:
    try:
        return metadata.files(NAME) or []
    except metadata.PackageNotFoundError:
        return []


def pip(*arguments: str) -> None:
    """This Python's pip with its own configuration. Raises ActionFailed with what it said."""
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise ActionFailed(f"pip did not end within {_LIMIT:.0f} s.") from None
    if done.returncode:
        told = lines(done.stderr)
        said = [line for line in told if "ERROR" in line or "No module" in line]
        away = "pip could not connect, and so: " if any("Retrying" in line for line in told) else ""
        raise ActionFailed(away + (said[-1] if said else f"exit status {done.returncode} of pip"))


def _built(root: Path, into: Path) -> None:
    """From a copy: building writes into the folder that it builds."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in (*_PACKAGES, "docs", "requirements"):
            if (root / name).is_dir():
                copytree(root / name, copy / name, ignore=ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "ARCHITECTURE.md"):
            (copy / name).write_bytes((root / name).read_bytes())
        pip("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(into), str(copy))


def _packed(installed: metadata.Distribution, into: Path) -> None:
    """A wheel of the files that an installer recorded."""
    stem = f"{NAME.replace('-', '_')}-{installed.version}"
    record = []
    with zipfile.ZipFile(into / f"{stem}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in installed.files or []:
            name = _place(file, stem)
            if not name:
                continue
            data = Path(str(file.locate())).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}")
            wheel.writestr(name, data)
        listed = f"{stem}.dist-info/RECORD"
        wheel.writestr(listed, "\n".join([*record, f"{listed},,", ""]))


def _place(file: metadata.PackagePath, stem: str) -> str:
    """Its name in the wheel; "" when it is not of the wheel."""
    path = file.as_posix()
    if SHARE in path:
        return f"{stem}.data/data/{path[path.index(SHARE) :]}"
    if path.startswith("..") or "__pycache__" in path or file.name in _INSTALLERS:
        return ""
    return path
