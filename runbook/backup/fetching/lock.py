"""One fetch at a time into one folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbook.errors import StateError

NAME = ".runbook-fetch.lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Held until the block is left, or the process gone. Raises StateError when another one has it."""
    path = folder / NAME
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateError(
            f"{path} could not be opened: {error.strerror}. Nothing was fetched.",
            next="Can this user write to that folder?",
        ) from error
    with os.fdopen(handle, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = file.read(20).decode(errors="replace").strip()
            raise StateError(
                f"Another fetch into {folder} is under way (process {process or 'unknown'}). Nothing was "
                "done here.",
                next="Let it end; what it brings is there then.",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n".encode())
        file.flush()
        yield
