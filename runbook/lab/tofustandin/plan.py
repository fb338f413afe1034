"""Variables, what they ask for, and how that differs from the state."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook.lab.tofustandin import VERSION
from runbook.lab.tofustandin.events import Events, Failed
from runbook.lab.tofustandin.state import Json, Key, address, instances, order, read

DEFAULTS: Json = {
    "hcloud_token": None,
    "couchdb_password": None,
    "domain_name": None,
    "ssh_public_key_path": None,
    "production_vm_count": 3,
    "production_server_type": "cpx41",
    "backup_server_type": "cpx21",
    "server_image": "ubuntu-22.04",
    "locations": ["nbg1", "fsn1", "hel1"],
}
#: the variable whose change replaces a server
TRIGGER = {"production": "production_server_type", "backup": "backup_server_type"}
_LINE = re.compile(r'^\s*(\w+)\s*=\s*(".*"|\[.*\]|[\w.]+)\s*$', re.MULTILINE)
_WORDS = {
    "create": "create",
    "delete": "delete",
    "delete,create": "replace",
    "update": "update",
    "no-op": "noop",
}


def variables(files: list[str], given: list[str], environment: Mapping[str, str] = os.environ) -> Json:
    """Their values, later sources over earlier ones. Raises Failed where the module would refuse."""
    values = dict(DEFAULTS)
    values |= {name[7:]: value for name, value in environment.items() if name.startswith("TF_VAR_")}
    for file in ["terraform.tfvars", *files]:
        try:
            text = Path(file).read_text()
        except OSError:
            if file != "terraform.tfvars":
                detail = f"Given variables file {file} does not exist."
                raise Failed("Failed to read variables file", detail) from None
            continue
        values |= {name: json.loads(value) for name, value in _LINE.findall(text)}
    values |= dict(item.split("=", 1) for item in given)
    missing = sorted(name for name, value in values.items() if value is None)
    if missing:
        detail = f'The root module input variable "{missing[0]}" is not set, and has no default value.'
        raise Failed("No value for required variable", detail)
    if not values["hcloud_token"]:
        raise Failed("Invalid value for variable", "The cloud token is empty.")
    if not Path(values["ssh_public_key_path"]).expanduser().is_file():
        raise Failed("Invalid value for variable", "There is no public key at ssh_public_key_path.")
    values["production_vm_count"] = int(values["production_vm_count"])
    return values


def wanted(values: Json) -> dict[Key, Json]:
    """The servers that the module describes, as main.tf does."""
    found: dict[Key, Json] = {}
    for n in range(values["production_vm_count"]):
        found["production", n] = {
            "address": f"203.0.113.{11 + n}",
            "image": values["server_image"],
            "location": values["locations"][n % len(values["locations"])],
            "name": f"vm{n + 1}",
            "server_type": values["production_server_type"],
        }
    found["backup", None] = {
        "address": "203.0.113.100",
        "name": "backup",
        "server_type": values["backup_server_type"],
    }
    return found


def changes(values: Json, held: dict[Key, Json]) -> list[Json]:
    want = wanted(values)
    return [
        {
            "key": list(key),
            "actions": _actions(key, values, held.get(key), want.get(key)),
            "before": held[key]["attributes"]["input"]["value"] if key in held else None,
            "after": want.get(key),
        }
        for key in sorted({*want, *held}, key=order)
    ]


def _actions(key: Key, values: Json, before: Json | None, after: Json | None) -> list[str]:
    if before is None:
        return ["create"]
    if after is None:
        return ["delete"]
    attributes: Any = before["attributes"]
    trigger = (attributes.get("triggers_replace") or {}).get("value")
    if before.get("status") == "tainted" or trigger != [values[TRIGGER[key[0]]]]:
        return ["delete", "create"]
    return ["no-op"] if attributes["input"]["value"] == after else ["update"]


def resource(key: Key) -> Json:
    return {
        "addr": address(key),
        "module": "",
        "resource": address(key),
        "implied_provider": "terraform",
        "resource_type": "terraform_data",
        "resource_name": key[0],
        "resource_key": key[1],
    }


def plan(events: Events, values: Json, out: str) -> bool:
    """Print what would change, save it, and tell whether anything would."""
    state = read()
    found = changes(values, instances(state))
    for change in found:
        word, key = _WORDS[",".join(change["actions"])], (change["key"][0], change["key"][1])
        if word != "noop":
            about = {"resource": resource(key), "action": word}
            events.emit("planned_change", f"{address(key)}: Plan to {word}", change=about)
    counted = {
        "add": sum("create" in change["actions"] for change in found),
        "change": sum(change["actions"] == ["update"] for change in found),
        "remove": sum("delete" in change["actions"] for change in found),
    }
    text = f"Plan: {counted['add']} to add, {counted['change']} to change, {counted['remove']} to destroy."
    events.summary(text, "plan", counted)
    if out:
        saved = {"serial": state["serial"], "lineage": state["lineage"], "changes": found, "values": values}
        Path(out).touch(0o600)
        Path(out).write_text(json.dumps(saved))
    return any(change["actions"] != ["no-op"] for change in found)


def shown(saved: Json) -> Json:
    """A saved plan as ``show -json`` prints it."""
    listed = []
    for change in saved["changes"]:
        name, index = change["key"]
        about: Json = {
            "address": address((name, index)),
            "mode": "managed",
            "type": "terraform_data",
            "name": name,
        }
        if index is not None:
            about["index"] = index
        about["provider_name"] = "terraform.io/builtin/terraform"
        about["change"] = {
            "actions": change["actions"],
            "before": change["before"] and {"input": change["before"]},
            "after": change["after"] and {"input": change["after"]},
            "after_unknown": {"id": True, "output": True},
            "before_sensitive": False,
            "after_sensitive": {},
        }
        listed.append(about)
    return {
        "format_version": "1.2",
        "terraform_version": VERSION,
        "variables": {name: {"value": value} for name, value in saved["values"].items()},
        "resource_changes": listed,
        "applyable": any(change["actions"] != ["no-op"] for change in saved["changes"]),
        "complete": True,
        "errored": False,
    }
