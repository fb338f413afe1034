"""The stand-in's command line: ``python -m runbook.lab.tofustandin [-chdir=DIR] VERB …``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from runbook.lab.tofustandin import PLAIN, VERSION
from runbook.lab.tofustandin.apply import apply
from runbook.lab.tofustandin.events import Events, Failed
from runbook.lab.tofustandin.plan import plan, shown, variables
from runbook.lab.tofustandin.state import LOCK, Json, address, instances, locked, order, read

_VALUED = ("-var", "-var-file", "-out")
Options = dict[str, list[str]]


def parse(argv: list[str]) -> tuple[str, Options, list[str]]:
    """Verb, options (with one dash), the rest."""
    words = iter(argv)
    verb = next(words, "help")
    options: Options = {}
    rest = []
    for word in words:
        if word.startswith("-"):
            name, sign, value = ("-" + word.lstrip("-")).partition("=")
            options.setdefault(name, []).append(value if sign else next(words, "") if name in _VALUED else "")
        else:
            rest.append(word)
    return verb, options, rest


def main(argv: list[str]) -> int:
    while argv and argv[0].startswith("-chdir="):
        os.chdir(argv.pop(0).removeprefix("-chdir="))
    verb, options, rest = parse(argv)
    events = Events("-json" in options)
    try:
        return run(events, verb, options, rest)
    except Failed as failed:
        events.diagnostic(failed)
        return 1


def run(events: Events, verb: str, options: Options, rest: list[str]) -> int:
    if verb in ("version", "-version", "--version"):
        print_version(events)
    elif verb == "init":
        Path(".terraform").mkdir(exist_ok=True)
        events.version()
        events.emit("init_output", f"OpenTofu has been successfully initialized! {PLAIN}")
    elif verb == "workspace":
        return workspace(rest)
    elif verb == "output":
        return print_outputs(rest)
    elif verb == "state" and rest[:1] == ["list"]:
        for key in sorted(instances(read()), key=order):
            print(address(key))
    elif verb == "force-unlock":
        LOCK.unlink(missing_ok=True)
        print("OpenTofu state has been successfully unlocked!")
    elif verb in ("plan", "apply", "show", "validate"):
        if not Path(".terraform").exists():
            raise Failed("This folder is not initialized", "Run init first.")
        return work(events, verb, options, rest)
    else:
        raise Failed(f"The practice stand-in does not know {verb!r}", PLAIN)
    return 0


def work(events: Events, verb: str, options: Options, rest: list[str]) -> int:
    timeout = options.get("-lock-timeout", ["0"])[-1]
    if verb == "show":
        empty: Json = {"format_version": "1.0", "terraform_version": VERSION}
        print(json.dumps(shown(json.loads(Path(rest[0]).read_text())) if rest else empty))
    elif verb == "validate":
        print(json.dumps({"format_version": "1.0", "valid": True, "error_count": 0, "diagnostics": []}))
    elif verb == "plan":
        events.version()
        with locked("OperationTypePlan", timeout):
            values = variables(options.get("-var-file", []), options.get("-var", []))
            changed = plan(events, values, options.get("-out", [""])[-1])
        return 2 if changed and "-detailed-exitcode" in options else 0
    else:
        if not rest:
            raise Failed(
                "The practice stand-in applies saved plans only", "Give the file that plan -out wrote."
            )
        events.version()
        with locked("OperationTypeApply", timeout):
            return 0 if apply(events, Path(rest[0])) else 1
    return 0


def print_version(events: Events) -> None:
    if events.as_json:
        print(json.dumps({"terraform_version": VERSION, "platform": "practice_standin", "stand_in": True}))
    else:
        print(f"OpenTofu v{VERSION} (practice stand-in)\non {sys.platform}\n{PLAIN}")


def workspace(rest: list[str]) -> int:
    if rest[:1] in ([], ["show"]):
        print("default")
    elif rest[:1] == ["list"]:
        print("* default")
    elif rest[-1] != "default":
        raise Failed(f'Workspace "{rest[-1]}" doesn\'t exist', "The stand-in has the workspace default only.")
    return 0


def print_outputs(rest: list[str]) -> int:
    found = {name: {"sensitive": False, **value} for name, value in read()["outputs"].items()}
    if rest and rest[0] not in found:
        raise Failed("Output not found", f'There is no output "{rest[0]}".')
    print(json.dumps(found[rest[0]]["value"] if rest else found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
