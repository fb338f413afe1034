"""The command line: the second front end, and the one place where everything is put together.

stdout is data, stderr is narration. Exit codes: 0 all well, 1 a step or check failed, 2 wrong use
or settings, 3 stopped and waits for a person, 4 outcome unknown, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runbook import __version__
from runbook.clihelp import MODES, everywhere, word
from runbook.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USE,
    RunbookError,
    UseError,
)

if TYPE_CHECKING:
    from runbook.record.runs import RunSummary
    from runbook.workbench import Workbench

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a sign shows "?"
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    args, rest = _parser().parse_known_args(argv)
    if rest and args.command not in (_backup, _couchdb, _kit, _lab):
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    command: Command = args.command
    try:
        code = command(args)
        sys.stdout.flush()
        return code
    except RunbookError as error:
        _say(error.what, error.next)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except KeyboardInterrupt:
        _say("interrupted. Jobs on hosts go on; `runbook resume` follows them.")
        return EXIT_INTERRUPTED
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _say(f"this PC refused:{where}: {error.strerror or error}.", "Runs keep their journal.")
        return EXIT_USE
    except Exception as error:
        if os.environ.get("RUNBOOK_DEBUG"):
            raise
        _say(
            f"the program itself failed: {type(error).__name__}: {error}.",
            "A run keeps its journal: `runbook resume`. RUNBOOK_DEBUG=1 shows where it failed.",
        )
        return EXIT_FAILED


def _say(what: str, then: str = "") -> None:
    from runbook.text import lines

    for line in lines(what):
        print(f"runbook: {line}", file=sys.stderr)
    for line in lines(then):
        print(f"         {line}", file=sys.stderr)


# ── the words ──────────────────────────────────────────────────────────────────────────────
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runbook",
        description="Disaster recovery for Open edX in high availability, as steps that are checked.",
        epilog=(
            "Without a command: the terminal app. Exit codes: 0 all well, 1 a step or check failed, "
            "2 wrong use or settings, 3 waits for a person, 4 outcome unknown, 130 interrupted."
        ),
        parents=[everywhere(state=None, site=None)],
    )
    parser.add_argument("--version", action="version", version=f"runbook {__version__}")
    parser.set_defaults(command=_tui, guide=None, mode=None)
    words = parser.add_subparsers(title="commands", metavar="COMMAND")

    tui = word(words, "tui")
    tui.add_argument("guide", nargs="?", metavar="GUIDE", help="a guide's name or file")
    tui.add_argument("--mode", choices=MODES, help="start the guide at once")
    tui.set_defaults(command=_tui)

    guide = word(words, "guide").add_subparsers(required=True, metavar="list|show|check")
    word(guide, "guide list").set_defaults(command=_guide_list)
    show = word(guide, "guide show")
    show.add_argument("guide", metavar="GUIDE", help="a guide's name or file")
    show.set_defaults(command=_guide_show)
    check = word(guide, "guide check")
    check.add_argument("files", nargs="+", metavar="FILE", help="guides' files or names")
    check.set_defaults(command=_guide_check)

    site = word(words, "site").add_subparsers(required=True, metavar="init|check|show")
    init = word(site, "site init")
    init.add_argument("-o", "--out", default="runbook.toml", metavar="FILE", help="default: runbook.toml")
    init.add_argument("--tofu-json", metavar="FILE", help="file with the output of `tofu output -json`")
    init.add_argument("--env-file", metavar="FILE", help="the platform's .env")
    init.add_argument("--checkout", metavar="DIR", help="folder of the platform's checkout")
    init.set_defaults(command=_site_init)
    word(site, "site check").set_defaults(command=_site_check)
    word(site, "site show").set_defaults(command=_site_show)

    run = word(words, "run")
    run.add_argument("guide", metavar="GUIDE", help="a guide's name or file")
    run.add_argument("--mode", choices=MODES, help="required: the lab, temporary machines, the real thing")
    run.add_argument("--yes", action="store_true", help="confirm what may be confirmed unattended")
    run.add_argument("--name", default="", help="name of the run (default: made of time, mode and guide)")
    run.add_argument("--backup", default="", metavar="ID", help="the backup to use (default: the newest)")
    run.add_argument("--output", action="store_true", help="also print what the hosts print")
    run.set_defaults(command=_run)

    runs = word(words, "runs")
    runs.add_argument("--json", action="store_true", help="for programs")
    runs.set_defaults(command=_runs)

    resume = word(words, "resume")
    resume.add_argument("run", nargs="?", default="latest", metavar="RUN", help="default: the newest")
    resume.add_argument("--yes", action="store_true", help="confirm what may be confirmed unattended")
    resume.add_argument("--output", action="store_true", help="also print what the hosts print")
    resume.set_defaults(command=_resume)

    checks = word(words, "check")
    checks.add_argument("names", nargs="*", metavar="NAME", help="`list` names them; default: all")
    checks.add_argument("--json", action="store_true", help="for programs")
    checks.add_argument(
        "--run", default="", metavar="RUN", help="take saved values from this run (practice: the lab)"
    )
    checks.set_defaults(command=_check)

    report = word(words, "report")
    report.add_argument("words", nargs="*", metavar="[verify] RUN", help="default: the newest run")
    report.add_argument("--format", choices=["md", "json"], default="md", help="default: md")
    report.add_argument("-o", "--out", metavar="FILE", help="write it there instead of to stdout")
    report.set_defaults(command=_report)

    # these have parsers of their own, made when they are used
    for name, about, command in (
        ("backup", "backups: list, verify, fetch, retention", _backup),
        ("couchdb", "the CouchDB tools by themselves", _couchdb),
        ("kit", "what a recovery needs without a network", _kit),
        ("lab", "the practice lab by hand", _lab),
    ):
        own = words.add_parser(name, help=about, add_help=False, allow_abbrev=False, parents=[everywhere()])
        own.set_defaults(command=command)
    return parser


# ── guides and settings ────────────────────────────────────────────────────────────────────
def _guide_list(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    found = _workbench(args).guides()
    print(
        tabulate([(g.name, g.title, ", ".join(g.modes)) for g in found], headers=("name", "title", "modes"))
    )
    return EXIT_OK


def _guide_show(args: argparse.Namespace) -> int:
    from runbook.guide import model as guide

    print(guide.load(args.guide).text)
    return EXIT_OK


def _guide_check(args: argparse.Namespace) -> int:
    from runbook import catalog
    from runbook.errors import GuideError
    from runbook.guide import check as guidecheck
    from runbook.guide import model as guide

    problems: list[tuple[str, int, str]] = []
    for file in args.files:
        found = guidecheck.check_file(guide.find(file), catalog)
        problems += found
        if not found:
            print(f"{file}: all well")
    if problems:
        raise GuideError(problems)
    return EXIT_OK


def _site_init(args: argparse.Namespace) -> int:
    from runbook.site import init as siteinit

    hints = siteinit.init(
        Path(args.out),
        tofu_json=Path(args.tofu_json) if args.tofu_json else None,
        env_file=Path(args.env_file) if args.env_file else None,
        checkout=Path(args.checkout) if args.checkout else None,
    )
    print(args.out)
    for hint in hints:
        print(f"look at: {hint}", file=sys.stderr)
    print("Then: runbook site check", file=sys.stderr)
    return EXIT_OK


def _site_check(args: argparse.Namespace) -> int:
    from runbook.site import init as siteinit

    found = _workbench(args).settings()
    if left := siteinit.still_open(found):
        raise UseError(
            f"{found.name}: the settings can be read, but are not complete: {'; '.join(left)}.",
            next="Set them in the file; `runbook site check` looks again.",
        )
    print(f"{found.name}: the settings are well-formed")
    if not found.contacts:
        print("Nobody is named under [[contacts]]: the app has no one to show on e.", file=sys.stderr)
    print("Next, whether what they name is there: runbook check site.ready", file=sys.stderr)
    return EXIT_OK


def _site_show(args: argparse.Namespace) -> int:
    import msgspec

    from runbook.site import model as site

    shown = msgspec.json.format(msgspec.json.encode(site.masked(_workbench(args).settings())))
    print(shown.decode())
    return EXIT_OK


# ── runs ───────────────────────────────────────────────────────────────────────────────────
def _run(args: argparse.Namespace) -> int:
    from runbook.guide import model as guide
    from runbook.running.driving import drive, narrate

    bench = _workbench(args)
    if not args.mode:
        guide.load(args.guide)  # a name that is mistyped is told first
        raise UseError(
            "A run needs its mode: --mode practice (the lab), drill (temporary machines) or recovery.",
            next=f"runbook run {args.guide} --mode practice",
        )
    return drive(
        bench,
        lambda: bench.start(args.guide, args.mode, args.name, narrate),
        yes=args.yes,
        output=args.output,
    )


def _resume(args: argparse.Namespace) -> int:
    from runbook.running.driving import drive, narrate

    bench = _workbench(args)
    run = bench.folder(args.run).name
    return drive(bench, lambda: bench.resume(run, narrate), yes=args.yes, output=args.output)


def _runs(args: argparse.Namespace) -> int:
    import msgspec
    from tabulate import tabulate

    found = _workbench(args).runs()
    if args.json:
        print(msgspec.json.encode(found).decode())
        return EXIT_OK
    if not found:
        _say("there are no runs yet.")
        return EXIT_OK
    rows = [(run.id, run.started[:16].replace("T", " "), _status(run)) for run in found]
    print(tabulate(rows, headers=("run", "started (UTC)", "status"), maxcolwidths=[None, None, 40]))
    return EXIT_OK


def _status(run: RunSummary) -> str:
    where = f" at {run.step}" if run.unfinished and run.step else ""
    return f"{run.status}{where}: {run.problem}" if run.problem else f"{run.status}{where}"


def _report(args: argparse.Namespace) -> int:
    from runbook.record import journal
    from runbook.text import printable

    bench = _workbench(args)
    if args.words[:1] == ["verify"]:
        from runbook.report import verify

        if len(args.words) > 2:
            raise UseError("One run at a time.", next="runbook report verify RUN")
        result = verify.verify(bench.folder(args.words[1] if len(args.words) > 1 else ""))
        for problem in result.problems:
            print(f"✗ {printable(problem)}")
        for remark in result.remarks:
            print(f"· {printable(remark)}", file=sys.stderr)
        if result.ok:
            print(f"✓ {result.records} records, {result.files} files: unchanged. Head {result.head}")
        return EXIT_OK if result.ok else EXIT_FAILED
    if len(args.words) > 1:
        raise UseError("One run at a time.", next="runbook report RUN, or runbook report verify RUN")
    text = bench.report(args.words[0] if args.words else "", args.format)
    if args.out:
        Path(args.out).write_text(text, encoding="utf-8")
        print(args.out)
    else:
        print(text)
    proof = journal.verify(bench.folder(args.words[0] if args.words else ""))
    if not proof.ok:
        _say("the journal is damaged: this report is no evidence.", "`runbook report verify` says where.")
    return EXIT_OK if proof.ok else EXIT_FAILED


# ── checks by themselves ───────────────────────────────────────────────────────────────────
def _check(args: argparse.Namespace) -> int:
    from runbook import catalog
    from runbook.checking import run_checks

    if args.names == ["list"]:
        from tabulate import tabulate

        rows = [(name, catalog.check(name).title, catalog.check(name).on) for name in catalog.check_names()]
        print(tabulate(rows, headers=("check", "question", "asked of")))
        return EXIT_OK
    return run_checks(_workbench(args), args.names, run=args.run, as_json=args.json)


# ── the app, the lab ───────────────────────────────────────────────────────────────────────
def _tui(args: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UseError(
            "The app needs a terminal, and this is none.",
            next="Plain lines need none: runbook run GUIDE --mode MODE; `runbook --help` names the rest.",
        )
    from tui.app import run

    return run(lambda: _workbench(args), args.guide, args.mode)  # made after the first paint


def _lab(args: argparse.Namespace) -> int:
    from runbook.lab.cli import main as lab_main

    return lab_main(args.rest, _state(args))


def _backup(args: argparse.Namespace) -> int:
    from runbook.backup.cli import main as backup_main

    return backup_main(args.rest, _workbench(args))


def _couchdb(args: argparse.Namespace) -> int:
    from runbook.couch.cli import main as couchdb_main

    return couchdb_main(args.rest, _workbench(args))


def _kit(args: argparse.Namespace) -> int:
    from runbook.kit.cli import main as kit_main

    return kit_main(args.rest, _workbench(args))


# ── shared ─────────────────────────────────────────────────────────────────────────────────
def _state(args: argparse.Namespace) -> Path:
    from runbook.site import model as site

    return site.state_folder(os.environ, args.state)


def _workbench(args: argparse.Namespace) -> Workbench:
    from runbook.workbench import Workbench

    return Workbench(_state(args), args.site, backup=getattr(args, "backup", ""))


if __name__ == "__main__":
    sys.exit(main())
