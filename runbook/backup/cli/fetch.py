"""``runbook backup fetch``: a backup from the backup VM to this PC, whole and verified, the latest kept."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from contextlib import suppress
from datetime import UTC
from pathlib import Path
from typing import Any

from runbook import terminal, units
from runbook.backup.cli.looked import as_json, options
from runbook.backup.cli.progress import Progress
from runbook.backup.fetching import fetch as fetching
from runbook.backup.fetching import keeping, lock, log
from runbook.backup.fetching.fetch import Fetch, Fetched, Wish
from runbook.backup.fetching.hearing import Hearing
from runbook.backup.fetching.holding import held
from runbook.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_UNKNOWN,
    CouldNotLook,
    HostError,
    HostKeyUnknown,
    LoginRefused,
    OutcomeUnknown,
    RunbookError,
    SiteError,
    TimedOut,
    Unreachable,
    UseError,
    WaitsForPerson,
)
from runbook.hosts.base import Host
from runbook.looking import Looker, looker
from runbook.text import printable
from runbook.workbench import Workbench

#: what a first fetch needs, for whoever has no settings yet
_NEEDS = (
    'A fetch needs of it: [machines] backup = { address = "…" } (or OpenTofu\'s output), key, backup_user; '
    "[backup] remote, local, keep. docs/fetching.md goes through it."
)
_COMPARE = "for f in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $f; done"


def add(verbs: Any) -> None:
    parser: argparse.ArgumentParser = verbs.add_parser(
        "fetch",
        help="bring the newest backup to this PC, verify it, keep the latest",
        description="Looks for the newest complete backup on the backup VM and for room here, brings it (a "
        "transfer that was cut off or killed goes on where it was), compares every file by SHA-256, "
        "verifies it, and only then gives it its name. Then it is copied to every folder of backup.copies "
        "that is there, and what is beyond the latest N is deleted, one by one.",
        epilog="Exit codes: 0 it is here and verified, 1 it failed or is damaged (what came stays), 2 wrong "
        "use or settings, or another fetch is under way, 3 waits for a person (the host key), 4 the backup "
        "VM could not be used, 130 interrupted.",
    )
    parser.add_argument(
        "--id", default="", metavar="ID", help="this backup; default: the newest complete one"
    )
    parser.add_argument("--keep", type=_keep, metavar="N", help="copies kept here; default: backup.keep")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument(
        "--copy-to",
        action="append",
        default=[],
        metavar="DIR",
        help="a second copy below this folder as well, compared after writing",
    )
    parser.add_argument(
        "--yes", action="store_true", help="delete what is beyond the latest N without asking"
    )
    options(parser)
    parser.set_defaults(run=run)


def _keep(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of copies: 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    progress = Progress()
    try:
        return asyncio.run(_go(args, progress))
    except HostKeyUnknown as error:
        site = ["--site", str(args.bench.site_path)] if args.bench.site_path else []
        again = shlex.join(
            ["runbook", *site, "backup", "fetch", *(["--run", args.from_run] if args.from_run else [])]
        )
        raise WaitsForPerson(
            f"The backup VM is not known yet; its fingerprint is {error.fingerprint}. Nothing was sent.",
            next=f"Once, on a terminal: {again} --dry-run. It shows the fingerprint and asks.",
        ) from None
    except (Unreachable, OutcomeUnknown, TimedOut, LoginRefused, CouldNotLook) as error:
        progress.say(f"runbook: {error}")
        return EXIT_UNKNOWN
    except KeyboardInterrupt:
        progress.say("Interrupted. What came is kept; the same command goes on there.")
        return EXIT_INTERRUPTED
    except SiteError:
        raise
    except UseError as error:
        if "settings" in error.what:
            raise UseError(error.what, next=f"{error.next} {_NEEDS}") from None
        raise
    finally:
        progress.close()


async def _go(args: argparse.Namespace, progress: Progress) -> int:
    async def accept_key(host: str, fingerprint: str) -> bool:
        progress.say(
            f"{host} is not known yet. Its host key has the fingerprint\n  {fingerprint}\nOn its console "
            f"this must be among what is shown by:\n  {_COMPARE}"
        )
        answer = await _asked("Is it the same? Then it is trusted from now on. [yes/no] ")
        return answer == "yes"

    asks = sys.stdin.isatty() and sys.stderr.isatty()
    async with looker(args.bench, args.from_run, accept_key if asks else None) as world:
        with suppress(RunbookError):  # then the backup VM is told as not known
            await world.hosts.learn()
        host = await _reached(world, progress)
        site = world.site
        wish = Wish(
            id=args.id,
            keep=args.keep or max(site.backup.keep, 1),
            copies=tuple(str(Path(one).expanduser().absolute()) for one in args.copy_to),
            held=await asyncio.to_thread(_held, args.bench, site.backup.local, progress),
        )
        found = await fetching.plan(site, host, wish)
        _shown(found, wish, site.backup.copies, progress)
        if args.dry_run:
            progress.say("Nothing was done (--dry-run).")
            if args.json:
                print(as_json(found))
            return EXIT_OK
        if found.surplus.paths and not args.yes and not await _deleting(asks, progress):
            wish = Wish(id=wish.id, keep=wish.keep, copies=wish.copies, held=None)
        done = await _fetched(world, host, found, wish, progress)
    if args.json:
        print(as_json(done))
    return _told(done, progress)


async def _reached(world: Looker, progress: Progress) -> Host:
    """The backup VM, after a first command there."""
    try:
        (machine,) = world.hosts.select("backup")[:1]
    except CouldNotLook as error:
        raise UseError(f"The settings name no backup VM. {error.what}", next=_NEEDS) from None
    host = await world.hosts.open(machine.name)
    root = world.site.backup.remote
    done = await host.run(["test", "-r", root], timeout=30)
    if not done.ok:
        raise HostError(
            host.name,
            f"{host.name} ({machine.address}) answers, but there is no folder {root} there that "
            f"{world.site.machines.backup_user} can read. Nothing was fetched.",
            next="Is backup.remote right? See who owns it: ls -ld on that machine.",
        )
    progress.say(f"Connected to {host.name} ({machine.address}); {root} there can be read.")
    return host


def _held(bench: Workbench, local: str, progress: Progress) -> dict[str, str] | None:
    found, problem = held(bench.runs(), local)
    if problem:
        progress.say(f"Nothing will be deleted: {problem}")
        return None
    return found


def _shown(found: Fetch, wish: Wish, copies: tuple[str, ...], progress: Progress) -> None:
    one, say = found.backup, progress.say
    for remark in found.remarks:
        say(f"· {remark}")
    made = f", made {one.made.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if one.made else ""
    say(f"Backup {one.title}: {units.size(one.bytes)} in {len(one.files)} files{made}.")
    if found.here:
        say(f"  It is here already by names and sizes: {found.target}. It is compared by SHA-256.")
    else:
        say(f"  To {found.target}: {units.size(found.needed)} to move, {units.size(found.free)} free.")
    for folder in dict.fromkeys((*wish.copies, *copies)):
        say(f"  A second copy to {folder}, if it is there.")
    if found.surplus.paths:
        text = keeping.words(found.surplus)
        say(f"  Keeping the latest {wish.keep}, these would be deleted once it is verified: {text}.")
    for spared in found.surplus.spared:
        say(f"  Kept beside them: {spared}.")


async def _deleting(asks: bool, progress: Progress) -> bool:
    if not asks:
        progress.say("Nothing is deleted: nobody is here to say so, and there is no --yes.")
        return False
    answer = await _asked("Delete them afterwards? Else nothing is deleted. [yes/no] ")
    return answer == "yes"


async def _asked(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    answer: str = await terminal.unwaited(sys.stdin.readline)
    return answer.strip().lower()


async def _fetched(world: Looker, host: Host, found: Fetch, wish: Wish, progress: Progress) -> Fetched:
    local = Path(found.target).parent
    try:
        await asyncio.to_thread(local.mkdir, parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise HostError("operator", f"{local} could not be made: {error.strerror}.") from None
    book = log.Log(local, world.clock, world.redactor.text)

    def say(text: str) -> None:
        book.write(text)
        progress.say(text)

    with lock.alone(local):
        book.write(f"Fetch of {found.backup.path} begun; {units.size(found.needed)} to move.")
        try:
            here = await world.hosts.open("operator")
            hearing = Hearing(say, progress.tick)
            done = await fetching.carry_out(world.site, host, here, found, wish, world.clock, hearing)
        except asyncio.CancelledError:
            book.write("Interrupted; what came is kept for the next fetch.")
            raise
        except RunbookError as error:
            book.write(f"Failed: {error}")
            raise
        book.write(f"Fetch of {done.id} ended: {done.verdict}.")
    if book.problem:
        progress.say(book.problem)
    return done


def _told(done: Fetched, progress: Progress) -> int:
    say = progress.say
    report = done.report
    if done.verdict == "damaged":
        aside = ", which is not taken for a backup" if done.brought else ""
        for text in (report.problems if report else ())[:12]:
            say(f"! {text}")
        say(
            f"{done.id} is DAMAGED. It equals the backup VM's by SHA-256, so the damage is there. The copy "
            f"is {done.path}{aside}. Nothing was deleted.\nWhat next:\n"
            f"  1. take an older one, verified: runbook backup list\n"
            f"  2. look at it there: runbook backup verify {done.id} --on backup\n"
            f"  3. put on record who repairs it: add --action TEXT --owner NAME to that"
        )
        return EXIT_FAILED
    if report:
        for text in report.remarks[:12]:
            say(f"? {text}")
        say(f"Not proven by this: {printable('; '.join(report.unproven))}")
    for one in done.copies:
        if one.path:
            say(f"Second copy: {one.path}")
    return EXIT_FAILED if done.problems else EXIT_OK
