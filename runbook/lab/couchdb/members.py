"""The ``_nodes`` database: which nodes should be there. Entries are empty documents with revisions."""

from __future__ import annotations

from typing import NamedTuple

from runbook.lab.couchdb import revisions
from runbook.lab.couchdb.errors import conflict, not_found


class Entry(NamedTuple):
    position: int
    name: str  #: the revision's hash
    deleted: bool = False

    @property
    def rev(self) -> str:
        return f"{self.position}-{self.name}"


class Members:
    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def names(self) -> list[str]:
        return sorted(name for name, entry in self._entries.items() if not entry.deleted)

    def __contains__(self, node: str) -> bool:
        entry = self._entries.get(node)
        return entry is not None and not entry.deleted

    def get(self, node: str) -> Entry:
        """Raises HttpError 404."""
        entry = self._entries.get(node)
        if entry is None:
            raise not_found()
        if entry.deleted:
            raise not_found("deleted")
        return entry

    def add(self, node: str) -> Entry:
        """Raises HttpError 409 when it is there already."""
        if node in self:
            raise conflict()
        return self._next(node, deleted=False)

    def remove(self, node: str, rev: str) -> Entry:
        """Raises HttpError 404, 409."""
        if self.get(node).rev != rev:
            raise conflict()
        return self._next(node, deleted=True)

    def learn(self, other: Members) -> bool:
        """Replication: the higher revision wins. True when anything was new."""
        grew = False
        for node, entry in other._entries.items():
            mine = self._entries.get(node)
            if mine is None or (entry.position, entry.name) > (mine.position, mine.name):
                self._entries[node] = entry
                grew = True
        return grew

    def _next(self, node: str, *, deleted: bool) -> Entry:
        old = self._entries.get(node)
        start, parent = (old.position, old.name) if old else (0, None)
        entry = Entry(start + 1, revisions.next_hash(deleted, start, parent, b""), deleted)
        self._entries[node] = entry
        return entry
