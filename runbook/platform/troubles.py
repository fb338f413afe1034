"""What docker, compose and the services print when they fail -> what it means and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Trouble:
    what: str
    next: str


#: (pattern, what it means, what to do); groups of the pattern fill {0}, {1}
_Table = Sequence[tuple[str, str, str]]

#: said by docker and docker-compose themselves
TOOLS: _Table = (
    (
        r"'ContainerConfig'",
        "docker-compose 1 cannot recreate a container on this Docker engine (KeyError: 'ContainerConfig').",
        "Install the compose plugin (docker compose, version 2), or remove the old container first"
        " with docker rm -f NAME (its volumes stay), then retry.",
    ),
    (
        r"client version (\S+) is too old\. Minimum supported API version is (\d+\.\d+)",
        "docker-compose is too old for this Docker engine: it speaks API {0}, the engine wants {1} or newer.",
        "Install the compose plugin (docker compose, version 2), then retry.",
    ),
    (
        r"client and server don't have same version|client version \S+ is too new",
        "docker-compose and the Docker engine speak different API versions.",
        "Bring both to versions of the same time, then retry.",
    ),
    (
        r"permission denied while trying to connect to the Docker|"
        r"Error while fetching server API version.*PermissionError",
        "This user may not use Docker.",
        "Add the user to the group docker (sudo usermod -aG docker USER) and log in anew.",
    ),
    (
        r"Cannot connect to the Docker daemon|"
        r"Error while fetching server API version.*(?:FileNotFound|ConnectionRefused)",
        "The Docker daemon is not running.",
        "Start it (sudo systemctl start docker) and look at journalctl -u docker if it ends again.",
    ),
    (
        r'container name "/?([^"]+)" is already in use by container "?([0-9a-f]{12})',
        "The container name {0} is taken by container {1}, which another project made.",
        "If that is the platform under another project name, set platform.project in runbook.toml"
        " (another name makes fresh, empty volumes); else remove it: docker rm -f {0}.",
    ),
    (
        r"(?:Bind for|listen tcp\S*) (\S+?):? .*(?:port is already allocated|address already in use)",
        "The port {0} is already in use on this machine.",
        "Find who has it (sudo ss -ltnp); node-exporter and CouchDB both like 9100.",
    ),
    (r"[Nn]o such service: (\S+)", "The compose file has no service {0}.", "Correct the step's services."),
    (
        r"toomanyrequests|pull rate limit",
        "The image registry refuses more pulls from this address for now.",
        "Log in to the registry (docker login), or copy the image with docker save | docker load.",
    ),
    (
        r"pull access denied|manifest unknown|manifest for \S+ not found|repository does not exist",
        "An image does not exist in its registry under that name.",
        "Correct the image's name or version in the compose file.",
    ),
    (
        r"no such host|TLS handshake timeout|i/o timeout|network is unreachable",
        "An image could not be pulled: its registry cannot be reached from this machine.",
        "Check the machine's network and DNS, or copy the image with docker save | docker load.",
    ),
    (r"no space left on device", "The disk is full.", "Make room (docker image prune; df -h), then retry."),
)

#: said by a service that dies: restarting it again does not help
SERVICES: _Table = (
    (
        r"(?i)monster detected",
        "CouchDB refuses the cookie `monster`, the default.",
        "Give COUCHDB_COOKIE another value, the same on every VM (the step that adapts the configuration"
        " does), then retry.",
    ),
    (
        r"(?i)no admin account found",
        "CouchDB refuses to start without an admin.",
        "COUCHDB_USER and COUCHDB_PASSWORD must reach the container: look at .env and the compose file.",
    ),
    (
        r"(?i)can't set (?:long|short) node name|invalid node name",
        "Erlang refuses the node name.",
        "NODENAME must be this VM's bare internal address: the image itself puts couchdb@ before it. (The"
        " step that adapts the configuration writes it.)",
    ),
    (
        r"(?i)no space left on device|\benospc\b",
        "The disk is full.",
        "Make room (docker image prune; df -h), then retry.",
    ),
    (
        r"(?i)address already in use|\beaddrinuse\b",
        "A port the service wants is in use.",
        "Find who has it (sudo ss -ltnp).",
    ),
)

#: said by a cloud's provider in OpenTofu
CLOUD: _Table = (
    (
        r"(?i)\bunauthorized\b|token you provided is invalid|invalid (?:api )?token|AuthFailure|"
        r"InvalidClientTokenId|ExpiredToken|status(?: code)?:? 401",
        "The provider refuses the token.",
        "Set a valid token with the right to write (tofu.secrets in runbook.toml says where it is taken from,"
        " else the environment), then run the step again.",
    ),
    (
        r"(?i)\bforbidden\b|insufficient permissions|token only allows|AccessDenied|status(?: code)?:? 403",
        "The provider does not let this token do that.",
        "Use a token of the right project with the right to write, then run the step again.",
    ),
    (
        r"(?i)rate[_ ]?limit|too many requests|RequestLimitExceeded|status(?: code)?:? 429",
        "The provider takes no more requests for now.",
        "Wait some minutes, then run the step again: it makes only what is missing.",
    ),
    (
        r"(?i)resource_limit_exceeded|\w*limit (?:is )?(?:reached|exceeded)|LimitExceeded|\bquota\b",
        "The account's limit is reached.",
        "Ask the provider for a higher limit, or delete in its console what is not needed any more; then run"
        " the step again: it makes only what is missing.",
    ),
    (
        r"(?i)resource_unavailable|error during placement|InsufficientInstanceCapacity|sold out|out of stock",
        "The provider has none left of what was asked for.",
        "Wait and run the step again, or set another server type or location in OpenTofu's variables"
        " (tofu.variables in runbook.toml); it makes only what is missing.",
    ),
    (
        r"(?i)uniqueness_error|name is already used|already exists|AlreadyExists",
        "The provider has something of that name already, which OpenTofu's state does not know.",
        "Look at it in the provider's console: if it is this platform's, tell OpenTofu with tofu import; else"
        " delete or rename it. Then run the step again.",
    ),
    (
        r"(?i)no such host|dial tcp|i/o timeout|TLS handshake timeout|connection refused|network is unreach",
        "The provider, or the registry it comes from, cannot be reached from this PC.",
        "Check this PC's network, DNS and proxy settings; then run the step again.",
    ),
)


def explain(text: str, table: _Table = TOOLS) -> Trouble | None:
    """The first entry of the table that ``text`` matches."""
    for pattern, what, next_ in table:
        if found := re.search(pattern, text):
            groups = [group or "" for group in found.groups()]
            return Trouble(what.format(*groups), next_.format(*groups))
    return None


def last_lines(text: str, count: int) -> str:
    """The last lines that say something, joined by " | "."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-count:])
