"""Which CouchDB the real machines get; looked for once, before anything starts.

    COUCHDB_URL        nodes of one cluster, separated by commas; the login in the addresses, or in
                       COUCHDB_USER and COUCHDB_PASSWORD
    COUCHDB_IMAGE_TAR  an archive of couchdb:3.3.2, as `docker save` writes it
    else               an image couchdb:3.3.2 in the Docker Engine that `docker` asks here
    else               the facade over pouchdb-server (facade.py)

What is set and cannot be used is an error, not a reason to take the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runbook.couch.cluster import SYSTEM
from tests.real.documents import CouchServer, PouchServer, in_use
from tests.real.facade import Facade
from tests.real.genuine import Lent, Loaded
from tests.real.imagefile import IMAGE, checked, engine_image, saved
from tests.real.lent import Seen, Unfit, look, urls


class CouchDB(Protocol):
    """What the platform needs to know of it; ``archive`` None: the made image, which boots by
    ``control``. ``password`` "" and ``document_limit`` 0: the platform's own."""

    archive: Path | None
    user: str
    password: str
    document_limit: int

    @property
    def control(self) -> str: ...

    @property
    def boots(self) -> Sequence[Mapping[str, str]]:
        """What each start of the made image was given as its environment."""
        ...

    def documents(self, database: str) -> dict[str, Any]: ...

    def blank(self, address: str) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Choice:
    """``label`` is for the tests' output: what is used, then what the guide does not do on it."""

    label: str
    nodes: Mapping[str, Seen] | None = None  #: VM's address -> its node
    server: Seen | None = None  #: the document server behind the facade
    archive: Path | None = None

    @property
    def simulated(self) -> bool:
        """Is the cluster?"""
        return self.nodes is None and self.archive is None

    def start(self, addresses: Iterable[str], names: Iterable[str], password: str) -> CouchDB:
        """Bring it up for these VMs; ``names``: the databases that the guide makes. Raises InUse."""
        if self.archive:
            return Loaded(self.archive, addresses, "admin", password)
        if self.nodes:
            limit = next(iter(self.nodes.values())).document_limit
            return Lent({address: one.url for address, one in self.nodes.items()}, names, limit)
        return Facade(CouchServer(self.server.url, names) if self.server else PouchServer(), addresses)


def fit(seen: Sequence[Seen], wanted: Mapping[str, str], names: Iterable[str]) -> Choice:
    """How the guide can be run on these nodes. ``wanted``: each VM's address -> the name its node has to
    call itself; ``names``: the databases that the guide makes. Raises Unfit."""
    for one in seen:
        if taken := sorted(one.databases.intersection(names)):
            raise Unfit(f"COUCHDB_URL: {in_use(one.url, taken)}")
    places = ", ".join(str(one.url) for one in seen)
    what = f"{seen[0].version} at {places} (COUCHDB_URL)"
    by_name = {one.name: one for one in seen}
    if len(seen) == len(by_name) and by_name.keys() == set(wanted.values()):
        if strangers := sorted(frozenset().union(*(one.listed for one in seen)) - by_name.keys()):
            raise Unfit(f"COUCHDB_URL: {', '.join(strangers)} in the cluster, but not among the addresses.")
        own = sorted(frozenset().union(*(one.databases for one in seen)) - SYSTEM)
        if own:
            raise Unfit(f"COUCHDB_URL: {places} hold {', '.join(own)}: the guide joins empty nodes only.")
        not_done = "The settings that the guide writes on the VMs are judged there and do not reach it."
        if all(one.listed == by_name.keys() for one in seen):
            not_done += " It is a cluster already: the set-up is looked at, not done."
        nodes = {address: by_name[name] for address, name in wanted.items()}
        return Choice(f"CouchDB: {what}\n  {not_done}", nodes=nodes)
    if len(seen) > 1 and any(one.listed != by_name.keys() or len(by_name) < len(seen) for one in seen):
        raise Unfit(
            f"COUCHDB_URL: {places} are neither one cluster ({_members(seen)}) nor the nodes of these "
            f"machines ({', '.join(wanted.values())})."
        )
    return Choice(
        f"CouchDB: stand-in facade over CouchDB {what}\n  Documents and users' logins are its own. Node "
        "settings, cluster set-up, membership and shard copies are the stand-in's: the guide needs "
        f"{len(wanted)} nodes named {', '.join(wanted.values())}; here: {', '.join(by_name)}.",
        server=seen[0],
    )


def _members(seen: Iterable[Seen]) -> str:
    return "; ".join(f"{one.url} is {one.name} and lists {', '.join(sorted(one.listed))}" for one in seen)


def choose(
    environ: Mapping[str, str], folder: Path, wanted: Mapping[str, str], names: Iterable[str]
) -> Choice:
    """``folder``: for the archive of an engine's image. Raises Unfit."""
    if text := environ.get("COUCHDB_URL", ""):
        login = environ.get("COUCHDB_USER", ""), environ.get("COUCHDB_PASSWORD", "")
        found = urls(text, *login, ci=environ.get("CI") == "true")
        return fit([look(url) for url in found], wanted, names)
    if given := environ.get("COUCHDB_IMAGE_TAR", ""):
        archive = checked(Path(given).expanduser(), "COUCHDB_IMAGE_TAR")
        return Choice(f"CouchDB: image {IMAGE} (COUCHDB_IMAGE_TAR)", archive=archive)
    if image := engine_image():
        where = environ.get("DOCKER_HOST") or "this machine's engine"
        return Choice(f"CouchDB: image {IMAGE} ({image[:19]}, {where})", archive=saved(folder))
    return Choice("CouchDB: stand-in facade over pouchdb-server")
