"""What configuration archives hold: is what a recovery needs in them, and is it this site's?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import msgspec

from runbook.platform import dotenv
from runbook.platform.archive import Member

#: a file of settings is no larger
SMALL = 256_000
COMPOSE = ("docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml")


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """One archive: the paths of its files, and the texts that are looked at."""

    files: tuple[str, ...]
    bytes: int
    texts: dict[str, str]


def wanted(member: Member) -> bool:
    """Is its text looked at?"""
    return member.size <= SMALL and PurePosixPath(member.name).name in (*COMPOSE, ".env")


def lacking(files: Iterable[str]) -> list[str]:
    """What a recovery needs of the settings, and is not among these paths."""
    paths = [PurePosixPath(name) for name in files]
    names = {path.name for path in paths}
    needs = {
        "the compose file": names & set(COMPOSE),
        ".env": names & {".env"},
        "the Caddyfile": names & {"Caddyfile"},
        "LMS settings": [path for path in paths if _settings_of(path, "lms")],
        "Studio settings": [path for path in paths if _settings_of(path, "cms", "studio")],
    }
    return [what for what, found in needs.items() if not found]


def _settings_of(path: PurePosixPath, *services: str) -> bool:
    """``config/lms/production.py``, ``lms.env.json``"""
    words = {part.lower() for part in path.parts[:-1]} | {path.name.lower().split(".")[0]}
    return not words.isdisjoint(services)


def other_domain(texts: Mapping[str, str], domain: str) -> str:
    """The domain in its .env when it is not the site's; empty when it is, or none is told."""
    for name, text in texts.items():
        if PurePosixPath(name).name == ".env":
            found = dotenv.parse(text).get("DOMAIN_NAME", "")
            if found and domain and found.lower() != domain.lower():
                return found
    return ""


def judge(found: Mapping[str, Configuration], domain: str) -> tuple[list[str], list[str]]:
    """(remarks, facts) about the archives, by their name in the backup."""
    remarks, facts = [], []
    for name, one in found.items():
        if missing := lacking(one.files):
            remarks.append(f"{name} lacks {', '.join(missing)}")
        if other := other_domain(one.texts, domain):
            remarks.append(f"{name} is of the domain {other}, not of this site's {domain}")
    if found and domain and not any("domain" in text for text in remarks):
        told = any(PurePosixPath(name).name == ".env" for one in found.values() for name in one.texts)
        facts.append(f"configuration: {'of' if told else 'nothing in it tells whether it is of'} {domain}")
    return remarks, facts
