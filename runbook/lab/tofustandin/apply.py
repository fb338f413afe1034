"""Carries out a saved plan: the module's provisioner asks the lab for each VM."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from runbook.lab.tofustandin.events import Events, Failed
from runbook.lab.tofustandin.plan import TRIGGER, resource
from runbook.lab.tofustandin.state import Json, Key, address, instance, instances, read, write

STALE = (
    "The given plan file can no longer be applied because the state was changed by another operation "
    "after the plan was created."
)


def apply(events: Events, plan: Path) -> bool:
    """False when something failed; what was done before stays done, the failed server is tainted."""
    saved = json.loads(plan.read_text())
    state = read()
    if (saved["serial"], saved["lineage"]) != (state["serial"], state["lineage"]):
        raise Failed("Saved plan is stale", STALE)
    held = instances(state)
    counted = {"add": 0, "change": 0, "remove": 0}
    failures = []
    for change in saved["changes"]:
        key = change["key"][0], change["key"][1]
        try:
            _carry_out(events, key, change, saved["values"], held, counted)
        except Failed as failed:
            hook = {"resource": resource(key), "action": change["actions"][-1]}
            events.emit("apply_errored", f"{address(key)}: {failed.summary}", "error", hook=hook)
            failures.append(failed)
        if change["actions"] != ["no-op"]:
            write(state, held)
    for failure in failures:
        events.diagnostic(failure)
    if failures:
        return False
    text = f"{counted['add']} added, {counted['change']} changed, {counted['remove']} destroyed."
    events.summary(f"Apply complete! Resources: {text}", "apply", counted)
    shown = {name: {"sensitive": False, **value} for name, value in state["outputs"].items()}
    events.emit("outputs", f"Outputs: {len(shown)}", outputs=shown)
    return True


def _carry_out(
    events: Events, key: Key, change: Json, values: Json, held: dict[Key, Json], counted: dict[str, int]
) -> None:
    actions = change["actions"]
    if "delete" in actions:
        _server(events, key, "delete", change["before"]["name"])
        held.pop(key)
        counted["remove"] += 1
    if "create" in actions or "update" in actions:
        made = held[key] = instance(key, change["after"], [values[TRIGGER[key[0]]]])
        if "create" in actions:
            made["status"] = "tainted"
            _server(events, key, "create", change["after"]["name"])
            del made["status"]
        counted["add" if "create" in actions else "change"] += 1


def _server(events: Events, key: Key, action: str, name: str) -> None:
    hook = {"resource": resource(key), "action": action}
    doing, done = ("Creating", "Creation") if action == "create" else ("Destroying", "Destruction")
    events.emit("apply_start", f"{address(key)}: {doing}...", hook=hook)
    began = time.monotonic()
    ran = subprocess.run(["./server", action, name], capture_output=True, text=True, check=False)
    for line in (ran.stdout + ran.stderr).splitlines():
        about = {**hook, "provisioner": "local-exec", "output": line}
        events.emit("provision_progress", f"{address(key)}: (local-exec): {line}", hook=about)
    if ran.returncode:
        command = f"'./server {action} {name}'"
        detail = f"Error running command {command}: exit status {ran.returncode}. Output: {ran.stderr}"
        raise Failed("local-exec provisioner error", detail)
    seconds = round(time.monotonic() - began)
    text = f"{address(key)}: {done} complete after {seconds}s"
    events.emit("apply_complete", text, hook={**hook, "elapsed_seconds": seconds})
