"""``server``: each of the servers in turn, started once a module. See ``servers.py``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook.couch.client import Client
from tests.couchdb.commands import Command
from tests.couchdb.servers import LACKS, PouchdbServer, Server, StandInServer, UrlServer

URL = os.environ.get("COUCHDB_URL", "")
SERVERS = [
    "standin",
    pytest.param("pouchdb", marks=pytest.mark.real("npm")),
    *(["url"] if URL else []),
]


def make(label: str) -> Server:
    if label == "url":
        return UrlServer(URL)
    return PouchdbServer() if label == "pouchdb" else StandInServer()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that needs what a server lacks, as declared, is none of that server's tests."""
    lacking = [item for item in items if _needed(item) & LACKS.get(_label(item), frozenset())]
    if lacking:
        config.hook.pytest_deselected(items=lacking)
        items[:] = [item for item in items if item not in lacking]


def _needed(item: pytest.Item) -> set[str]:
    return {feature for mark in item.iter_markers("needs") for feature in mark.args}


def _label(item: pytest.Item) -> str:
    return str(item.callspec.params.get("server")) if hasattr(item, "callspec") else ""


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = make(request.param)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def clients(server: Server) -> Iterator[list[Client]]:
    """New ones for each test: a test may close them."""
    with server.opened() as found:
        yield found


@pytest.fixture
def database(server: Server) -> str:
    """An empty database of the test's own."""
    return server.database()


@pytest.fixture
def command(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    return Command(server, tmp_path / "state", capfd, monkeypatch)
