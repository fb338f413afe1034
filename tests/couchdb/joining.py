"""couchdb.join at addresses, as a program of its own that may be killed: URL,URL,URL and which one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from runbook.actions.couchdb.join import Join, JoinParams
from runbook.context import Context
from tests.unit.couch import PASSWORD
from tests.unit.doubles import FakeSecrets, ScriptedHost, make_context, make_site


def context(urls: tuple[str, ...], run_dir: Path) -> Context:
    """A person who says that the lost node is off."""
    site = make_site()
    site = make_site(couchdb=msgspec.structs.replace(site.couchdb, urls=urls))
    secrets = FakeSecrets({"COUCHDB_PASSWORD": PASSWORD})
    operator = ScriptedHost("operator")
    return make_context(operator, site=site, secrets=secrets, answers={"choice": "yes"}, run_dir=run_dir)


async def join(here: Context, node: str) -> str:
    params = JoinParams(node=node, within="2m")
    plan = await Join().plan(here, params)
    return (await Join().act(here, params, plan)).summary


def name(url: str) -> str:
    """A machine's name where nodes are met at addresses."""
    return url.partition("://")[2]


if __name__ == "__main__":
    urls = tuple(sys.argv[1].split(","))
    print(asyncio.run(join(context(urls, Path(sys.argv[3])), name(urls[int(sys.argv[2])]))))
