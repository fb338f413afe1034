"""A stand-in for OpenTofu where there is none. It knows one module: the practice platform's.

The flow, the files and the events are those of the real program as far as recovery meets them;
`version` and the first event of every run say that this is not OpenTofu.
"""

import getpass
import json
import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

VERSION = "1.8.0"
PLAIN = "This is the practice lab's stand-in, not OpenTofu."
STATE, LOCK = Path("terraform.tfstate"), Path(".terraform.tfstate.lock.info")
PROVIDER = 'provider["terraform.io/builtin/terraform"]'
TRIGGER = {"production": "production_server_type", "backup": "backup_server_type"}


class Failed(Exception):
    def __init__(self, summary: str, detail: str = "") -> None:
        super().__init__(summary)
        self.summary, self.detail = summary, detail


class Events:
    """One line an event: JSON with -json, else its message."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def emit(self, kind: str, message: str, level: str = "info", **data: object) -> None:
        if self.as_json:
            now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 10**6:06}Z"
            event = {
                "@level": level,
                "@message": message,
                "@module": "tofu.ui",
                "@timestamp": now,
                **data,
                "type": kind,
            }
            print(json.dumps(event), flush=True)
        else:
            print(message, file=sys.stderr if level == "error" else sys.stdout, flush=True)

    def version(self) -> None:
        if self.as_json:
            self.emit("version", f"OpenTofu {VERSION} (practice stand-in). {PLAIN}", tofu=VERSION, ui="1.2")

    def diagnostic(self, failed: Failed) -> None:
        facts = {"severity": "error", "summary": failed.summary, "detail": failed.detail}
        self.emit("diagnostic", f"Error: {failed.summary}", "error", diagnostic=facts)
        if not self.as_json and failed.detail:
            print(failed.detail, file=sys.stderr)


def variables(options: dict[str, list[str]]) -> dict[str, object]:
    values: dict[str, object] = {
        "hcloud_token": None, "couchdb_password": None, "domain_name": None, "ssh_public_key_path": None,
        "production_vm_count": 3, "production_server_type": "cpx41", "backup_server_type": "cpx21",
        "server_image": "ubuntu-22.04", "locations": ["nbg1", "fsn1", "hel1"],
    }  # fmt: skip
    for name, value in os.environ.items():
        if name.startswith("TF_VAR_"):
            values[name[7:]] = value
    for file in ["terraform.tfvars", *options.get("-var-file", [])]:
        try:
            text = Path(file).read_text()
        except OSError:
            if file != "terraform.tfvars":
                raise Failed(
                    "Failed to read variables file", f"Given variables file {file} does not exist."
                ) from None
            continue
        for name, value in re.findall(r'^\s*(\w+)\s*=\s*(".*"|\[.*\]|[\w.]+)\s*$', text, re.M):
            values[name] = json.loads(value)
    for item in options.get("-var", []):
        name, _, text = item.partition("=")
        values[name] = text
    missing = sorted(name for name, value in values.items() if value is None)
    if missing:
        raise Failed(
            "No value for required variable", f'The root module input variable "{missing[0]}" is not set.'
        )
    if not values["hcloud_token"]:
        raise Failed("Invalid value for variable", "The cloud token is empty.")
    if not Path(str(values["ssh_public_key_path"])).expanduser().is_file():
        raise Failed("Invalid value for variable", "There is no public key at ssh_public_key_path.")
    values["production_vm_count"] = int(str(values["production_vm_count"]))
    return values


def wanted(values: dict) -> dict[tuple, dict]:
    """(name, index) -> input of each server."""
    found: dict[tuple, dict] = {}
    for n in range(values["production_vm_count"]):
        found["production", n] = {
            "address": f"203.0.113.{11 + n}", "image": values["server_image"],
            "location": values["locations"][n % len(values["locations"])], "name": f"vm{n + 1}",
            "server_type": values["production_server_type"],
        }  # fmt: skip
    found["backup", None] = {
        "address": "203.0.113.100",
        "name": "backup",
        "server_type": values["backup_server_type"],
    }
    return found


def address(key: tuple) -> str:
    return f"terraform_data.{key[0]}" + ("" if key[1] is None else f"[{key[1]}]")


def resource(key: tuple) -> dict:
    return {"addr": address(key), "module": "", "resource": address(key), "implied_provider": "terraform",
            "resource_type": "terraform_data", "resource_name": key[0], "resource_key": key[1]}  # fmt: skip


def read_state() -> dict:
    try:
        return json.loads(STATE.read_text())
    except FileNotFoundError:
        return {"version": 4, "terraform_version": VERSION, "serial": 0, "lineage": str(uuid.uuid4()), "outputs": {}, "resources": [], "check_results": None}  # fmt: skip


def instances(state: dict) -> dict[tuple, dict]:
    return {
        (entry["name"], one.get("index_key")): one
        for entry in state["resources"]
        for one in entry["instances"]
    }


def write_state(state: dict, held: dict[tuple, dict]) -> None:
    state["serial"] += 1
    state["resources"] = []
    for name in ("backup", "production"):
        own = sorted(
            ((key[1], one) for key, one in held.items() if key[0] == name), key=lambda pair: pair[0] or 0
        )
        if own:
            state["resources"].append({"mode": "managed", "type": "terraform_data", "name": name, "provider": PROVIDER,
                                       "instances": [one for _, one in own]})  # fmt: skip
    ips = [one["attributes"]["output"]["value"]["address"] for key, one in sorted(held.items(), key=str) if key[0] == "production"]  # fmt: skip
    state["outputs"] = {"production_ips": {"value": ips, "type": ["tuple", ["string"] * len(ips)]}}
    if ("backup", None) in held:
        value = held["backup", None]["attributes"]["output"]["value"]["address"]
        state["outputs"]["backup_ip"] = {"value": value, "type": "string"}
    new = STATE.with_suffix(".new")
    new.touch(0o600)
    new.write_text(json.dumps(state, indent=2) + "\n")
    if STATE.exists():
        os.replace(STATE, "terraform.tfstate.backup")
    os.replace(new, STATE)


def typed(value: object) -> dict:
    kind = (
        ["object", dict.fromkeys(value, "string")]
        if isinstance(value, dict)
        else ["tuple", ["string"] * len(value)]
    )
    return {"value": value, "type": kind}


def changes(values: dict, held: dict[tuple, dict]) -> list[dict]:
    found = []
    want = wanted(values)
    for key in sorted({*want, *held}, key=str):
        before, after = held.get(key), want.get(key)
        old = before["attributes"]["input"]["value"] if before else None
        trigger = before and (before["attributes"].get("triggers_replace") or {}).get("value")
        if before is None:
            actions = ["create"]
        elif after is None:
            actions = ["delete"]
        elif before.get("status") == "tainted" or trigger != [values[TRIGGER[key[0]]]]:
            actions = ["delete", "create"]
        else:
            actions = ["no-op"] if old == after else ["update"]
        found.append({"key": list(key), "actions": actions, "before": old, "after": after})
    return found


WORDS = {
    "create": "create",
    "delete": "delete",
    "delete,create": "replace",
    "update": "update",
    "no-op": "noop",
}


def plan(events: Events, options: dict) -> int:
    state = read_state()
    values = variables(options)
    found = changes(values, instances(state))
    counted = {"add": 0, "change": 0, "import": 0, "remove": 0}
    for change in found:
        word, key = WORDS[",".join(change["actions"])], tuple(change["key"])
        counted["add"] += "create" in change["actions"]
        counted["remove"] += "delete" in change["actions"]
        counted["change"] += word == "update"
        if word != "noop":
            events.emit(
                "planned_change",
                f"{address(key)}: Plan to {word}",
                change={"resource": resource(key), "action": word},
            )
    events.emit("change_summary", f"Plan: {counted['add']} to add, {counted['change']} to change, {counted['remove']} to destroy.",
                changes={**counted, "operation": "plan"})  # fmt: skip
    for path in options.get("-out", []):
        out = Path(path)
        out.touch(0o600)
        out.write_text(
            json.dumps(
                {"serial": state["serial"], "lineage": state["lineage"], "changes": found, "values": values}
            )
        )
    return (
        (2 if any(c["actions"] != ["no-op"] for c in found) else 0) if "-detailed-exitcode" in options else 0
    )


def show(options: dict, rest: list[str]) -> int:
    if not rest:
        print(json.dumps({"format_version": "1.0", "terraform_version": VERSION, "values": {}}))
        return 0
    saved = json.loads(Path(rest[0]).read_text())
    listed = [
        {"address": address(tuple(c["key"])), "mode": "managed", "type": "terraform_data", "name": c["key"][0],
         **({} if c["key"][1] is None else {"index": c["key"][1]}), "provider_name": "terraform.io/builtin/terraform",
         "change": {"actions": c["actions"], "before": c["before"] and {"input": c["before"]}, "after": c["after"] and {"input": c["after"]},
                    "after_unknown": {"id": True, "output": True}, "before_sensitive": False, "after_sensitive": {}}}
        for c in saved["changes"]
    ]  # fmt: skip
    variables_ = {name: {"value": value} for name, value in saved["values"].items()}
    print(json.dumps({"format_version": "1.2", "terraform_version": VERSION, "variables": variables_, "resource_changes": listed,
                      "applyable": any(c["actions"] != ["no-op"] for c in saved["changes"]), "complete": True, "errored": False}))  # fmt: skip
    return 0


def apply(events: Events, options: dict, rest: list[str]) -> int:
    if not rest:
        raise Failed("The practice stand-in applies saved plans only", "Give the file that plan -out wrote.")
    saved = json.loads(Path(rest[0]).read_text())
    state = read_state()
    if (saved["serial"], saved["lineage"]) != (state["serial"], state["lineage"]):
        raise Failed("Saved plan is stale", "The given plan file can no longer be applied because the state was changed by another operation after the plan was created.")  # fmt: skip
    held = instances(state)
    counted = {"add": 0, "change": 0, "import": 0, "remove": 0}
    failures = []
    for change in saved["changes"]:
        key, actions = tuple(change["key"]), change["actions"]
        try:
            if "delete" in actions:
                server(events, key, "delete", change["before"])
                held.pop(key)
                counted["remove"] += 1
                write_state(state, held)
            if "create" in actions or "update" in actions:
                identifier = str(uuid.uuid4())
                trigger = [saved["values"][TRIGGER[key[0]]]]
                body = typed(change["after"])
                one = {"schema_version": 0, "attributes": {"id": identifier, "input": body, "output": body, "triggers_replace": typed(trigger)},
                       "sensitive_attributes": []}  # fmt: skip
                if key[1] is not None:
                    one = {"index_key": key[1], **one}
                held[key] = one
                if "create" in actions:
                    one["status"] = "tainted"
                    server(events, key, "create", change["after"])
                    del one["status"]
                counted["add" if "create" in actions else "change"] += 1
                write_state(state, held)
        except Failed as failed:
            write_state(state, held)
            events.emit(
                "apply_errored",
                f"{address(key)}: Creation errored",
                "error",
                hook={"resource": resource(key), "action": "create"},
            )
            failures.append(failed)
    for failed in failures:
        events.diagnostic(failed)
    if failures:
        return 1
    if not STATE.exists() or "backup_ip" not in state["outputs"]:
        write_state(state, held)
    events.emit("change_summary", f"Apply complete! Resources: {counted['add']} added, {counted['change']} changed, {counted['remove']} destroyed.",
                changes={**counted, "operation": "apply"})  # fmt: skip
    events.emit("outputs", f"Outputs: {len(state['outputs'])}", outputs=state["outputs"])
    return 0


def server(events: Events, key: tuple, action: str, given: dict) -> None:
    """What the module's provisioner does: ask the lab for the VM."""
    hook = {"resource": resource(key), "action": action}
    doing = "Creating" if action == "create" else "Destroying"
    events.emit("apply_start", f"{address(key)}: {doing}...", hook=hook)
    began = time.monotonic()
    ran = subprocess.run(["./server", action, given["name"]], capture_output=True, text=True, check=False)
    for line in (ran.stdout + ran.stderr).splitlines():
        events.emit(
            "provision_progress",
            f"{address(key)}: (local-exec): {line}",
            hook={**hook, "provisioner": "local-exec", "output": line},
        )
    if ran.returncode:
        raise Failed("local-exec provisioner error", f"Error running command './server {action} {given['name']}': exit status {ran.returncode}. Output: {ran.stderr}")  # fmt: skip
    done = "Creation" if action == "create" else "Destruction"
    elapsed = round(time.monotonic() - began)
    events.emit(
        "apply_complete",
        f"{address(key)}: {done} complete after {elapsed}s",
        hook={**hook, "elapsed_seconds": elapsed},
    )


def locked(events: Events, options: dict, operation: str, work) -> int:
    seconds = int(re.sub(r"\D", "", (options.get("-lock-timeout") or ["0"])[0]) or 0)
    info = {"ID": str(uuid.uuid4()), "Operation": operation, "Info": "", "Who": f"{getpass.getuser()}@{os.uname().nodename}",
            "Version": VERSION, "Created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "Path": str(STATE)}  # fmt: skip
    until = time.monotonic() + seconds
    while True:
        try:
            with LOCK.open("x") as lock:
                json.dump(info, lock)
            break
        except FileExistsError:
            if time.monotonic() >= until:
                other = json.loads(LOCK.read_text() or "{}")
                lines = "\n".join(
                    f"  {name}: {other.get(name, '')}"
                    for name in ("ID", "Path", "Operation", "Who", "Version", "Created")
                )
                raise Failed(
                    "Error acquiring the state lock",
                    f"Error message: resource temporarily unavailable\nLock Info:\n{lines}",
                ) from None
            time.sleep(0.1)
    try:
        return work()
    finally:
        LOCK.unlink(missing_ok=True)


def main(argv: list[str]) -> int:
    while argv and argv[0].startswith("-chdir="):
        os.chdir(argv.pop(0)[7:])
    verb = argv.pop(0) if argv else "help"
    options: dict[str, list[str]] = {}
    rest = []
    words = iter(argv)
    for word in words:
        if word.startswith("-"):
            name, sign, value = ("-" + word.lstrip("-")).partition("=")
            options.setdefault(name, []).append(
                value if sign else next(words, "") if name in ("-var", "-var-file", "-out") else ""
            )
        else:
            rest.append(word)
    events = Events("-json" in options)
    try:
        if verb in ("version", "-version", "--version"):
            facts = {
                "terraform_version": VERSION,
                "platform": "practice_standin",
                "stand_in": True,
                "provider_selections": {},
            }
            print(json.dumps(facts) if events.as_json else f"OpenTofu v{VERSION}\non {sys.platform}\n{PLAIN}")
            return 0
        if verb == "init":
            Path(".terraform").mkdir(exist_ok=True)
            events.version()
            events.emit("init_output", f"OpenTofu has been successfully initialized! {PLAIN}")
            return 0
        if verb == "workspace":
            print(
                {"show": "default", "list": "* default\n"}.get(
                    rest[0] if rest else "show", 'Workspace "default" is the only one of the stand-in.'
                )
            )
            return 0 if not rest or rest[0] in ("show", "list") or rest[-1] == "default" else 1
        if verb == "validate":
            print(
                json.dumps(
                    {
                        "format_version": "1.0",
                        "valid": True,
                        "error_count": 0,
                        "warning_count": 0,
                        "diagnostics": [],
                    }
                )
            )
            return 0
        if verb == "output":
            outputs = {name: {"sensitive": False, **value} for name, value in read_state()["outputs"].items()}
            if rest:
                print(json.dumps(outputs[rest[0]]["value"]) if rest[0] in outputs else "")
                return 0 if rest[0] in outputs else 1
            print(json.dumps(outputs))
            return 0
        if verb == "state" and rest[:1] == ["list"]:
            print("".join(f"{address(key)}\n" for key in sorted(instances(read_state()), key=str)), end="")
            return 0
        if verb == "force-unlock":
            LOCK.unlink(missing_ok=True)
            print("OpenTofu state has been successfully unlocked!")
            return 0
        if not Path(".terraform").exists():
            raise Failed(
                "Inconsistent dependency lock file", "Run init first: this folder was not initialised."
            )
        if verb == "show":
            return show(options, rest)
        if verb == "plan":
            events.version()
            return locked(events, options, "OperationTypePlan", lambda: plan(events, options))
        if verb == "apply":
            events.version()
            return locked(events, options, "OperationTypeApply", lambda: apply(events, options, rest))
        raise Failed(f"The practice stand-in does not know {verb!r}", PLAIN)
    except Failed as failed:
        events.diagnostic(failed)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
