"""Shard maps: which range of the hash ring lies on which nodes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace

from runbook.lab.couchdb import jsontext, revisions
from runbook.lab.couchdb.errors import HttpError

RING = 2**32
DEFAULT_SECURITY = b'{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}'


def ranges(q: int) -> list[str]:
    """The ring in ``q`` parts, written as CouchDB writes them."""
    step = RING // q
    starts = [part * step for part in range(q)]
    ends = [start - 1 for start in starts[1:]] + [RING - 1]
    return [f"{start:08x}-{end:08x}" for start, end in zip(starts, ends, strict=True)]


@dataclass
class Settings:
    """What belongs to a database as a whole and is in no dump."""

    security: bytes = DEFAULT_SECURITY
    revs_limit: int = 1000


@dataclass(frozen=True)
class ShardMap:
    """A document of ``_dbs``: one database's ranges and their nodes. Immutable; copies of it are
    exchanged between nodes, and of two for one name the higher revision wins."""

    name: str
    suffix: str  #: "." and the seconds of its creation
    by_range: dict[str, list[str]]
    by_node: dict[str, list[str]]
    changelog: list[list[str]]
    props: dict[str, object]
    position: int
    path: tuple[str, ...]
    created: float
    deleted: bool = False
    settings: Settings = field(default_factory=Settings, compare=False)
    spans: tuple[tuple[int, str], ...] = field(default=(), compare=False)  #: (last hash, range)

    @property
    def rank(self) -> tuple[bool, int, bytes]:
        return (not self.deleted, self.position, revisions.raw(self.path[0]))

    def follows(self, other: ShardMap) -> bool:
        """Is this a later revision of the other one?"""
        back = self.position - other.position
        return 0 < back < len(self.path) and self.path[back:] == other.path

    @property
    def n(self) -> int:
        return max((len(nodes) for nodes in self.by_range.values()), default=0)

    @property
    def partitioned(self) -> bool:
        return self.props.get("partitioned") is True

    def range_of(self, doc_id: str) -> str:
        key = doc_id
        if self.partitioned and not doc_id.startswith("_"):
            key = doc_id.partition(":")[0]
        found = zlib.crc32(key.encode("utf-8", "surrogatepass"))
        q = len(self.spans)
        guess = min(found // (RING // q), q - 1)
        if found <= self.spans[guess][0] and (guess == 0 or found > self.spans[guess - 1][0]):
            return self.spans[guess][1]
        return next(name for last, name in self.spans if found <= last)

    def copy_path(self, range_: str) -> str:
        return f"shards/{range_}/{self.name}{self.suffix}"

    def nodes(self, range_: str) -> list[str]:
        """As ``_shards`` lists them: the other way round than the map itself."""
        return list(reversed(self.by_range[range_]))

    def printed(self) -> dict[str, object]:
        """As ``GET /_node/_local/_dbs/{db}`` prints it."""
        head: dict[str, object] = {"_id": self.name, "_rev": f"{self.position}-{self.path[0]}"}
        return head | _body(self)

    def tombstone(self) -> ShardMap:
        name = revisions.next_hash(True, self.position, self.path[0], b"")
        return replace(self, deleted=True, position=self.position + 1, path=(name, *self.path))


def _body(found: ShardMap) -> dict[str, object]:
    return {
        "shard_suffix": [ord(letter) for letter in found.suffix],
        "changelog": found.changelog,
        "by_node": found.by_node,
        "by_range": found.by_range,
        "props": found.props,
    }


def _sealed(found: ShardMap, old: ShardMap | None) -> ShardMap:
    """``found`` with the revision that follows ``old``'s, and its lookup table."""
    start, path = (old.position, old.path) if old else (0, ())
    members = jsontext.text(_body(found))[1:-1]
    name = revisions.next_hash(False, start, path[0] if path else None, members)
    spans = tuple(sorted((int(each.partition("-")[2], 16), each) for each in found.by_range))
    return replace(found, position=start + 1, path=(name, *path), spans=spans)


def placed(
    name: str, nodes: list[str], *, q: int, n: int, props: dict[str, object], now: float, old: ShardMap | None
) -> ShardMap:
    """A new database's map over ``nodes``; ``n`` is silently capped at their number."""
    known = sorted(nodes)
    count = min(n, len(known))
    by_range: dict[str, list[str]] = {}
    for part, range_ in enumerate(ranges(q)):
        chosen = [known[(part + turn) % len(known)] for turn in range(count)]
        by_range[range_] = sorted(chosen)
    by_node: dict[str, list[str]] = {}
    for range_, chosen in by_range.items():
        for node in chosen:
            by_node.setdefault(node, []).append(range_)
    by_node = dict(sorted(by_node.items()))
    changelog = [["add", range_, node] for range_, chosen in by_range.items() for node in chosen]
    fresh = ShardMap(name, f".{int(now)}", by_range, by_node, changelog, props, 0, (), now)
    return _sealed(fresh, old)


def edited(old: ShardMap, fields: dict[str, object]) -> ShardMap:
    """The map after somebody PUT a changed document into ``_dbs``. Raises HttpError 400."""
    by_range, by_node, changelog = (fields.get(key) for key in ("by_range", "by_node", "changelog"))
    if not isinstance(by_range, dict) or not isinstance(by_node, dict) or not isinstance(changelog, list):
        raise HttpError(400, "bad_request", "by_range, by_node and changelog are needed")
    return _sealed(replace(old, by_range=by_range, by_node=by_node, changelog=changelog, deleted=False), old)
