"""``runbook lab up | down | status | break | mend | dns``: the practice lab by hand."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from runbook.errors import EXIT_OK, EXIT_USE
from runbook.lab import control
from runbook.record.runs import runs

#: verb -> its line in the list, what it does and prints, an example
_VERBS = {
    "up": (
        "start the lab, unless it runs",
        "Starts four machines on this PC, in a folder of their own; prints where the lab's settings are.\n"
        "A lab that runs is left as it is, with all its faults.",
        "runbook lab up --fresh",
    ),
    "down": (
        "end the lab and remove all of it",
        "Ends the lab and removes its folder; runs and reports stay. Exit code 2 while a run is open on it.",
        "runbook lab down",
    ),
    "status": (
        "what runs in it",
        "Prints each machine's address, power and services, the DNS, and what is broken.",
        "runbook lab --json status",
    ),
    "break": (
        "break something on purpose",
        "Breaks one thing, until it is mended. --list prints what can be broken and what is.\n"
        "Exit code 2 for a fault or machine that there is not; then nothing was changed.",
        "runbook lab break vm-down vm2",
    ),
    "mend": (
        "mend what was broken (everything, unless named)",
        "Mends one fault, on one machine or on all, and prints what was mended.\n"
        "Exit code 2 for a fault or machine that there is not; then nothing was changed.",
        "runbook lab mend vm-down vm2",
    ),
    "dns": (
        "the practice domain's DNS",
        "Prints the addresses that the domain answers; `point` sets them to the three production VMs first.",
        "runbook lab dns point",
    ),
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="runbook lab",
        description="The practice lab by hand: machines to break and to restore, on this PC alone.",
        epilog="`runbook lab VERB --help` says more. Each --state folder (RUNBOOK_STATE) has one lab.",
    )
    top.add_argument("--json", action="store_true", help="for programs")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="|".join(_VERBS))
    up, down, _, breaking, mending, dns = (_verb(verbs, name) for name in _VERBS)
    up.add_argument("--fresh", action="store_true", help="end a running lab first, with all it holds")
    up.add_argument("--tofu", default="", help='"stand-in": leave a real tofu or terraform alone')
    down.add_argument("--force", action="store_true", help="also while a run is open on it")
    breaking.add_argument("--list", action="store_true", help="what can be broken")
    for each in (breaking, mending):
        each.add_argument("fault", nargs="?", default="", metavar="FAULT", help="`break --list` names them")
        each.add_argument("machine", nargs="?", default="", metavar="VM", help="for faults of one machine")
    dns.add_argument("what", choices=("point", "status"), help="point: at the three production VMs")
    return top


def _verb(verbs: Any, name: str) -> argparse.ArgumentParser:
    line, text, example = _VERBS[name]
    made: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=line,
        description=text,
        epilog=f"Example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="for programs")
    return made


def main(argv: list[str], state: Path) -> int:
    """Returns the exit code. Raises RunbookError (LabError) for the caller to show."""
    options = parser().parse_args(argv)
    return asyncio.run(_run(options, state))


async def _run(options: argparse.Namespace, state: Path) -> int:
    if options.verb == "up":
        info = await control.up(state, fresh=options.fresh, tofu=options.tofu)
        facts = {"id": info.id, "pid": info.pid, "site": str(control.site_file(state)), "tofu": info.tofu}
        _print(options, facts, f"The practice lab {info.id} runs. Its site: {facts['site']}")
    elif options.verb == "down":
        busy = [run.id for run in runs(state) if run.mode == "practice" and run.status == "running"]
        if busy and not options.force:
            raise control.LabError(
                f"Run {busy[0]} is open on the practice lab.",
                next="End it first, or: runbook lab down --force",
            )
        ended = await control.down(state)
        _print(
            options, {"ended": ended}, "The practice lab is gone." if ended else "There was no practice lab."
        )
    elif options.verb == "status":
        facts = await control.call(state, "status")
        _print(options, facts, _status(facts))
    elif options.verb == "break":
        if options.list or not options.fault:
            faults = await control.call(state, "faults") if await control.status(state) else _known()
            _print(options, faults, "\n".join(_fault(fault) for fault in faults))
            return EXIT_OK if options.list else EXIT_USE
        if options.fault not in {fault["name"] for fault in _known()}:
            raise control.LabError(
                f"There is no fault {options.fault}.", next="`runbook lab break --list` names them."
            )
        text = await control.call(state, "break", fault=options.fault, machine=options.machine)
        _print(options, {"broken": options.fault}, f"Broken: {text}.")
    elif options.verb == "mend":
        mended = await control.call(state, "mend", fault=options.fault, machine=options.machine)
        left = (await control.call(state, "status"))["faults"]
        _print(
            options, {"mended": mended}, _mended(mended, left, f"{options.fault} {options.machine}".strip())
        )
    else:
        if options.what == "point":
            addresses = await control.call(state, "dns_point")
        else:
            addresses = (await control.call(state, "status"))["dns"]
        _print(options, {"addresses": addresses}, f"The domain answers {', '.join(addresses)}.")
    return EXIT_OK


def _mended(mended: list[str], left: list[str], wanted: str) -> str:
    """``left``: what is still broken; ``wanted``: what was to be mended, empty for everything."""
    if mended:
        return f"Mended: {', '.join(mended)}."
    return f"{wanted} was not broken; broken: {', '.join(left)}." if left else "Nothing was broken."


def _known() -> list[dict[str, Any]]:
    from runbook.lab.faults import FAULTS

    return [{"name": f.name, "text": f.text, "machine": f.machine, "active": []} for f in FAULTS.values()]


def _fault(fault: dict[str, Any]) -> str:
    name = fault["name"] + (" VM" if fault["machine"] else "")
    active = f"  [active {' '.join(fault['active'])}]".replace(" ]", "]") if fault["active"] else ""
    return f"{name:<24}{fault['text']}{active}"


def _status(facts: dict[str, Any]) -> str:
    lines = [f"Practice lab {facts['id']}. The domain answers {', '.join(facts['dns'])}."]
    for name, machine in facts["machines"].items():
        state = "running" if machine["running"] else "no power" if machine["exists"] else "does not exist"
        services = ", ".join(f"{key} {value}" for key, value in machine["containers"].items())
        lines.append(f"{name:<8}{machine['address']:<15}{state:<16}{services}".rstrip())
    lines += [f"broken: {fault}" for fault in facts["faults"]]
    return "\n".join(lines)


def _print(options: argparse.Namespace, facts: Any, text: str) -> None:
    print(json.dumps(facts, ensure_ascii=False) if options.json else text, file=sys.stdout)
