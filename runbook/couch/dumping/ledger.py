"""What is known of one database while it is dumped, in a file: a dump that was killed goes on from it.

It grows with the number of documents (about 100 bytes each) and lies in the dump's folder, so
that memory does not. Every change of it is whole or not there.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_TABLES = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- the documents as the dump has them; length of all attachments, null: it has none
CREATE TABLE IF NOT EXISTS held (id TEXT PRIMARY KEY, rev TEXT NOT NULL, length INTEGER) WITHOUT ROWID;
-- read again, not yet in the dump's file; null: deleted
CREATE TABLE IF NOT EXISTS late (id TEXT PRIMARY KEY, doc BLOB);
-- documents with the contents of their attachments inline: where in the spool they stand
CREATE TABLE IF NOT EXISTS whole
    (id TEXT PRIMARY KEY, rev TEXT NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;
"""


class Held(NamedTuple):
    id: str
    rev: str
    length: int | None  #: bytes of all its attachments; None: it has none


class Late(NamedTuple):
    id: str
    rev: str
    doc: bytes | None  #: None: deleted


class Ledger:
    """Used by one thread. Raises sqlite3.Error, also when the disk is full."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self._db.executescript(_TABLES)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """All that is written within, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # ── facts ──────────────────────────────────────────────────────────────────────────────
    def __getitem__(self, name: str) -> str:
        """A fact by its name; "" for one that is not known yet."""
        row = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def __setitem__(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    # ── the documents ──────────────────────────────────────────────────────────────────────
    def read(self, documents: Iterable[Held]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO held VALUES (?, ?, ?)", documents)

    def forget(self) -> None:
        for table in ("held", "late", "whole"):
            self._db.execute(f"DELETE FROM {table}")

    def revision(self, id: str) -> str:
        """Of a document as the dump has it; "" when it has none."""
        row = self._db.execute("SELECT rev FROM held WHERE id = ?", (id,)).fetchone()
        return row[0] if row else ""

    def documents(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM held").fetchone()[0])

    # ── what changed meanwhile ─────────────────────────────────────────────────────────────
    def read_again(self, one: Held, doc: bytes) -> None:
        self.read([one])
        self._db.execute("INSERT OR REPLACE INTO late VALUES (?, ?)", (one.id, doc))

    def gone(self, id: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO late VALUES (?, NULL)", (id,))
        self._db.execute("DELETE FROM held WHERE id = ?", (id,))

    def late(self) -> Iterator[Late]:
        """In the order of their ids, which is that of a dump."""
        found = self._db.execute(
            "SELECT late.id, coalesce(held.rev, ''), late.doc FROM late LEFT JOIN held USING (id)"
            " ORDER BY late.id"
        )
        return map(Late._make, found)

    def merged(self) -> None:
        """The dump's file holds by now what came late."""
        self._db.execute("DELETE FROM late")

    # ── attachments ────────────────────────────────────────────────────────────────────────
    def lacking(self, after: str, limit: int) -> list[Held]:
        """Documents whose attachments' contents are not there yet, from behind ``after`` on."""
        found = self._db.execute(
            "SELECT held.id, held.rev, held.length FROM held LEFT JOIN whole USING (id, rev)"
            " WHERE held.length IS NOT NULL AND whole.id IS NULL AND held.id > ? ORDER BY held.id LIMIT ?",
            (after, limit),
        )
        return [Held._make(row) for row in found]

    def fill(self, id: str, rev: str, start: int, size: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO whole VALUES (?, ?, ?, ?)", (id, rev, start, size))

    def spooled(self) -> int:
        """Where the spool ends, as far as it is of use."""
        return int(self._db.execute("SELECT coalesce(max(start + size), 0) FROM whole").fetchone()[0])

    def whole(self) -> Iterator[tuple[str, str, int, int]]:
        """(id, revision, start, size) of those with all their contents, in the order of their ids."""
        return iter(
            self._db.execute(
                "SELECT id, rev, start, size FROM whole JOIN held USING (id, rev)"
                " WHERE length IS NOT NULL ORDER BY whole.id"
            )
        )

    def attached(self) -> tuple[int, int]:
        """How many documents have attachments, and of how many the contents are there."""
        found: tuple[int, int] = self._db.execute(
            "SELECT count(*), count(whole.id) FROM held LEFT JOIN whole USING (id, rev)"
            " WHERE length IS NOT NULL"
        ).fetchone()
        return found
