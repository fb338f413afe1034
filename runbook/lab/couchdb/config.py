"""A node's settings: defaults, the container's ini and environment, changes made while it runs."""

from __future__ import annotations

from collections.abc import Mapping

from runbook.lab.couchdb import passwords

Sections = dict[str, dict[str, str]]


def _defaults(version: str) -> Sections:
    return {
        "couchdb": {"max_document_size": "8000000", "maintenance_mode": "", "database_dir": "./data"},
        "cluster": {"q": "8", "n": "3"},
        "chttpd": {"bind_address": "0.0.0.0", "port": "5984"},
        "chttpd_auth": {"iterations": str(passwords.rounds(version)), "timeout": "600"},
        "attachments": {"compression_level": "8"},
        "admins": {},
    }


class Config:
    """The settings in force. ``changed`` survives a restart of the same container, not a new one."""

    def __init__(self, version: str, entropy: passwords.Entropy) -> None:
        self._version, self._entropy = version, entropy
        self._sections = _defaults(version)
        self._given: object = None
        self._changed: Sections = {}
        self.serial = 0  #: grows with every change (caches look at it)

    def load(self, env: Mapping[str, str], ini: Mapping[str, Mapping[str, str]]) -> None:
        """Start-up: other settings than last time mean a new container, whose changes are gone."""
        given = (dict(env), {section: dict(values) for section, values in ini.items()})
        if given != self._given:
            self._given, self._changed = given, {}
        self._sections = _defaults(self._version)
        for section, values in given[1].items():
            self._sections.setdefault(section, {}).update(values)
        admins = self._sections["admins"]
        user, password = env.get("COUCHDB_USER", ""), env.get("COUCHDB_PASSWORD", "")
        if user and password:
            admins.setdefault(user, password)
        if secret := env.get("COUCHDB_SECRET", ""):
            self._sections["chttpd_auth"].setdefault("secret", secret)
        for section, values in self._changed.items():
            self._sections.setdefault(section, {}).update(values)
        for name, stored in list(admins.items()):
            if stored and not stored.startswith("-"):
                self.set("admins", name, stored)
        self.serial += 1

    def get(self, section: str, key: str, default: str = "") -> str:
        return self._sections.get(section, {}).get(key, default)

    def number(self, section: str, key: str, default: int) -> int:
        try:
            return int(self.get(section, key, str(default)))
        except ValueError:
            return default

    def has(self, section: str, key: str) -> bool:
        return key in self._sections.get(section, {})

    def section(self, name: str) -> dict[str, str]:
        return dict(self._sections.get(name, {}))

    def sections(self) -> Sections:
        return {name: dict(values) for name, values in self._sections.items()}

    def set(self, section: str, key: str, value: str) -> str:
        """Set a value while running; an admin's plain password is hashed. Returns the old value."""
        if section == "admins":
            rounds = self.number("chttpd_auth", "iterations", passwords.rounds(self._version))
            value = passwords.admin_hash(value, self._version, rounds, self._entropy)
        old = self.get(section, key)
        self._sections.setdefault(section, {})[key] = value
        self._changed.setdefault(section, {})[key] = value
        self.serial += 1
        return old

    def delete(self, section: str, key: str) -> str:
        old = self._sections.get(section, {}).pop(key, "")
        self._changed.get(section, {}).pop(key, None)
        self.serial += 1
        return old
