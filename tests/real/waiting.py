"""Waiting for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(what: str, ready: Callable[[], bool], limit: float = 60.0) -> None:
    """Poll until ready; fails naming what was waited for."""
    end = time.monotonic() + limit
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not so after {limit:.0f} s")
        time.sleep(0.1)
