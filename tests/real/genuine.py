"""CouchDB itself for the real machines: containers of its image, or a cluster that stands elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.real.boots import Boots, Ini, Relay
from tests.real.documents import CouchServer, Url


class Loaded:
    """``archive`` (docker save) is loaded into each VM's engine; the guide does all the rest there."""

    archive: Path | None
    control, document_limit = "", 0
    boots: tuple[()] = ()

    def __init__(self, archive: Path, addresses: Iterable[str], user: str, password: str) -> None:
        self.archive = archive
        self.user, self.password = user, password
        self._second = list(addresses)[1]

    def documents(self, database: str) -> dict[str, Any]:
        """As the second VM shows them: the guide wrote through all of them."""
        return CouchServer(Url(self._second, 5984, self.user, self.password)).documents(database)

    def blank(self, address: str) -> None:
        pass  # its data went with the VM's disk

    def stop(self) -> None:
        pass  # it went with the VMs


class Lent:
    """The nodes of a cluster that is somebody's: each VM's port 5984 leads to the one of its name.

    The databases that the guide makes there (``names``) are deleted in the end, if none was there
    before; that its nodes became one cluster stays.
    """

    archive: Path | None = None

    def __init__(self, nodes: Mapping[str, Url], names: Iterable[str], document_limit: int) -> None:
        first, self.document_limit = next(iter(nodes.values())), document_limit
        self.user, self.password = first.user, first.password
        self._server = CouchServer(first, names)
        self._server.start()
        self.relays = {address: Relay(url.host, url.port) for address, url in nodes.items()}
        self._boots = Boots(self._boot)

    @property
    def control(self) -> str:
        return self._boots.address

    @property
    def boots(self) -> list[dict[str, str]]:
        return self._boots.seen

    def _boot(self, address: str, env: Mapping[str, str], ini: Ini) -> int:
        return self.relays[address].port

    def documents(self, database: str) -> dict[str, Any]:
        return self._server.documents(database)

    def blank(self, address: str) -> None:
        raise AssertionError(f"the CouchDB that {address} leads to is somebody's: it cannot be made blank")

    def stop(self) -> None:
        self._boots.stop()
        for relay in self.relays.values():
            relay.stop()
        self._server.stop()
