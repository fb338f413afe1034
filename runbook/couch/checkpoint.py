"""What a run began to restore: written before the first document is.

A database that holds documents is restored into only when this file says that this run began it
and it is still the same database (one made anew under the same name has another identity).
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from runbook.couch import copies
from runbook.couch.client import Client
from runbook.couch.compare import held
from runbook.errors import ActionFailed, StateError

FILE = "couchdb-restore.json"


class Begun(msgspec.Struct, frozen=True):
    """``identity`` of the database; ``sources``: the nodes whose dumps were chosen for it."""

    identity: str
    sources: tuple[str, ...]


class _Content(msgspec.Struct):
    version: int = 1
    begun: dict[str, Begun] = {}


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

    def begin(self, database: str, identity: str, sources: tuple[str, ...]) -> None:
        self._content.begun[database] = Begun(identity, sources)
        part = self.path.with_suffix(".part")
        try:
            with open(part, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(msgspec.json.format(msgspec.json.encode(self._content)))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except OSError as error:
            raise StateError(f"{self.path} cannot be written: {error}. Nothing was restored.") from None


def ready(client: Client, database: str, checkpoint: Checkpoint) -> str:
    """The identity of a database that may be restored into: one that is empty, or that this run
    began. Raises ActionFailed for any other. Blocks."""
    reply = client.get(database)
    if reply.status == 404:
        raise ActionFailed(
            f"The database {database} does not exist on {client.node}. Nothing was restored into it.",
            next="Create the databases first.",
        )
    if not reply.ok:
        raise ActionFailed(f"{database} on {client.node} cannot be looked at: {reply.error}.")
    identity = copies.suffix(client, database)
    if checkpoint.has(database, identity):
        return identity
    deleted = reply.body.get("doc_del_count", 0)
    if deleted or next(held(client, database), None) is not None:
        raise ActionFailed(
            f"{database} holds documents or deletions ({reply.body.get('doc_count')} and {deleted}); "
            "restoring would create conflicts. Nothing was restored into it.",
            next="Resume the run that began it, or delete the database and create it again.",
        )
    return identity
