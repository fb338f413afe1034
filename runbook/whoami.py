"""Who is at this keyboard, and which PC this is, as the journal names them."""

from __future__ import annotations

import getpass
import platform

from runbook.site.model import Site


def operator(site: Site | None) -> str:
    """The settings' operator, else the user who is logged in."""
    return (site.operator if site else "") or getpass.getuser()


def this_pc() -> str:
    return platform.node()
