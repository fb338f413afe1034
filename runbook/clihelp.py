"""What ``runbook COMMAND --help`` says: what it does, what it prints where, exit codes, an example.

Also the options that are taken before the command's word and after it alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

MODES = ("practice", "drill", "recovery")


class About(NamedTuple):
    """``help`` is its line in the list of commands; ``example`` a line that can be copied."""

    help: str
    text: str
    example: str


ABOUT = {
    "tui": About(
        "the terminal app",
        """\
Opens the app: choose a guide, go on with a run, read a report. With GUIDE and
--mode that guide is started at once. It needs a terminal; leaving it is safe,
jobs on the machines go on.""",
        "runbook tui full-system-restore --mode practice",
    ),
    "guide": About(
        "list, show or check guides",
        "Guides are Markdown files whose steps are checked actions. Nothing is run.",
        "runbook guide check my-guide.md",
    ),
    "guide list": About(
        "the guides that come with the program",
        "Prints a table: name, title and the modes each may be run in.",
        "runbook guide list",
    ),
    "guide show": About(
        "print a guide as Markdown",
        "Prints the guide with its includes filled in, as a run would record it.",
        "runbook guide show full-system-restore",
    ),
    "guide check": About(
        "say what is wrong in guides",
        """\
Looks at actions, checks, their arguments, places and references without running
anything. Problems go to stderr as FILE:LINE: TEXT, all of them. Exit code 2
when there is one.""",
        "runbook guide check my-guide.md runbook/guides/*.md",
    ),
    "site": About(
        "make, check or show the settings",
        "The settings of one installation, runbook.toml; secrets only by reference.",
        "runbook site check",
    ),
    "site init": About(
        "write a first runbook.toml",
        """\
Writes a settings file from what you have and never over one that is there.
Prints its path; what to look at in it goes to stderr.""",
        "runbook site init --tofu-json outputs.json --env-file openedx-ha/docker/.env",
    ),
    "site check": About(
        "is runbook.toml well-formed?",
        """\
Reads the settings; no machine is asked. Every wrong key goes to stderr with the
form it should have. Exit code 2 when there is one.""",
        "runbook site check --site drill.toml",
    ),
    "site show": About(
        "the settings as they are understood",
        "Prints them as JSON, defaults filled in; secrets only as where they live.",
        "runbook site show --site drill.toml",
    ),
    "run": About(
        "run a guide with plain lines instead of the app",
        """\
Runs a guide from its first step. Every plan and question is asked on the
terminal; lines go to stderr, the report's paths to stdout at the end. With --yes
what may be confirmed unattended is; what may not ends it with 3.
Exit codes: 0 passed, 1 failed or with deviations, 3 waits for a person (then
`runbook resume`), 4 outcome unknown, 130 interrupted.""",
        "runbook run full-system-restore --mode practice --yes",
    ),
    "runs": About(
        "the runs there are",
        """\
Prints a table, newest first: id, start, status, and the step of one that is not
over. --json has the guide, the mode and more.""",
        "runbook runs --json",
    ),
    "resume": About(
        "go on with a run",
        """\
Goes on where a run was left, killed or stopped: jobs still running are followed,
earlier steps are looked at again. Lines, report and exit codes are those of
`runbook run`.""",
        "runbook resume latest --yes",
    ),
    "check": About(
        "run checks by themselves, read-only",
        """\
Asks the world, changes nothing. Prints a table (--json: an array). Arguments go
as in a guide. Exit code 0 when all pass or warn, 1 when one fails or could not
look.""",
        "runbook check site.ready \"hosts.disk_free(min='2GB')\" --run latest",
    ),
    "report": About(
        "the drill report of a run; `report verify RUN` proves it",
        """\
Prints the report of a run (default: the newest), or writes it to a file.
`report verify RUN` compares journal and output files with their hashes and
names every change. Exit code 1 when the journal or a file was changed.""",
        "runbook report drill-2026q4 -o drill-2026q4.md",
    ),
}


def everywhere(**default: Any) -> argparse.ArgumentParser:
    """--state and --site: a parent of every parser, so that they may stand before the word and after
    it. Only what is given is set; the later one counts."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("for every command")
    group.add_argument("--state", type=Path, metavar="DIR", help="folder of the runs (RUNBOOK_STATE)")
    group.add_argument(
        "--site", type=Path, metavar="FILE", help="settings file (RUNBOOK_SITE, ./runbook.toml)"
    )
    parser.set_defaults(**default)
    return parser


def word(words: Any, name: str) -> argparse.ArgumentParser:
    """The parser of a command; ``name`` is all its words: ``guide check``."""
    about = ABOUT[name]
    parser: argparse.ArgumentParser = words.add_parser(
        name.rpartition(" ")[2],
        help=about.help,
        description=about.text,
        epilog=f"Example: {about.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[everywhere()],
    )
    return parser
