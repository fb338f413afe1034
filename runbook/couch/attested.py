"""What cannot be proven from here and a person has to say: asked once a run, recorded as attested."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from runbook.context import Context, Look
from runbook.errors import ActionFailed, StateError
from runbook.events import Option


class Claim(NamedTuple):
    """``key`` stays the same when the ``text`` of the question changes; ``yes`` confirms it."""

    key: str
    text: str
    yes: str


def known(look: Look, claim: Claim) -> bool:
    """Did a person attest it in this run? Raises StateError."""
    try:
        return claim.key in _file(look).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise StateError(f"{_file(look)} cannot be read: {error}.") from None


async def attest(context: Context, claim: Claim) -> None:
    """Ask, unless it was attested; never answered unattended. Raises ActionFailed for a no,
    WaitsForPerson when nobody can answer now, StateError."""
    if known(context, claim):
        return
    options = (Option("yes", claim.yes), Option("stop", "stop here, nothing is changed"))
    if await context.voice.ask("choice", claim.text, options) != "yes":
        raise ActionFailed(f"Not confirmed: {claim.text} Nothing was changed.")
    context.voice.note(f"attested by a person, not proven: {claim.yes}", kind="attested", claim=claim.text)
    try:
        with _file(context).open("a", encoding="utf-8") as file:
            file.write(f"{claim.key}\n")
    except OSError as error:
        raise StateError(f"{_file(context)} cannot be written: {error}.") from None


def _file(look: Look) -> Path:
    return look.run_dir / "couchdb-attested"
