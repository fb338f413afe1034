"""``runbook couchdb …`` in this process, as the command line calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from runbook.couch import cli
from runbook.errors import RunbookError
from runbook.workbench import Workbench
from tests.couchdb.servers import Server


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """Calls a verb with that server's login."""

    def __init__(
        self, server: Server, state: Path, capfd: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
    ) -> None:
        self.server, self.state, self.capfd = server, state, capfd
        patch.setenv("COUCHDB_PASSWORD", server.password)

    def __call__(self, *words: str | Path) -> Done:
        self.capfd.readouterr()
        try:
            told = [*map(str, words), "--user", self.server.user]
            code = cli.main(told, Workbench(state=self.state))
        except RunbookError as error:
            out, err = self.capfd.readouterr()
            return Done(error.exit_code, out, f"{err}{error}")
        return Done(code, *self.capfd.readouterr())

    @property
    def urls(self) -> str:
        return ",".join(self.server.urls)
