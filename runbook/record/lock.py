"""One writer a journal: an advisory lock that says who holds it."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from pathlib import Path

from runbook.errors import JournalLocked


class Lock:
    """Taken when made; gone when the process is. Raises JournalLocked naming the holder."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        for _ in range(5):  # someone may only be looking (see held)
            if _try(self._file, fcntl.LOCK_EX):
                break
            time.sleep(0.02)
        else:
            holder = _holder(self._file)
            os.close(self._file)
            self._file = -1
            raise JournalLocked(
                f"The run in {path.parent} is open elsewhere: {holder}.",
                next="Go on there, or leave it there first: q in the app, where nothing is lost by it. "
                "Nothing was changed.",
            )
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps({"pid": os.getpid(), "host": platform.node()}).encode(), 0)

    def release(self) -> None:
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1


def held(path: Path) -> bool:
    """Does a process hold the lock now?"""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _try(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: int) -> str:
    try:
        found = json.loads(os.pread(file, 1000, 0))
        return f"process {int(found['pid'])} on {found['host']}"
    except (ValueError, KeyError, TypeError, OSError):
        return "by a process that did not say who it is"
