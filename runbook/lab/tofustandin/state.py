"""The state file and its lock, in OpenTofu's own formats."""

from __future__ import annotations

import getpass
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runbook.lab.tofustandin import VERSION
from runbook.lab.tofustandin.events import Failed

STATE, LOCK = Path("terraform.tfstate"), Path(".terraform.tfstate.lock.info")
PROVIDER = 'provider["terraform.io/builtin/terraform"]'

#: a resource of the module: its name, and its index when it is counted
Key = tuple[str, int | None]
Json = dict[str, Any]


def address(key: Key) -> str:
    return f"terraform_data.{key[0]}" + ("" if key[1] is None else f"[{key[1]}]")


def order(key: Key) -> tuple[str, int]:
    return key[0], key[1] or 0


def read() -> Json:
    try:
        found: Json = json.loads(STATE.read_text())
        return found
    except FileNotFoundError:
        return {
            "version": 4,
            "terraform_version": VERSION,
            "serial": 0,
            "lineage": str(uuid.uuid4()),
            "outputs": {},
            "resources": [],
            "check_results": None,
        }


def instances(state: Json) -> dict[Key, Json]:
    return {
        (entry["name"], one.get("index_key")): one
        for entry in state["resources"]
        for one in entry["instances"]
    }


def typed(value: Json | list[str]) -> Json:
    """A dynamic value with its type beside it."""
    if isinstance(value, dict):
        return {"value": value, "type": ["object", dict.fromkeys(value, "string")]}
    return {"value": value, "type": ["tuple", ["string"] * len(value)]}


def instance(key: Key, given: Json, trigger: list[str]) -> Json:
    attributes = {
        "id": str(uuid.uuid4()),
        "input": typed(given),
        "output": typed(given),
        "triggers_replace": typed(trigger),
    }
    index = {} if key[1] is None else {"index_key": key[1]}
    return {**index, "schema_version": 0, "attributes": attributes, "sensitive_attributes": []}


def outputs(held: dict[Key, Json]) -> Json:
    def output(key: Key) -> str:
        return str(held[key]["attributes"]["output"]["value"]["address"])

    found: Json = {
        "production_ips": typed([output(key) for key in sorted(held, key=order) if key[0] == "production"])
    }
    if ("backup", None) in held:
        found["backup_ip"] = {"value": output(("backup", None)), "type": "string"}
    return found


def write(state: Json, held: dict[Key, Json]) -> None:
    """Atomically, the former state kept beside it."""
    state["serial"] += 1
    state["resources"] = []
    for name in ("backup", "production"):
        own = [held[key] for key in sorted(held, key=order) if key[0] == name]
        entry = {
            "mode": "managed",
            "type": "terraform_data",
            "name": name,
            "provider": PROVIDER,
            "instances": own,
        }
        if own:
            state["resources"].append(entry)
    state["outputs"] = outputs(held)
    new = STATE.with_suffix(".new")
    new.touch(0o600)
    new.write_text(json.dumps(state, indent=2) + "\n")
    if STATE.exists():
        STATE.replace("terraform.tfstate.backup")
    new.replace(STATE)


@contextmanager
def locked(operation: str, timeout: str) -> Iterator[None]:
    """Hold the state's lock; waits ``timeout`` ("60s") for another holder. Raises Failed."""
    until = time.monotonic() + int(re.sub(r"\D", "", timeout) or 0)
    info = {
        "ID": str(uuid.uuid4()),
        "Operation": operation,
        "Info": "",
        "Who": f"{getpass.getuser()}@{os.uname().nodename}",
        "Version": VERSION,
        "Created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "Path": str(STATE),
    }
    while True:
        try:
            with LOCK.open("x") as lock:
                json.dump(info, lock)
            break
        except FileExistsError:
            if time.monotonic() >= until:
                raise _held() from None
            time.sleep(0.1)
    try:
        yield
    finally:
        LOCK.unlink(missing_ok=True)


def _held() -> Failed:
    try:
        other = json.loads(LOCK.read_text())
    except (OSError, ValueError):
        other = {}
    names = ("ID", "Path", "Operation", "Who", "Version", "Created", "Info")
    lines = "\n".join(f"  {name + ':':<11}{other.get(name, '')}" for name in names)
    detail = f"Error message: resource temporarily unavailable\nLock Info:\n{lines}\n"
    return Failed("Error acquiring the state lock", detail)
