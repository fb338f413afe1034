"""What a run began to restore: written before the first document is.

A database that holds documents is restored into only when this file says that this run began it
and it is still the same database (one made anew under the same name has another identity).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from runbook.couch.reading.selection import Selection
from runbook.couch.restoring.estimate import Rate
from runbook.errors import StateError

FILE = "couchdb-restore.json"


class Begun(msgspec.Struct, frozen=True):
    """``identity`` of the database that is written to; ``sources``: the nodes whose dumps were chosen
    for it; ``into``: its name, where it is not that of the backup."""

    identity: str
    sources: tuple[str, ...]
    into: str = ""


class _Content(msgspec.Struct):
    version: int = 1
    begun: dict[str, Begun] = {}
    #: the only databases of the backup that this run is about; empty: all
    only: tuple[str, ...] = ()
    #: what the servers took so far
    measured: Rate | None = None


class Checkpoint:
    """The file in a run's folder; replaced atomically, so it is always whole. Raises StateError."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / FILE
        try:
            self._content = msgspec.json.decode(self.path.read_bytes(), type=_Content)
        except FileNotFoundError:
            self._content = _Content()
        except (ValueError, OSError) as error:
            raise StateError(
                f"{self.path} cannot be read: {error}. Nothing was restored.",
                next="Without it a begun restore cannot be told from foreign data.",
            ) from None

    def has(self, database: str, identity: str) -> bool:
        begun = self._content.begun.get(database)
        return begun is not None and begun.identity == identity

    def sources(self) -> dict[str, tuple[str, ...]]:
        """Database -> nodes that were chosen for it: an answer is given once a run."""
        return {database: begun.sources for database, begun in self._content.begun.items()}

    def into(self, database: str) -> str:
        """The other name it was restored under; empty: none."""
        begun = self._content.begun.get(database)
        return begun.into if begun else ""

    def placed(self, chosen: Iterable[Selection]) -> list[Selection]:
        """The selections, going where this run began to put them."""
        return [replace(one, into=self.into(one.database)) for one in chosen]

    @property
    def only(self) -> tuple[str, ...]:
        return self._content.only

    @property
    def measured(self) -> Rate | None:
        return self._content.measured

    def begin(
        self,
        database: str,
        identity: str,
        sources: tuple[str, ...],
        into: str = "",
        only: tuple[str, ...] = (),
    ) -> None:
        self._content.begun[database] = Begun(identity, sources, into)
        self._content.only = only
        self._write()

    def measure(self, rate: Rate) -> None:
        self._content.measured = rate
        self._write()

    def _write(self) -> None:
        part = self.path.with_suffix(".part")
        try:
            with open(part, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(msgspec.json.format(msgspec.json.encode(self._content)))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
            _sync(self.path.parent)
        except OSError as error:
            raise StateError(f"{self.path} cannot be written: {error}. Nothing was restored.") from None


def _sync(folder: Path) -> None:
    """So that the new name of the file survives a power cut."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
