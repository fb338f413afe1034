"""A kit is made beside its place and then put there whole: under its name there is never half a one."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runbook.errors import UseError
from runbook.kit import sums

_MARKS = (sums.NAME, "MISSING.txt", "install.sh")


class Place:
    """Where a kit is to stand. Raises UseError when something else stands there."""

    def __init__(self, folder: Path) -> None:
        self.final = folder.expanduser().resolve()
        self.new = self.final.parent / f".{self.final.name}.new"
        self.old = self.final.parent / f".{self.final.name}.old"
        if self.final.is_mount():
            raise UseError(
                f"{self.final} is a drive's own folder, which cannot be exchanged.",
                next=f"Name a folder on it: {self.final / 'kit'}",
            )
        if self.final.exists() and not self.final.is_dir():
            raise UseError(f"{self.final} is a file. Nothing was changed.", next="Name a folder.")
        if self.final.is_dir() and any(self.final.iterdir()) and not is_kit(self.final):
            raise UseError(
                f"{self.final} holds other things and is no kit. Nothing was changed.",
                next="Name a folder that is empty, or is not there yet.",
            )

    @contextmanager
    def building(self) -> Iterator[Path]:
        """An empty folder beside it, of mode 0700, ours alone; removed unless ``exchange`` was called. What
        a run that was killed left is cleared away."""
        self.new.parent.mkdir(parents=True, exist_ok=True)
        self.new.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(self.new, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UseError(
                    f"Another program makes this kit now (in {self.new}).", next="Wait until it has ended."
                ) from None
            self._put_back()
            for path in self.new.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            close(self.new)
            try:
                yield self.new
            finally:
                shutil.rmtree(self.new, ignore_errors=True)  # when it took the kit's place it is not there
        finally:
            os.close(handle)

    def _put_back(self) -> None:
        """A run that was killed between the two renames left the kit under its other name."""
        if is_kit(self.old) and not self.final.exists():
            self.old.rename(self.final)

    def exchange(self) -> None:
        _sync(self.new)
        if self.final.exists():
            shutil.rmtree(self.old, ignore_errors=True)
            self.final.rename(self.old)
        self.new.rename(self.final)
        shutil.rmtree(self.old, ignore_errors=True)


def is_kit(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _MARKS)


def close(path: Path) -> None:
    """To this user alone; what can be run stays so. Where a file system knows no modes, nothing is done."""
    with suppress(PermissionError):
        path.chmod(0o700 if path.is_dir() or path.stat().st_mode & 0o100 else 0o600)


def _sync(folder: Path) -> None:
    """On the medium before it gets its name: it may be pulled out at once."""
    for at, _, names in os.walk(folder):
        for path in (Path(at), *(Path(at, name) for name in names)):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
