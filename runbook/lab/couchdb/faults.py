"""Faults made on purpose, for one node."""

from __future__ import annotations

import threading
import time

from runbook.lab.couchdb.errors import Dropped, HttpError


class Faults:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing = self._status = self._dropping = 0
        self._drop_after = False
        self._seconds = 0.0

    def fail_next(self, count: int, status: int) -> None:
        with self._lock:
            self._failing, self._status = count, status

    def drop_connections(self, count: int, *, after: bool = False) -> None:
        with self._lock:
            self._dropping, self._drop_after = count, after

    def delay(self, seconds: float) -> None:
        self._seconds = seconds

    def before(self) -> None:
        """Before a request is looked at. Raises HttpError, Dropped."""
        if self._seconds:
            time.sleep(self._seconds)
        if not (self._failing or self._dropping):
            return
        with self._lock:
            if self._failing:
                self._failing -= 1
                raise HttpError(self._status, "internal_server_error", "A fault made on purpose.")
            if self._dropping and not self._drop_after:
                self._dropping -= 1
                raise Dropped

    def after(self) -> None:
        """After a request was carried out, before its reply. Raises Dropped."""
        if not self._dropping:
            return
        with self._lock:
            if self._dropping and self._drop_after:
                self._dropping -= 1
                raise Dropped
