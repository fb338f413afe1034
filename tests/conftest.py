"""Shared by all tests: real parts are there, or the test says which one is missing."""

from __future__ import annotations

import os
import shutil

import pytest

#: part -> programs that must be on the PATH (sbin counts)
PARTS = {
    "sshd": ["sshd", "ssh-keygen"],
    "dockerd": ["dockerd", "docker"],
    "docker-compose": ["docker-compose"],
    "terraform": ["terraform"],
    "npm": ["npm", "node"],
    "tmux": ["tmux"],
    "netns": ["ip", "nsenter", "unshare"],
    "busybox": ["busybox"],
    "cron": ["crontab"],
    "socat": ["socat"],
    "sudo": ["sudo"],
}
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def missing(part: str) -> str:
    """Why a part cannot be used; empty when it can."""
    if part == "root":
        return "" if os.geteuid() == 0 else "not root"
    lacking = [program for program in PARTS[part] if not shutil.which(program, path=PATH)]
    return f"{', '.join(lacking)} not installed" if lacking else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("real"):
        reasons = [reason for part in mark.args if (reason := missing(part))]
        if reasons and os.environ.get("CI") == "true":
            pytest.fail("a real part is missing: " + "; ".join(reasons))
        if reasons:
            pytest.skip("; ".join(reasons))
