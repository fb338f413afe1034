"""Whom to call. One key away from everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.paper import Paper
from tui.screens.dialogs import Read, inner_width

if TYPE_CHECKING:
    from runbook.site.model import Contact


def contact_screen(contacts: Sequence[Contact], width: int) -> Read:
    paper = Paper(inner_width(width))
    if not contacts:
        paper.text("The settings name nobody to call.")
        paper.blank()
        paper.text("Add to runbook.toml, before it is needed:")
        paper.blank()
        for line in ("[[contacts]]", 'name = "…"', 'role = "…"', 'phone = "…"', 'email = "…"'):
            paper.text(line, indent=4)
    for contact in contacts:
        paper.heading(contact.name, contact.role)
        for label, value in (("phone", contact.phone), ("email", contact.email), ("when", contact.when)):
            if value:
                paper.item(f"{label:<6} {value}", " ", 0, "bold" if label == "phone" else "")
    return Read("Emergency contact", paper.content)
