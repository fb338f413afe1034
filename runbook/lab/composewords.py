"""How the two generations of Compose word things."""

from __future__ import annotations

import json

from runbook.lab.cliwords import ports_text, status_text
from runbook.lab.container import Container

VERSIONS = {1: "1.29.2", 2: "2.29.7"}
_DONE = {
    "Creating": "Started",
    "Starting": "Started",
    "Stopping": "Stopped",
    "Removing": "Removed",
    "Recreating": "Recreated",
}


class Words:
    def __init__(self, version: int) -> None:
        self._old = version == 1

    def unset(self, name: str) -> str:
        if self._old:
            return f"The {name} variable is not set. Defaulting to a blank string.\n"
        text = f'The \\"{name}\\" variable is not set. Defaulting to a blank string.'
        return f'time="2026-01-01T00:00:00Z" level=warning msg="{text}"\n'

    def unknown_verb(self, verb: str) -> str:
        return f"No such command: {verb}\n" if self._old else f'unknown docker command: "compose {verb}"\n'

    def unknown_service(self, name: str) -> str:
        return f"No such service: {name}\n" if self._old else f"no such service: {name}\n"

    def did(self, verb: str, name: str) -> str:
        """``verb``: Creating, Starting, Stopping, Removing, Recreating."""
        if self._old:
            return f"{verb} {name} ... \r\n{verb} {name} ... done\r\n"
        return f" Container {name}  {verb}\n Container {name}  {_DONE[verb]}\n"

    def up_to_date(self, name: str) -> str:
        return f"{name} is up-to-date\n" if self._old else f" Container {name}  Running\n"

    def pulled(self, name: str) -> str:
        return f"Pulling {name} ... done\n" if self._old else f" {name} Pulled \n"

    def failed(self, service: str, container: str, text: str) -> str:
        if not self._old:
            return f" Container {container}  Starting\n{text}\n"
        cause = text.removeprefix("Error response from daemon: ")
        return f"\nERROR: for {service}  Cannot start service {service}: {cause}\n"

    def table(self, containers: list[Container]) -> str:
        if self._old:
            head = "  Name      Command      State      Ports\n" + "-" * 45 + "\n"
            return head + "".join(_old_row(container) for container in containers)
        head = f"{'NAME':<14}{'IMAGE':<30}{'SERVICE':<14}{'STATUS':<26}PORTS\n"
        return head + "".join(
            f"{c.name:<14}{c.service.image:<30}{c.service.name:<14}{status_text(c):<26}{ports_text(c)}\n"
            for c in containers
        )


def _old_row(container: Container) -> str:
    words = {"running": "Up", "restarting": "Up", "created": "Exit 128"}
    state = words.get(container.status, f"Exit {container.exit_code}")
    return f"{container.name:<14}{'/docker-entrypoint.sh':<24}{state:<10}{ports_text(container)}\n"


def json_row(container: Container) -> str:
    """One line of ``ps --format json`` (JSON lines, as since 2.21)."""
    row = {
        "ID": container.id[:12],
        "Name": container.name,
        "Service": container.service.name,
        "State": container.status,
        "Project": container.project,
        "Status": status_text(container),
        "Health": container.health() or "",
        "ExitCode": container.exit_code,
    }
    return json.dumps(row) + "\n"
