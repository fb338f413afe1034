"""``scene``: a state folder and a lab for one test. Afterwards the lab is gone, and no secret was
in any file, any output or any process's arguments."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import Processes, Scene


@pytest.fixture(autouse=True)
def processes(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Processes]:
    mark = f"RUNBOOK_FAULTS={uuid.uuid4().hex}"
    monkeypatch.setenv(*mark.split("="))
    with Processes(mark, str(tmp_path_factory.getbasetemp())) as watch:
        yield watch
    assert not watch.seen


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    try:
        yield made
        made.search()
    finally:
        made.down()
