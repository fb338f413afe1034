"""The practice lab: VMs, CouchDB, Open edX, DNS and OpenTofu of an installation that does not exist.

``up`` starts one detached daemon, which outlives the program that started it; ``call`` speaks to
it; ``down`` leaves nothing behind. Nothing here is imported before a practice run wants it.
"""

from __future__ import annotations

from runbook.lab.control import LabError, LabInfo, call, down, site_file, status, up

__all__ = ["LabError", "LabInfo", "call", "down", "site_file", "status", "up"]
