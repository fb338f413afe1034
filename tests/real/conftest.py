"""``couchdb``: which CouchDB the real machines get, looked for once and named in the tests' output."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from runbook.lab import sampledata
from tests.real.choice import Choice, choose
from tests.real.lent import Unfit
from tests.real.platform import NODES

_LABEL = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def couchdb(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    record_testsuite_property: Callable[[str, object], None],
) -> Choice:
    try:
        choice = choose(os.environ, tmp_path_factory.mktemp("couchdb"), NODES, sampledata.DATABASES)
    except Unfit as error:
        pytest.fail(str(error), pytrace=False)
    pytestconfig.stash[_LABEL] = choice.label
    record_testsuite_property("CouchDB", choice.label)
    return choice


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if label := config.stash.get(_LABEL, ""):
        terminalreporter.section("tests/real")
        terminalreporter.write_line(label)
