"""Whom to call. One key away from everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.site import Contact
from tui.paper import Paper
from tui.screens.dialogs import Read


def contact_screen(contacts: Sequence[Contact], width: int) -> Read:
    paper = Paper(min(width - 8, 90))
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
                paper.text(f"{label:<6} {value}", "bold" if label == "phone" else "", 2)
    return Read("Emergency contact", paper.content)


def one_line(contacts: Sequence[Contact]) -> str:
    """The first contact, for the home screen."""
    if not contacts:
        return "nobody is named in the settings"
    first = contacts[0]
    more = f" (and {len(contacts) - 1} more)" if len(contacts) > 1 else ""
    return " · ".join(part for part in (first.name, first.role, first.phone or first.email) if part) + more
