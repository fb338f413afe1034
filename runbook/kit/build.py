"""Makes a kit, or makes one anew: every part in turn, then the sums, then the exchange."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from runbook import __version__
from runbook.clock import Clock
from runbook.errors import ActionFailed, UseError
from runbook.kit import infrastructure, known, opentofu, papers, program, sums
from runbook.kit.exchange import Place, close
from runbook.kit.parts import Part, missing_text
from runbook.site.model import Site

MISSING = "MISSING.txt"
#: what a kit that replaces another may not lack if that one has it
_KEPT = (
    program.REQUIREMENTS,
    opentofu.BIN,
    opentofu.PROVIDERS,
    infrastructure.FILES,
    infrastructure.STATE,
    papers.SETTINGS,
    papers.CONTACTS,
)


class Kit(msgspec.Struct, frozen=True, kw_only=True):
    """``sha256``: of its list of sums."""

    folder: str
    sha256: str
    parts: tuple[Part, ...]

    @property
    def complete(self) -> bool:
        return not any(part.lacks for part in self.parts)


def build(
    folder: Path,
    site: Site | None,
    settings: Path | None,
    *,
    state: bool,
    clock: Clock,
    say: Callable[[str], None],
) -> Kit:
    """``settings`` is the file that ``site`` was read from. Raises UseError, SiteError before anything is
    written, ActionFailed when the kit that is there would lose something; that one is then unchanged."""
    secrets = known.secrets(site) if site else {}
    if settings:
        papers.without_secrets(settings, secrets)
    place, tofu = Place(folder), site.tofu if site else None
    if tofu and place.final.is_relative_to(Path(tofu.folder).resolve()):
        raise UseError(
            f"{place.final} lies in OpenTofu's folder, which is copied into the kit. Nothing was changed.",
            next="Name a folder elsewhere.",
        )
    with place.building() as into:
        parts: list[Part] = []
        steps: tuple[tuple[str, Callable[[], Part]], ...] = (
            ("the program and its wheels", lambda: program.gather(into, place.final)),
            ("OpenTofu", lambda: opentofu.program(tofu, into)),
            ("providers", lambda: opentofu.providers(tofu, into)),
            ("infrastructure files", lambda: infrastructure.files(tofu, into, secrets)),
            ("state", lambda: infrastructure.state(tofu, into, wanted=state)),
            ("settings", lambda: papers.settings(site, settings, into, secrets)),
            ("contacts", lambda: papers.contacts(site, into)),
            ("guides", lambda: papers.guides(into)),
            ("documents", lambda: papers.docs(into)),
        )
        for about, gather in steps:
            say(about)
            parts.append(gather())
        has_state = (into / infrastructure.STATE).is_dir()
        papers.readme(site, into, __version__, clock.now(), state=has_state)
        (into / MISSING).write_text(missing_text(parts), encoding="utf-8")
        for path in into.rglob("*"):
            close(path)
        _nothing_lost(place.final, into, state=state)
        digest = sums.write(into)
        close(into / sums.NAME)
        place.exchange()
    return Kit(folder=str(place.final), sha256=digest, parts=tuple(parts))


def _nothing_lost(old: Path, new: Path, *, state: bool) -> None:
    lost = [name for name in _KEPT if (old / name).exists() and not (new / name).exists()]
    if not state and infrastructure.STATE in lost:
        lost.remove(infrastructure.STATE)
    if lost:
        text = (new / MISSING).read_text(encoding="utf-8").partition("\n\nNever")[0]
        raise ActionFailed(
            f"The kit in {old} holds {', '.join(lost)}; the new one would not. It is unchanged.\n{text}",
            next="Run it again where that can be had; or, if it is meant so, make a kit in another folder.",
        )
