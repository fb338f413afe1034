"""What lies on one node's volume: members it knows, shard maps, shard copies."""

from __future__ import annotations

from runbook.lab.couchdb.errors import no_database
from runbook.lab.couchdb.members import Members
from runbook.lab.couchdb.shards import ShardMap
from runbook.lab.couchdb.storage import ShardCopy


class Disk:
    def __init__(self) -> None:
        self.nodes = Members()
        self.dbs: dict[str, ShardMap] = {}  #: _dbs, tombstones included
        self.copies: dict[str, ShardCopy] = {}
        self.identity: dict[str, str] = {}  #: uuid, secret and cookie made up at the first start

    def map(self, name: str) -> ShardMap:
        """A database's shard map. Raises HttpError 404."""
        found = self.dbs.get(name)
        if found is None or found.deleted:
            raise no_database()
        return found

    def names(self) -> list[str]:
        return sorted(name for name, found in self.dbs.items() if not found.deleted)

    def learn(self, found: ShardMap) -> bool:
        """Take over a shard map if it wins over the one that is here."""
        old = self.dbs.get(found.name)
        if old is not None and (old.path == found.path or old.follows(found)):
            return False
        if old is not None and not found.follows(old) and old.rank >= found.rank:
            return False
        self.dbs[found.name] = found
        return True

    def ensure_copies(self, node: str, found: ShardMap, uuid: str, created: int) -> None:
        """Make the shard files that the map places on ``node``; drop those of a deleted database."""
        for range_ in found.by_range:
            path = found.copy_path(range_)
            if found.deleted:
                self.copies.pop(path, None)
            elif node in found.by_range[range_] and path not in self.copies:
                self.copies[path] = ShardCopy(path, f"{uuid}{range_[:8]}"[-32:], created, found.props)
