"""The control groups that containers leave when they are killed with their machine."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

from tests.real.waiting import wait_until


def forget_groups(name: str) -> None:
    """Remove the empty control groups of containers that were killed with their machine: of all groups
    whose name begins like that. Nobody else would."""
    top = Path("/sys/fs/cgroup")
    tops = [*top.glob(f"{name}*/"), *top.glob(f"*/{name}*/")]
    for group in tops:
        wait_until(f"{group} to be empty", partial(_removed, group), 60)


def _removed(group: Path) -> bool:
    """The kernel takes a moment until the last process has left a group."""
    for below in sorted(group.rglob("*/"), reverse=True):
        with contextlib.suppress(OSError):
            below.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
