"""The databases a restore writes to: what they hold now.

Restoring into a database with documents makes silent conflicts, under deletions it stays invisible:
only an empty one will do, or one that this run began. Where there is other data, the documents can
go beside it, into a database of another name.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from runbook.couch import copies
from runbook.couch.asking import Asking
from runbook.couch.client import Client, RequestRefused
from runbook.couch.cluster import each
from runbook.couch.restoring import presence
from runbook.couch.restoring.checkpoint import Checkpoint
from runbook.errors import ActionFailed

#: absent: not there · empty: but for what the server made · begun: by this run · foreign: other data
State = Literal["absent", "empty", "begun", "foreign"]
_NOT_ALLOWED = re.compile(r"[^a-z0-9_$()+/-]")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """``database``: of the backup; ``name``: the one written to; ``identity``: "" while absent."""

    database: str
    name: str
    state: State
    documents: int = 0
    deleted: int = 0
    identity: str = ""

    def words(self) -> str:
        match self.state:
            case "absent":
                return "does not exist yet"
            case "empty":
                return "is there, and empty"
            case "begun":
                return f"holds {self.documents} documents that this run restored"
        return f"holds documents or deletions ({self.documents} and {self.deleted}) of others"


def look(client: Client, database: str, checkpoint: Checkpoint, name: str = "") -> Target:
    """What is where ``database`` goes: under that ``name``, else where this run began to put it, else
    under its own. Blocks. Raises RequestRefused and the Client's errors."""
    name = name or checkpoint.into(database) or database
    reply = client.get(name)
    if reply.status == 404:
        return Target(database=database, name=name, state="absent")
    if not reply.ok:
        raise RequestRefused(client.node, f"show {name}", reply)
    identity = copies.suffix(client, name)
    documents, deleted = int(reply.body.get("doc_count", 0)), int(reply.body.get("doc_del_count", 0))
    state: State = "foreign"
    if checkpoint.has(database, identity) and name == (checkpoint.into(database) or database):
        state = "begun"
    elif not deleted and not _holds(client, name):
        state = "empty"
    return Target(
        database=database, name=name, state=state, documents=documents, deleted=deleted, identity=identity
    )


def _holds(client: Client, name: str) -> bool:
    """Anything besides what the server makes itself?"""
    return next(presence.there(name, Asking([client], threading.Event()), page=10), None) is not None


def beside(database: str, day: datetime, taken: Callable[[str], bool]) -> str:
    """A name for the same documents in another database: ``openedx_1-restored-20261126``, or that with
    a number where it is ``taken``. One CouchDB allows: small letters first, no ``_`` before them."""
    plain = _NOT_ALLOWED.sub("-", database.lower()).lstrip("_")
    first = f"{plain if plain[:1].isalpha() else f'db-{plain}'}-restored-{day:%Y%m%d}"
    name, number = first, 1
    while taken(name):
        number += 1
        name = f"{first}-{number}"
    return name


def ready(client: Client, database: str, checkpoint: Checkpoint, name: str = "") -> str:
    """The identity of a database that may be restored into: one that is empty, or that this run
    began. Raises ActionFailed for any other. Blocks."""
    found = look(client, database, checkpoint, name)
    if found.state == "absent":
        raise ActionFailed(
            f"The database {found.name} does not exist on {client.node}. Nothing was restored into it.",
            next="Create the databases first.",
        )
    if found.state == "foreign":
        raise ActionFailed(
            f"{found.name} {found.words()}; restoring would create conflicts. Nothing was restored into it.",
            next="Resume the run that began it, or delete the database and create it again.",
        )
    return found.identity


async def lacking(
    clients: Mapping[str, Client], names: Iterable[str], nodes: Iterable[str], n: int
) -> list[str]:
    """Databases that some node does not know, or that have not every range on ``n`` of the ``nodes``, in
    words. Each node is asked: one may not have heard yet of what another has made."""
    wanted, known = list(names), set(nodes)
    lists = await each(lambda client: client.aneed("_all_dbs"), clients.values())
    unaware = {
        name: [node for node, listed in zip(clients, lists, strict=True) if name not in listed]
        for name in wanted
    }
    seen = await copies.look(clients, [name for name in wanted if not unaware[name]])
    found = []
    for name in wanted:
        if len(unaware[name]) == len(clients):
            found.append(f"{name} does not exist.")
        elif unaware[name]:
            found.append(f"{name} is not known on {', '.join(unaware[name])}.")
        elif problems := copies.misplaced(seen[name], known, n):
            more = f" (and {len(problems) - 1} more ranges)" if len(problems) > 1 else ""
            found.append(f"{name}: {problems[0]}{more}.")
    return found


async def looked_at(client: Client, databases: Iterable[str], checkpoint: Checkpoint) -> dict[str, Target]:
    """``look`` for each of them, by database of the backup."""
    return {name: await asyncio.to_thread(look, client, name, checkpoint) for name in databases}
