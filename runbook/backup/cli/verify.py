"""``runbook backup verify``: a backup read to its end, here or on the backup VM."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from runbook import units, whoami
from runbook.backup.cli.looked import looked, options
from runbook.backup.verifying import actionitems, instead, reduced, remote, tested, words
from runbook.backup.verifying.earlier import SHARE
from runbook.backup.verifying.report import Order, Report, carry_out
from runbook.errors import EXIT_FAILED, EXIT_OK, UseError
from runbook.hosts.base import Host
from runbook.looking import Looker
from runbook.site.model import Site
from runbook.text import printable
from runbook.workbench import Workbench

_THERE = "backup:"


def add(verbs: Any) -> None:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "verify",
        help="read a backup to its end and say what is proven",
        description="Every file is read once: manifest, checksum (in every way it can have been made), "
        "SHA-256s where there are any, archives, every row of every dump, uploads, settings; the nodes' "
        "copies and the backup before it are compared (copies that differ are read again, document by "
        "document). No byte of the backup is changed. The verdict goes "
        "on record beside the backups.",
        epilog="Exit codes: 0 sound or doubtful, 1 damaged, 2 wrong use or settings, 4 the backup VM was "
        "lost meanwhile, 130 interrupted.",
    )
    parser.add_argument("backup", metavar="PATH|ID", help="a folder, a .tar.gz, an id, or backup:/path")
    parser.add_argument(
        "--on", choices=("backup",), help="verify it there, on the backup VM; nothing is copied"
    )
    parser.add_argument(
        "--reduced", action="store_true", help="on a VM without this PC's Python: md5sum and gzip -t alone"
    )
    parser.add_argument(
        "--share",
        type=_share,
        default=SHARE,
        metavar="PERCENT",
        help=f"documents that may be gone since the backup before it (default {SHARE:.0%})",
    )
    parser.add_argument(
        "--root", action="append", default=[], metavar="DIR", help="a folder it may have been made below"
    )
    parser.add_argument(
        "--write-sums", action="store_true", help="write a list of SHA-256s beside it, where there is none"
    )
    parser.add_argument("--action", default="", metavar="TEXT", help="record what is to be done about it …")
    parser.add_argument("--owner", default="", metavar="NAME", help="… and by whom")
    options(parser)
    parser.set_defaults(run=run)


def _share(text: str) -> float:
    try:
        found = float(text.removesuffix("%")) / 100
    except ValueError:
        found = -1
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage: write it like 10%")
    return found


def run(args: argparse.Namespace) -> int:
    if bool(args.action) != bool(args.owner):
        raise UseError("An action item needs both: --action TEXT --owner NAME.")
    on_vm = args.on or args.backup.startswith(_THERE)
    if args.reduced and not on_vm:
        raise UseError("--reduced is for the backup VM.", next="Here everything can be read.")
    if args.reduced:
        return reduced.show(looked(args, lambda world: _reduced(args, world)), args.json)
    report = looked(args, lambda world: _there(args, world)) if on_vm else _here(args)
    return _show(args, report)


# ── here and there ─────────────────────────────────────────────────────────────────────────
def _here(args: argparse.Namespace) -> Report:
    site = _site(args)
    with _Line() as line:
        return carry_out(_order(args, site, str(_path(args.backup, site))), line.tick)


def _site(args: argparse.Namespace) -> Site | None:
    """None: a backup can be verified without any settings."""
    if args.from_run:
        return looked(args, _its_site)
    bench: Workbench = args.bench
    try:
        return bench.settings()
    except UseError:
        if bench.site_path is not None:
            raise
        return None


async def _its_site(world: Looker) -> Site:
    return world.site


def _path(given: str, site: Site | None) -> Path:
    path = Path(given).expanduser()
    if site and not path.exists() and "/" not in given:
        below = Path(site.backup.local).expanduser()
        return next((one for one in (below / given, below / f"{given}.tar.gz") if one.exists()), path)
    return path


async def _there(args: argparse.Namespace, world: Looker) -> Report:
    host, path = await _found(args, world)
    order = _order(args, world.site, path)
    with _Line() as line:
        return await remote.verify(host, order, line.tick, line.say)


async def _reduced(args: argparse.Namespace, world: Looker) -> reduced.Reduced:
    host, path = await _found(args, world)
    site = world.site.backup
    return await reduced.look(host, path, (site.remote, *args.root), site.databases)


async def _found(args: argparse.Namespace, world: Looker) -> tuple[Host, str]:
    host = await world.hosts.open("backup")
    given: str = args.backup.removeprefix(_THERE)
    return host, given if "/" in given else await remote.find(host, world.site.backup.remote, given)


def _order(args: argparse.Namespace, site: Site | None, path: str) -> Order:
    by = f"{whoami.operator(site)} on {whoami.this_pc()}"
    order = Order(path=path, share=args.share, write_sums=args.write_sums, by=by)
    if site is None:
        return msgspec.structs.replace(order, roots=("/backup", *args.root))
    return msgspec.structs.replace(
        order,
        roots=tuple(dict.fromkeys((site.backup.remote, "/backup", *args.root))),
        expected=site.backup.databases,
        largest=site.couchdb.max_document_size,
        rpo=units.parse_duration(site.objectives.rpo),
        domain=site.platform.domain,
        base=site.machines.internal_base,
    )


class _Line:
    """Progress on a terminal's stderr, in one line that is drawn again."""

    def __enter__(self) -> _Line:
        self._begun, self._drawn, self._shown = time.monotonic(), 0.0, sys.stderr.isatty()
        return self

    def tick(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._shown and now - self._drawn > 0.2:
            self._drawn = now
            print(
                f"\r{words.progress(done, total, now - self._begun)}\x1b[K",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def say(self, text: str) -> None:
        print(printable(text), file=sys.stderr)

    def __exit__(self, *error: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# ── what is said ───────────────────────────────────────────────────────────────────────────
def _show(args: argparse.Namespace, report: Report) -> int:
    bench: Workbench = args.bench
    practice = bool(args.from_run) and _mode(bench, args.from_run) == "practice"
    test = tested.last(bench.runs(), report.id, practice=practice)
    folder = _folder(args, report)
    if args.action:
        item = actionitems.Item(
            backup=report.id,
            at=datetime.now(UTC).replace(microsecond=0),
            text=args.action,
            owner=args.owner,
            by=whoami.operator(None),
        )
        actionitems.add(folder, item)
    items = _items(folder, report.id)
    if args.json:
        found = {**msgspec.to_builtins(report), "restore_test": test, "action_items": items}
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print(words.told(report, test, items))
        if report.verdict == "damaged":
            print(_next(args, report))
        elif not report.listed and not report.written:
            print(f"No list of SHA-256s is beside it. To make one:\n  {_again(args)} --write-sums")
    return EXIT_FAILED if report.verdict == "damaged" else EXIT_OK


def _mode(bench: Workbench, run: str) -> str:
    name = bench.folder(run).name
    return next((one.mode for one in bench.runs() if one.id == name), "")


def _folder(args: argparse.Namespace, report: Report) -> Path:
    """Of the action items: beside the backup, for one of the backup VM with the backups on this PC."""
    if not report.machine:
        return Path(report.path).parent
    site = _site(args)
    folder = Path(site.backup.local if site else "~/openedx-backups").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _items(folder: Path, id: str) -> list[actionitems.Item]:
    try:
        return actionitems.read(folder, id)
    except OSError:
        return []


def _again(args: argparse.Namespace) -> str:
    """This command."""
    words = ["runbook", "backup", "verify", args.backup]
    words += ["--on", args.on] if args.on else []
    words += ["--run", args.from_run] if args.from_run else []
    return printable(shlex.join([*words, *(word for root in args.root for word in ("--root", root))]))


def _next(args: argparse.Namespace, report: Report) -> str:
    try:
        other = None if report.machine else instead.older(Path(report.path).parent, report.id, report.made)
    except OSError:
        other = None
    id = report.id
    if report.way:
        first = (
            "the files are as they were written (the checksum matches): another copy will be the same",
            "",
        )
    elif report.machine:
        first = ("look whether the copy on this PC is sound", f"runbook backup verify {id}")
    else:
        first = ("fetch it again: the copy may be what is damaged", f"runbook backup fetch --id {id}")
    if other:
        text = f"take an older one: {other.id} was verified sound on {other.at:%Y-%m-%d}"
        second = (text, f"runbook run GUIDE --backup {other.id}")
    elif report.earlier:
        path = str(Path(report.path).with_name(report.earlier))
        where = f"backup:{path}" if report.machine else path
        text = f"take an older one, once it is verified: {report.earlier} is the one before"
        second = (text, f"runbook backup verify {shlex.quote(where)}")
    else:
        second = ("take an older one, once it is verified", "runbook backup list")
    third = ("put on record who repairs it", f'{_again(args)} --action "TEXT" --owner NAME')
    lines = ["", "What next:"]
    for number, (text, command) in enumerate((first, second, third), 1):
        lines += [
            words.wrapped(f"  {number}. {text}", "     ", first=""),
            *([f"     {printable(command)}"] if command else []),
        ]
    return "\n".join(lines)
