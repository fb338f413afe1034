"""A backup VM over SSH with backups in the real layout, and a PC that fetches from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runbook.backup.fetching import fetch, log
from runbook.backup.fetching.fetch import Fetched, Wish
from runbook.backup.fetching.hearing import Hearing
from runbook.hosts import localfiles
from runbook.hosts.base import Host
from runbook.hosts.local import LocalHost
from runbook.redact import Redactor
from runbook.site.model import Backup, Site
from tests.unit.backups import make_backup
from tests.unit.doubles import FakeClock, make_site


class World:
    """``root``: what the backup VM holds; ``pc``: where this PC keeps its copies."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.root, self.pc, self.host, self.clock = folder / "vm" / "backup", folder / "pc", host, FakeClock()
        self.pc.mkdir(parents=True)
        self.said: list[str] = []
        self.ticks: list[tuple[str, int, int]] = []

    def made(self, day: str, tier: str = "daily", **more: Any) -> Path:
        return make_backup(self.root / tier / day, **more)

    def site(self, **more: Any) -> Site:
        return make_site(backup=Backup(remote=str(self.root), local=str(self.pc), **more))

    @property
    def hearing(self) -> Hearing:
        book = log.Log(self.pc, self.clock, Redactor().text)

        def say(text: str) -> None:
            book.write(text)
            self.said.append(text)

        return Hearing(say, lambda *tick: self.ticks.append(tick))

    async def fetch(self, site: Site | None = None, **more: Any) -> Fetched:
        site, wish = site or self.site(), Wish(**{"keep": 10, **more})
        found = await fetch.plan(site, self.host, wish)
        here = LocalHost()
        return await fetch.carry_out(site, self.host, here, found, wish, self.clock, self.hearing)

    def same(self, day: str, tier: str = "daily") -> bool:
        """Is the copy here equal by SHA-256?"""
        return localfiles.manifest(self.root / tier / day) == localfiles.manifest(self.pc / day)

    def names(self) -> list[str]:
        """What is in the PC's folder, records left out."""
        return sorted(one.name for one in self.pc.iterdir() if not one.name.startswith(".runbook"))
