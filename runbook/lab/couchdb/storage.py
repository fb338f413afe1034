"""One copy of one shard: what a ``.couch`` file on a node's disk holds."""

from __future__ import annotations

from runbook.lab.couchdb.tree import Leaf, State, merged, united


class ShardCopy:
    """The documents of one range of one database on one node."""

    def __init__(self, path: str, uuid: str, created: int, props: dict[str, object]) -> None:
        self.path = path  #: shards/<range>/<database><suffix>
        self.uuid = uuid
        self.created = created  #: microseconds since 1970
        self.props = props
        self.docs: dict[str, State] = {}
        #: document → the sequence of its last change, oldest change first
        self.changes: dict[str, int] = {}
        self.locals: dict[str, tuple[int, bytes]] = {}
        self.update_seq = self.doc_count = self.del_count = 0
        self.designs: set[str] = set()
        self.late = 0  #: writes still on their way to this copy
        self._sorted: list[str] | None = None

    def write(self, doc_id: str, leaf: Leaf, revs_limit: int = 1000) -> None:
        """Put one revision into the document's tree."""
        old = self.docs.get(doc_id)
        state, grew = merged(old, leaf, revs_limit)
        self._replace(doc_id, old, state, grew)

    def accept(self, doc_id: str, theirs: State) -> None:
        """Take over a sister copy's tree (internal replication)."""
        old = self.docs.get(doc_id)
        state = united(old, theirs)
        self._replace(doc_id, old, state, state is not old)

    def lose(self, doc_id: str) -> bool:
        """Damage: the document is gone from this copy without a trace."""
        state = self.docs.pop(doc_id, None)
        if state is None:
            return False
        self.changes.pop(doc_id, None)
        self._count(state, -1)
        self._sorted = None
        return True

    def ids(self) -> list[str]:
        """All ids in ``_all_docs`` order (code points, the same as the bytes of their UTF-8)."""
        if self._sorted is None:
            self._sorted = sorted(self.docs)
        return self._sorted

    def _replace(self, doc_id: str, old: State | None, state: State, grew: bool) -> None:
        if state is old:
            return
        self.docs[doc_id] = state
        if not grew:
            return
        if old is None:
            self._sorted = None
            if doc_id.startswith("_design/"):
                self.designs.add(doc_id)
        else:
            self._count(old, -1)
        self._count(state, 1)
        self.update_seq += 1
        self.changes.pop(doc_id, None)
        self.changes[doc_id] = self.update_seq

    def _count(self, state: State, step: int) -> None:
        if state.winner.deleted:
            self.del_count += step
        else:
            self.doc_count += step

    def info(self) -> dict[str, object]:
        """As ``GET /_node/{node}/shards%2F…`` prints it; the sizes are estimates."""
        size = sum(len(state.winner.members) + 40 for state in self.docs.values())
        return {
            "db_name": self.path,
            "engine": "couch_bt_engine",
            "doc_count": self.doc_count,
            "doc_del_count": self.del_count,
            "update_seq": self.update_seq,
            "purge_seq": 0,
            "compact_running": False,
            "sizes": {"active": size, "external": size, "file": 8350 + size},
            "instance_start_time": str(self.created),
            "disk_format_version": 8,
            "committed_update_seq": self.update_seq,
            "compacted_seq": 0,
            "props": self.props,
            "uuid": self.uuid,
        }
