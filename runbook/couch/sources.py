"""Where the sides of a comparison come from: a backup's folder, one dump, the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from runbook.couch import sides
from runbook.couch.alldocs import asking
from runbook.couch.client import Client, RequestRefused
from runbook.couch.compare import Side
from runbook.couch.reader import database_name
from runbook.couch.selection import NEVER, Question, choose, find
from runbook.errors import CouldNotLook, UseError


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


class Folder:
    """A backup, or the folder of one of its nodes; ``base`` is the address of node 1."""

    single = False

    def __init__(self, path: Path, base: str) -> None:
        self.title, self.base = str(path), base
        self._dumps: Mapping[str, Mapping[str, Path]] = find(path) or _of_one_node(path)
        if not self._dumps:
            raise UseError(f"{path} holds no dumps of databases.", next="Nothing was compared.")

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


def _of_one_node(path: Path) -> dict[str, dict[str, Path]]:
    found = sorted(one for one in path.glob("*.json") if one.name != "backup_manifest.json")
    return {database_name(one): {path.name: one} for one in found if one.is_file()}


class File:
    """One dump."""

    single = True

    def __init__(self, path: Path) -> None:
        self.title, self.path = str(path), path

    def databases(self) -> list[str]:
        return [database_name(self.path)]

    def side(self, database: str) -> Side | None:
        return sides.dump(self.path, database)


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


def local(path: Path, base: str) -> Source:
    """Raises UseError when there is nothing of that name."""
    path = path.expanduser()
    if path.is_dir():
        return Folder(path, base)
    if path.is_file():
        return File(path)
    raise UseError(f"{path} does not exist.", next="Give a backup's folder, a dump, or a URL.")


def names(left: Source, right: Source) -> list[str]:
    """What there is to compare: all of both sides, or what a single dump holds."""
    if left.single or right.single:
        return (left if left.single else right).databases()
    return sorted({*left.databases(), *right.databases()})
