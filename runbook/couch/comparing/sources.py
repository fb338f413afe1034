"""Where the sides of a comparison come from: dumps, or the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from runbook.couch.client import Client, RequestRefused
from runbook.couch.comparing import sides
from runbook.couch.comparing.alldocs import asking
from runbook.couch.comparing.compare import Side
from runbook.couch.reading.assessment import gather
from runbook.couch.reading.selection import NEVER, Question, choose
from runbook.errors import CouldNotLook


class Source(Protocol):
    """Several databases, by name. All of it blocks."""

    #: for a person
    title: str
    #: a single dump is compared with its own database only
    single: bool

    def databases(self) -> list[str]: ...

    def side(self, database: str) -> Side | None:
        """None: it has no such database. Raises what looking raises."""
        ...


class Dumps:
    """A dump, the folder of one node, or a whole backup; ``base`` is the address of node 1. Raises
    UseError when there are none."""

    def __init__(self, path: Path, base: str) -> None:
        path = path.expanduser()
        self.title, self.base, self.single = str(path), base, path.is_file()
        self._dumps = gather([path])

    def databases(self) -> list[str]:
        return [name for name in self._dumps if name not in NEVER]

    def side(self, database: str) -> Side | None:
        """Raises DumpDamaged, CouldNotLook when only a person could say which node's dump counts."""
        dumps = self._dumps.get(database)
        if not dumps:
            return None
        if len(dumps) == 1:
            return sides.dump(next(iter(dumps.values())), database)
        one = choose(database, dumps, base=self.base)
        if isinstance(one, Question):
            folders = ", ".join(str(path.parent) for path in dumps.values())
            raise CouldNotLook(one.text, next=f"Compare one node's folder: {folders}")
        return sides.chosen(one)


class Cluster:
    """The databases of a server's nodes, but for those that are never restored."""

    single = False

    def __init__(self, clients: Sequence[Client], title: str) -> None:
        self.clients, self.title = list(clients), title

    def databases(self) -> list[str]:
        found = asking(self.clients).ask(lambda client: client.need("_all_dbs"))
        return [str(name) for name in found if name not in NEVER]

    def side(self, database: str) -> Side | None:
        def there(client: Client) -> bool:
            reply = client.get(database)
            if not reply.ok and reply.status != 404:
                raise RequestRefused(client.node, f"show {database}", reply)
            return reply.ok

        return sides.Live(self.clients, database) if asking(self.clients).ask(there) else None


def names(left: Source, right: Source) -> list[str]:
    """What there is to compare: all of both sides, or what a single dump holds."""
    if left.single or right.single:
        return (left if left.single else right).databases()
    return sorted({*left.databases(), *right.databases()})
