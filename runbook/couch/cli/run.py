"""``runbook couchdb dump | restore | setup | join``: runs of one step, on the record like any other."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from runbook import tomltext
from runbook.couch.cli import servers
from runbook.guide import model as guide
from runbook.guide.model import Guide

_TEXT = """+++
title = {title}
modes = ["practice", "drill", "recovery"]
+++
# {heading}

{prose}

## {heading}

{prose}

```toml step
{step}
```
"""


class _Verb(NamedTuple):
    title: str
    prose: str
    changes: str
    after: tuple[str, ...]
    save: tuple[str, ...] = ()


VERBS = {
    "dump": _Verb(
        "Take a backup of CouchDB",
        "Every database is read to its end into a backup on this PC, which is compared with the servers "
        "afterwards.",
        "",
        ("backup.dumped",),
        ("dump_path", "dumped"),
    ),
    "restore": _Verb(
        "Restore CouchDB",
        "The documents of a backup are written into empty databases, with their revisions, and compared with "
        "the backup afterwards, copy by copy.",
        "writes the backup's documents into CouchDB",
        ("couchdb.contents_match", "couchdb.copies_equal(within='5m')", "couchdb.no_conflicts"),
        ("backup_path", "restored"),
    ),
    "setup": _Verb(
        "Form the CouchDB cluster",
        "The nodes are joined into one cluster, and each is asked for its members afterwards.",
        "joins these CouchDBs into one cluster",
        ("couchdb.cluster_formed",),
    ),
    "join": _Verb(
        "Let a replaced node join",
        "A blank node that has the lost one's name is filled by the others; it is in service only when every "
        "copy on it is proven complete.",
        "fills the replaced node and takes it into service",
        ("couchdb.cluster_formed", "couchdb.in_sync(within='5m')"),
    ),
}


def add(verbs: Any) -> None:
    dump = _verb(verbs, "dump", "take a backup of CouchDB now")
    dump.add_argument("folder", nargs="?", type=Path, help="where to (default: beside the local backups)")
    dump.add_argument(
        "--database", action="append", default=[], metavar="NAME", help="only this one; repeatable"
    )
    restore = _verb(verbs, "restore", "put a backup's documents into empty databases")
    restore.add_argument("backup", type=Path, metavar="DIR", help="a backup's folder")
    restore.add_argument(
        "--database", action="append", default=[], metavar="NAME", help="only this one; repeatable"
    )
    _verb(verbs, "setup", "form one cluster of all nodes")
    join = _verb(verbs, "join", "let the blank successor of a lost node in")
    join.add_argument("node", help="the replaced machine: vm2, or its address with --url")
    join.add_argument(
        "--former", default="", help="the lost machine's public address, to look that it is off"
    )


def _verb(verbs: Any, name: str, help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=help, description=VERBS[name].prose)
    servers.options(parser)
    parser.add_argument("--mode", choices=["practice", "drill", "recovery"], default="recovery")
    parser.add_argument("--yes", action="store_true", help="confirm what may be confirmed unattended")
    parser.add_argument("--name", default="", help="name of the run")
    parser.set_defaults(run=run, verb=name)
    return parser


def run(args: argparse.Namespace) -> int:
    from runbook.running.driving import drive, narrate

    bench = servers.bench(args)
    plan = one_step(args.verb, _parameters(args))
    return drive(bench, lambda: bench.start(plan, args.mode, args.name, narrate, same_lab=True), yes=args.yes)


def _parameters(args: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("folder", "backup"):
        if path := getattr(args, name, None):
            found[name] = str(path.expanduser().absolute())
    if names := getattr(args, "database", None):
        found["databases"] = names
    for name in ("node", "former"):
        if text := getattr(args, name, ""):
            found[name] = text
    return found


def one_step(verb: str, parameters: Mapping[str, Any]) -> Guide:
    """The guide of one step that such a command is. Raises GuideError."""
    one = VERBS[verb]
    action = "setup_cluster" if verb == "setup" else verb
    step: dict[str, Any] = {"id": verb, "action": f"couchdb.{action}", "after": list(one.after)}
    step |= {"save": list(one.save)} if one.save else {}
    step |= {"changes": one.changes} if one.changes else {}
    step |= {"with": dict(parameters)} if parameters else {}
    text = _TEXT.format(
        title=tomltext.quote(one.title), heading=one.title, prose=one.prose, step=tomltext.table(step)
    )
    return guide.parse(text, name=f"couchdb-{verb}")
