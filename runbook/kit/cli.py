"""``runbook kit DIR`` and ``runbook kit verify DIR``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec
from tabulate import tabulate

from runbook.errors import EXIT_FAILED, EXIT_OK, UseError
from runbook.kit import build, infrastructure, trial
from runbook.kit.build import Kit
from runbook.kit.trial import Trial
from runbook.site import model as sites
from runbook.site.model import Site
from runbook.text import printable
from runbook.workbench import Workbench


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runbook kit",
        usage="runbook kit [--no-state] [--json] DIR\n       runbook kit verify [--json] DIR",
        description="Gathers what a recovery needs when the network is gone or the laptop is borrowed: "
        "the program with its wheels, OpenTofu and its providers, infrastructure files and state, settings "
        "without secrets, contacts, guides; with sums, a script that installs it without a network, and a "
        "list of what is missing. Run it again to make the kit anew; the one that is there stays until then. "
        "`verify` compares the sums and tries an installation without a network, in a temporary folder.",
        epilog="Exit codes: 0 all well, 1 something is missing, has changed or does not install, 2 wrong use "
        "or settings, 130 interrupted. Example: runbook kit /media/stick/kit",
    )
    parser.add_argument("words", nargs="+", metavar="[verify] DIR", help="the kit's folder")
    parser.add_argument(
        "--no-state", action="store_true", help="leave OpenTofu's state out: it holds secrets"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def main(argv: list[str], bench: Workbench) -> int:
    """Returns the exit code. Raises RunbookError for the caller to show."""
    args = parser().parse_intermixed_args(argv)
    verify = args.words[0] == "verify"
    folders = args.words[verify:]
    if len(folders) != 1:
        raise UseError("One folder at a time.", next="runbook kit DIR, or runbook kit verify DIR")
    if verify:
        tried = trial.verify(Path(folders[0]))
        print(_json(tried) if args.json else _tried(tried))
        return EXIT_OK if tried.ok else EXIT_FAILED
    site, path = _settings(bench)
    kit = build.build(
        Path(folders[0]),
        site,
        path,
        state=not args.no_state,
        clock=bench.clock,
        say=lambda about: print(f"… {about}", file=sys.stderr),
    )
    print(_json(kit) if args.json else _made(kit))
    return EXIT_OK if kit.complete else EXIT_FAILED


def _settings(bench: Workbench) -> tuple[Site | None, Path | None]:
    """With the file they are in; without settings a kit is made all the same."""
    try:
        path = sites.find(bench.site_path, os.environ, Path.cwd())
    except UseError:
        if bench.site_path or os.environ.get("RUNBOOK_SITE"):
            raise
        return None, None
    return sites.load(path, state=bench.state), path


def _json(found: Kit | Trial) -> str:
    return msgspec.json.format(msgspec.json.encode(found)).decode()


# ── for a terminal of 80 columns ───────────────────────────────────────────────────────────
def _made(kit: Kit) -> str:
    rows = [(part.name, _glyph(part.lacks), printable(part.words)) for part in kit.parts]
    table = tabulate(rows, headers=("part", "", "in the kit"), maxcolwidths=[None, None, 56])
    missing = (Path(kit.folder) / build.MISSING).read_text(encoding="utf-8")
    lines = [table, "", missing, f"Made: {printable(kit.folder)}"]
    lines += ["SHA-256 of its SHA256SUMS, to be noted elsewhere:", kit.sha256]
    if (Path(kit.folder) / infrastructure.STATE).is_dir():
        lines.append("It holds OpenTofu's state, which HOLDS SECRETS: keep it encrypted, locked away.")
    lines.append(f"Try it: runbook kit verify {printable(kit.folder)}")
    return "\n".join(lines)


def _glyph(lacks: object) -> str:
    return "✗" if lacks else "✓"


def _tried(found: Trial) -> str:
    lines = [f"✗ {problem}" for problem in found.problems]
    if found.problems:
        lines.append("Nothing of it was run. Make the kit anew: runbook kit DIR")
        return "\n".join(lines)
    lines.append("✓ every file is as it was when the kit was made (SHA-256)")
    if found.failed:
        lines.append(f"✗ installing from it failed: {found.failed}")
    else:
        lines += [f"✓ {found.version} was installed from it and runs,", f"  {found.how}"]
    return "\n".join(lines)
