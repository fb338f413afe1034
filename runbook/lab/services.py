"""Which program runs in a container of the practice platform."""

from __future__ import annotations

import configparser
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runbook.lab.caddy import Caddy
from runbook.lab.compose import Mount, Service
from runbook.lab.container import Crash
from runbook.lab.openedx import Platform
from runbook.lab.pki import Authority
from runbook.lab.web import Reply, Web

if TYPE_CHECKING:
    from runbook.lab.couchdb import StandIn

LOCAL_INI = "/opt/couchdb/etc/local.d/"
DATA = "/opt/couchdb/data"
#: Erlang's port mapper and the cluster's traffic: without both no cluster
CLUSTER_PORTS = (4369, 9100)


class Ailment(NamedTuple):
    """What a fault does to CouchDB when it starts; empty texts: nothing."""

    crash: str
    cookie: str
    password: str


class Couch:
    """CouchDB in its container. ``opened`` is told whether the cluster's ports are reachable."""

    def __init__(
        self, service: Service, standin: Callable[[str], StandIn], opened: Callable[[bool], None],
        ailing: Callable[[], Ailment],
    ) -> None:  # fmt: skip
        self._service, self._opened, self._ailing = service, opened, ailing
        volume = next((m.source for m in service.mounts if m.target == DATA), "anonymous")
        self._standin = standin(volume)
        self._erlang = [_Listener() for _ in CLUSTER_PORTS]

    def start(self) -> None:
        from runbook.lab.couchdb.errors import BootFailed

        ailment = self._ailing()
        if ailment.crash:
            raise Crash(ailment.crash)
        environment, ini = dict(self._service.environment), read_ini(self._service.mounts)
        if environment.get("NODENAME"):  # the image's start script makes -name couchdb@$NODENAME
            environment["NODENAME"] = f"couchdb@{environment['NODENAME']}"
        if ailment.cookie:
            environment["COUCHDB_ERLANG_COOKIE"] = ailment.cookie
        if ailment.password:
            environment["COUCHDB_PASSWORD"] = ailment.password
            ini.pop("admins", None)
        try:
            self._standin.boot(environment, ini)
        except BootFailed as failed:
            raise Crash(failed.log) from None
        published = {port.target for port in self._service.ports if port.published == port.target}
        for listener in self._erlang:
            listener.start()
        self._opened(published.issuperset(CLUSTER_PORTS))

    def stop(self) -> None:
        self._opened(False)
        for listener in self._erlang:
            listener.stop()
        self._standin.kill()

    def port(self, target: int) -> int | None:
        if target in CLUSTER_PORTS:
            return self._erlang[CLUSTER_PORTS.index(target)].port
        return self._standin.port if target == 5984 else None

    def log(self) -> list[str]:
        return [str(line) for line in self._standin.log]

    def healthy(self) -> bool:
        return self._standin.port is not None


def read_ini(mounts: tuple[Mount, ...]) -> dict[str, dict[str, str]]:
    """The settings that are mounted into the container, later files over earlier ones. A mount
    whose source is missing becomes a folder, as the engine makes it."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), default_section="\0")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    for mount in sorted((m for m in mounts if m.bind), key=lambda m: m.target):
        source = Path(mount.source)
        if not source.exists():
            source.mkdir(parents=True)
        if mount.target.startswith(LOCAL_INI.rstrip("/")):
            files = sorted(source.glob("*.ini")) if source.is_dir() else [source]
            try:
                parser.read(files)
            except configparser.Error as error:
                raise Crash(f"Unable to start CouchDB: {error}") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


class Site:
    """LMS or Studio."""

    def __init__(self, name: str, service: Service, couch_port: Callable[[], int | None]) -> None:
        self._platform = Platform(name, service.environment, couch_port)
        self._web = Web(self._platform.answer)

    def start(self) -> None:
        self._web.start()

    def stop(self) -> None:
        self._web.stop()

    def port(self, target: int) -> int | None:
        return self._web.port

    def log(self) -> list[str]:
        return list(self._web.log)

    def healthy(self) -> bool:
        return self._platform.healthy()


class Front:
    """Caddy: 80 and 443."""

    def __init__(
        self, service: Service, authority: Authority, allowed: Callable[[], bool],
        upstream: Callable[[str], int | None],
    ) -> None:  # fmt: skip
        self._caddy = Caddy(service.environment, authority, allowed, upstream)

    def start(self) -> None:
        self._caddy.start()

    def stop(self) -> None:
        self._caddy.stop()

    def port(self, target: int) -> int | None:
        return self._caddy.https.port if target == 443 else self._caddy.http.port

    def log(self) -> list[str]:
        return list(self._caddy.log)

    def healthy(self) -> bool:
        return self._caddy.http.port is not None


class Other:
    """Services that recovery only starts: an HTTP server that says who it is."""

    def __init__(self, name: str) -> None:
        self._web = Web(lambda request: Reply.text(200, f"{name} of the practice lab\n"))

    def start(self) -> None:
        self._web.start()

    def stop(self) -> None:
        self._web.stop()

    def port(self, target: int) -> int | None:
        return self._web.port

    def log(self) -> list[str]:
        return list(self._web.log)

    def healthy(self) -> bool:
        return self._web.port is not None


class _Listener:
    """Accepts connections and closes them: an open port, nothing more."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int | None:
        return self._socket.getsockname()[1] if self._socket else None

    def start(self) -> None:
        if self._socket is None:
            self._socket = socket.create_server(("127.0.0.1", 0))
            threading.Thread(target=self._accept, args=(self._socket,), daemon=True).start()

    def stop(self) -> None:
        held, self._socket = self._socket, None
        if held is not None:
            held.shutdown(socket.SHUT_RDWR)
            held.close()

    @staticmethod
    def _accept(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.close()
