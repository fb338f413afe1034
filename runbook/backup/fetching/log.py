"""What fetches did, for whoever looks later: lines appended to a file beside the backups."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from runbook.clock import Clock, stamp
from runbook.text import printable

NAME = ".runbook-fetch.log"


class Log:
    """One line a fact, with the time in UTC; secrets and what a terminal would act upon taken out. A log
    that cannot be written is no reason to have no backup: ``problem`` says why, once."""

    def __init__(self, folder: Path, clock: Clock, redact: Callable[[str], str]) -> None:
        self.path = folder / NAME
        self.problem = ""
        self._clock, self._redact = clock, redact

    def write(self, text: str) -> None:
        line = f"{stamp(self._clock.now())} {printable(self._redact(text))}\n"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            with os.fdopen(os.open(self.path, flags, 0o600), "ab") as file:
                file.write(line.encode("utf-8", "replace"))
        except OSError as error:
            self.problem = self.problem or f"{self.path} could not be written: {error.strerror}"
