"""Which CouchDB a tool speaks to: ``--url``, else the site's nodes through SSH."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from runbook.couch import connect
from runbook.couch.client import Client
from runbook.errors import HostError, UseError
from runbook.site.model import CouchDB, Machines, Platform, SecretRef, Site
from runbook.workbench import Workbench

#: where the password is looked for when nothing else is said
PASSWORD_ENV = "COUCHDB_PASSWORD"


def options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which CouchDB (default: the site's, through SSH)")
    group.add_argument(
        "--url",
        action="append",
        default=[],
        help="a node's address such as http://10.0.1.10:5984; once for each node, or separated by commas",
    )
    group.add_argument("--user", default="admin", help="who logs in there (default: %(default)s)")
    group.add_argument(
        "--password-env",
        metavar="NAME",
        help=f"environment variable with the password (default: {PASSWORD_ENV}, else it is asked for)",
    )
    group.add_argument("--run", default="", dest="of_run", help="take settings and machines from this run")


def bench(args: argparse.Namespace) -> Workbench:
    """The workbench of that CouchDB. Raises UseError for an address with a login in it."""
    given: Workbench = args.bench
    urls = tuple(part.rstrip("/") for text in args.url for part in text.split(",") if part)
    if not urls:
        return given
    for url in urls:
        # the same rule as in the settings; the address is not printed: it may hold a password
        if "@" in url or not url.startswith(("http://", "https://")):
            raise UseError(
                "--url must look like http://host:5984, without user and password.",
                next=f"Give the login with --user and --password-env NAME (or {PASSWORD_ENV}).",
            )
    given.site = _site(urls, args.user, args.password_env)
    return given


def _site(urls: tuple[str, ...], user: str, password_env: str | None) -> Site:
    """Settings that know of nothing but these addresses."""
    if password_env and password_env not in os.environ:
        raise UseError(f"The environment variable {password_env} is not set.")
    name = password_env or (PASSWORD_ENV if PASSWORD_ENV in os.environ else None)
    asked = SecretRef(ask=f"password of {user} at {urls[0]}")
    password = SecretRef(env=name) if name else asked
    nothing = SecretRef(ask="not needed here")
    couchdb = CouchDB(user=user, password=password, cookie=nothing, secret=nothing, urls=urls)
    title = urls[0].partition("://")[2]
    return Site(
        name=title,
        platform=Platform(domain="unknown.invalid"),
        machines=replace(Machines(), count=len(urls)),
        couchdb=couchdb,
    )


def base(args: argparse.Namespace) -> str:
    """The address of the site's node 1; the usual one without a site."""
    try:
        return str(args.bench.settings().machines.internal_base)
    except UseError:
        return Machines().internal_base


@asynccontextmanager
async def opened(
    args: argparse.Namespace, silent: dict[str, str] | None = None
) -> AsyncIterator[dict[str, Client]]:
    """The nodes' clients, closed on leaving. ``silent``: takes the nodes whose machine cannot be
    reached, with the reason, instead of raising. Raises HostError, UseError, SecretError."""
    from runbook.looking import looker

    async with looker(bench(args), args.of_run) as found:
        look, clients = await found.here(), {}
        if not look.site.couchdb.urls:
            await found.hosts.learn()
        try:
            for machine in connect.machines(look):
                try:
                    clients[machine.name] = await connect.node(look, machine)
                except HostError as error:
                    if silent is None:
                        raise
                    silent[machine.name] = str(error)
            yield clients
        finally:
            for client in clients.values():
                client.close()
