"""What the hosts printed in one attempt: a file below the run's folder, proved by its hash."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from runbook.record.runs import slug
from runbook.redact import Redactor

FOLDER = "output"


class OutputFile:
    """``output/<name>.log``, mode 0600, made with the first bytes, never written over: if there
    is one of that name (a resumed run), ``-2`` and so on is added. Bytes are redacted on the way.

    A disk that fails does not stop the act: what could not be kept is left out, ``problem`` says
    so, and size and hash are those of what is in the file.
    """

    def __init__(self, run_dir: Path, name: str, redactor: Redactor) -> None:
        self._run_dir, self._name = run_dir, slug(name)
        self._stream = redactor.stream()
        self._hash = hashlib.sha256()
        self._file = -1
        self._guard = threading.Lock()
        self.bytes = 0
        #: relative to the run's folder; "" until something was written
        self.path = ""
        self.problem = ""

    def write(self, chunk: bytes) -> bytes:
        """Keep it; returns what can be shown of it now, redacted (a secret may go on in the next)."""
        with self._guard:
            return self._put(self._stream.feed(chunk))

    def flush(self) -> bytes:
        """No more will come: what was held back, redacted."""
        with self._guard:
            return self._put(self._stream.flush())

    def close(self) -> tuple[str, int, str]:
        """(relative path, bytes, SHA-256); ("", 0, "") when nothing was written."""
        self.flush()
        with self._guard:
            if self._file >= 0:
                try:
                    os.fsync(self._file)
                except OSError as error:
                    self.problem = self.problem or f"{self.path}: {error.strerror}"
                os.close(self._file)
                self._file = -1
        return (self.path, self.bytes, self._hash.hexdigest()) if self.path else ("", 0, "")

    def _put(self, data: bytes) -> bytes:
        if not data or self.problem:
            return data
        try:
            if self._file < 0:
                self._open()
            view = memoryview(data)
            while view:
                count = os.write(self._file, view)
                self._hash.update(view[:count])
                self.bytes += count
                view = view[count:]
        except OSError as error:
            self.problem = f"output of {self._name} is not kept whole: {error.strerror}"
        return data

    def _open(self) -> None:
        folder = self._run_dir / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        number = 1
        while self._file < 0:
            name = f"{self._name}{f'-{number}' if number > 1 else ''}.log"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            try:
                self._file = os.open(folder / name, flags, 0o600)
            except FileExistsError:
                number += 1
        self.path = f"{FOLDER}/{name}"
