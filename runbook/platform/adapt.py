"""What one machine needs to be different from the configuration in the backup, as texts: the texts
that are there go in, the texts that should be there come out. Nothing is read or written here.

Facts built on (the official CouchDB image's start script):
- it makes ``-name couchdb@$NODENAME``: NODENAME is the address alone;
- it takes ownership of every file below /opt/couchdb/etc and stops when it cannot, so the settings
  file is not mounted read-only;
- it writes no ``[admins]`` and no ``[chttpd_auth]`` of its own when a file in local.d has the
  section's line directly followed by the wanted key: so those keys stand first in ours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from runbook.errors import ActionFailed

INI = "runbook-couchdb.ini"
OVERRIDE = "docker-compose.override.yml"
_INI_TARGET = "/opt/couchdb/etc/local.d/90-runbook.ini"
#: CouchDB, Erlang's port mapper, Erlang's traffic between the nodes
PORTS = (5984, 4369, 9100)
DISABLED = "runbook-disabled"
#: CouchDB 3.3's own number for [admins]; more would slow down every request of LMS
ITERATIONS = 10
DEFAULTS = {"monster", "password", "openedxsecret", "admin"}
_SECRET_KEY = re.compile(r"PASS|SECRET|TOKEN|COOKIE|CREDENTIAL|(^|_)KEY|SALT|admins|DSN", re.IGNORECASE)
_LINE = re.compile(r"(\s*(?:export\s+)?)([A-Za-z_][A-Za-z0-9_.]*)(\s*=)(.*)", re.DOTALL)


# ── .env ───────────────────────────────────────────────────────────────────────────────────
def edit_env(text: str, values: Mapping[str, str]) -> str:
    """``text`` with those values: changed where they stand (the last one of a name counts, so all
    are changed), added at the end where they are missing; every other line byte for byte."""
    lines = text.splitlines(keepends=True)
    left = dict(values)
    for at, line in enumerate(lines):
        body = line.rstrip("\r\n")
        match = _LINE.fullmatch(body)
        if match and match[2] in values:
            left.pop(match[2], None)
            lines[at] = f"{match[1]}{match[2]}={quote(match[2], values[match[2]])}{line[len(body) :]}"
    if left and lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return "".join(lines) + "".join(f"{name}={quote(name, value)}\n" for name, value in left.items())


def quote(name: str, value: str) -> str:
    """A value as both compose versions read it back unchanged. Raises ActionFailed if none can."""
    if re.fullmatch(r"[A-Za-z0-9_./:@%+=,~^-]*", value):
        return value
    if "'" in value or "\n" in value or "\r" in value or "\\" in value:
        raise ActionFailed(
            f"{name} holds a quote, a backslash or a line end: docker-compose 1 and 2 read such a value "
            "differently. Nothing was changed.",
            next=f"Give {name} another value in the settings.",
        )
    return f"'{value}'"


def follow_domain(old: Mapping[str, str], domain: str) -> dict[str, str]:
    """LMS_BASE and the like, where they are names below the old domain: the same below the new one."""
    before = old.get("DOMAIN_NAME", "")
    if not before or before == domain:
        return {}
    return {
        name: value.removesuffix(before) + domain
        for name in ("LMS_BASE", "CMS_BASE")
        if (value := old.get(name, "")) == before or value.endswith(f".{before}")
    }


# ── CouchDB's own settings ─────────────────────────────────────────────────────────────────
def derived(secret: str, what: str) -> str:
    """32 hexadecimal digits that are the same on every VM and in every run with this secret."""
    return hmac.new(secret.encode(), f"runbook couchdb {what}".encode(), hashlib.sha256).hexdigest()[:32]


def admin_hash(password: str, salt: str) -> str:
    """As CouchDB 3.3 writes an admin: PBKDF2 with SHA-1, 20 bytes."""
    key = hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), ITERATIONS, 20)
    return f"-pbkdf2-{key.hex()},{salt},{ITERATIONS}"


def couchdb_ini(*, user: str, password: str, secret: str, max_document_size: int) -> str:
    """The same on every node. Raises ActionFailed for a value an ini file cannot hold."""
    for name, value in (("couchdb.user", user), ("couchdb.secret", secret)):
        if value != value.strip() or re.search(r"[\r\n]|\s;", value) or not value:
            raise ActionFailed(
                f"{name} is empty, or holds a line end, ' ;' or blanks at its ends: CouchDB's settings "
                "cannot hold that. Nothing was changed.",
                next=f"Give {name} another value.",
            )
    return (
        "; Written by runbook: the same on every node of the cluster.\n"
        f"[couchdb]\nuuid = {derived(secret, 'uuid')}\nmax_document_size = {max_document_size}\n\n"
        f"[chttpd_auth]\nsecret = {secret}\n\n"
        f"[admins]\n{user} = {admin_hash(password, derived(secret, 'admin salt'))}\n"
    )


# ── the compose files ──────────────────────────────────────────────────────────────────────
def services(compose: str, name: str = "the compose file") -> dict[str, dict[str, Any]]:
    """The services of a compose file. Raises ActionFailed when it is none."""
    read = _load(compose, name)
    found = read.get("services")
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise ActionFailed(f"{name} has no services as compose writes them. Nothing was changed.")
    return {str(key): value for key, value in found.items()}


def _load(text: str, name: str) -> dict[str, Any]:
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ActionFailed(f"{name} is not readable YAML: {error}. Nothing was changed.") from None
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise ActionFailed(f"{name} is not a compose file. Nothing was changed.")
    return read


def override(compose: str, present: str, node: str) -> str:
    """The override file: what ``present`` holds, with this machine's settings in it.

    ``node``: CouchDB's name here, ``couchdb@10.0.1.10``. Raises ActionFailed.
    """
    base = services(compose)
    if "couchdb" not in base:
        raise ActionFailed(
            f"The compose file has no service couchdb; it has {', '.join(sorted(base))}. Nothing was changed."
        )
    prefix, _, address = node.partition("@")
    if prefix != "couchdb" or not address:
        raise ActionFailed(
            f"The node name {node} cannot be given to the CouchDB image: it always puts couchdb@ in front. "
            "Nothing was changed.",
            next="Set couchdb.node_prefix to couchdb, and an internal address for every machine.",
        )
    names = ("COUCHDB_USER", "COUCHDB_PASSWORD", "COUCHDB_SECRET")
    couchdb: dict[str, Any] = {
        "environment": {"NODENAME": address, "COUCHDB_ERLANG_COOKIE": "${COUCHDB_COOKIE}"}
        | {name: f"${{{name}}}" for name in names},
        "volumes": [f"./{INI}:{_INI_TARGET}"],
    }
    if base["couchdb"].get("network_mode") != "host":
        have = published(base["couchdb"])
        if ports := [f"{port}:{port}" for port in PORTS if port not in have]:
            couchdb["ports"] = ports
    ours: dict[str, Any] = {"services": {"couchdb": couchdb}}
    if "watchtower" in base:
        ours["services"]["watchtower"] = {"profiles": [DISABLED]}
    if "version" in (read := _load(compose, "the compose file")):
        ours = {"version": read["version"]} | ours  # docker-compose 1 refuses files that differ in it
    merged = _merge(_load(present, OVERRIDE), ours)
    head = "# Written by runbook for this machine; what stood here before is kept beside it.\n"
    return head + yaml.safe_dump(merged, sort_keys=False, allow_unicode=True)


def _merge(old: Any, new: Any) -> Any:
    """``new`` into ``old``; doing it twice changes nothing more."""
    if isinstance(old, list) and isinstance(new, dict):  # environment: ["A=b"]
        pairs = (str(item).partition("=") for item in old)
        old = {key: value if sign else None for key, sign, value in pairs}
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: _merge(old[key], value) if key in old else value for key, value in new.items()}
    if isinstance(old, list) and isinstance(new, list):
        return old + [item for item in new if item not in old]
    return new


def published(service: Mapping[str, Any]) -> set[int]:
    """The host's ports a service takes."""
    return {port for item in service.get("ports") or () if (port := _host_port(item)) is not None}


def _host_port(item: Any) -> int | None:
    if isinstance(item, dict):
        found = str(item.get("published", ""))
    else:
        parts = str(item).split("/")[0].rsplit(":", 2)
        found = parts[-2] if len(parts) > 1 else ""
    return int(found) if found.isdecimal() else None


def free_ports(compose: str) -> tuple[str, list[str]]:
    """The compose file with 4369 and 9100 free for CouchDB, and what was moved, in words.

    Compose only ever *adds* ports from an override file, so a clash (node-exporter has 9100 too)
    is taken out where it stands: that one value is changed, every other byte is kept.
    """
    base = services(compose)
    taken = {port for service in base.values() for port in published(service)}
    edits: list[tuple[int, int, str]] = []
    words: list[str] = []
    for name, service in base.items():
        for port in sorted(published(service) & set(PORTS[1:]) if name != "couchdb" else ()):
            to = next(free for free in range(port + 1, 65536) if free not in taken)
            taken.add(to)
            edits += _port_edits(compose, name, port, to)
            words.append(f"{name}: published port {port} becomes {to} (CouchDB's cluster needs {port})")
    for start, end, text in sorted(edits, reverse=True):
        compose = compose[:start] + text + compose[end:]
    return compose, words


def _port_edits(compose: str, name: str, port: int, to: int) -> Iterable[tuple[int, int, str]]:
    root = yaml.compose(compose, Loader=yaml.SafeLoader)
    ports = _child(_child(_child(root, "services"), name), "ports")
    for item in ports.value if isinstance(ports, yaml.SequenceNode) else ():
        scalar = _child(item, "published") if isinstance(item, yaml.MappingNode) else item
        if not isinstance(scalar, yaml.ScalarNode):
            continue
        start, end = scalar.start_mark.index, scalar.end_mark.index
        text = compose[start:end]
        pattern = rf"(?<!\d){port}(?!\d)" if scalar is not item else rf"(?<![\d.]){port}(?=:)"
        if _host_port({"published": scalar.value} if scalar is not item else scalar.value) == port:
            yield start, end, re.sub(pattern, str(to), text, count=1)


def _child(node: Any, key: str) -> Any:
    for at, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if at.value == key:
            return value
    return None


def unpinned(compose: str) -> list[str]:
    """Services whose image can change by itself: no tag, or ``latest``."""
    found = []
    for name, service in services(compose).items():
        image = str(service.get("image", ""))
        tag = image.rpartition("/")[2].partition(":")[2]
        if image and "@" not in image and tag in ("", "latest") and "$" not in image:
            found.append(f"{name} ({image})")
    return found


# ── showing ────────────────────────────────────────────────────────────────────────────────
def difference(old: str, new: str) -> list[str]:
    """The lines that go (-) and come (+); the values of secrets masked."""
    import difflib

    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    shown, section = [], ""
    for line in list(lines)[2:]:
        if line.startswith("@@"):
            continue
        if line[1:].startswith("["):
            section = line[1:]
        shown.append(_mask(line, section))
    return shown


def _mask(line: str, section: str) -> str:
    match = re.fullmatch(r"([-+]\s*(?:export\s+|-\s+)?[\"']?)([\w.@-]+)(\s*[=:]\s*)(.*)", line)
    if not match or not match[4] or not (_SECRET_KEY.search(match[2]) or "admins" in section):
        return line
    value = match[4].strip("'\"")
    if value.startswith("${"):
        return line
    shown = f"{value} (the default)" if value in DEFAULTS else "****"
    return f"{match[1]}{match[2]}{match[3]}{shown}"


def is_secret(name: str) -> bool:
    return bool(_SECRET_KEY.search(name))


def seal(key: str, text: str) -> str:
    """Stands for a text with secrets in a plan: shows that it changed, tells nothing else."""
    mac = hmac.new(key.encode(), text.encode(errors="surrogateescape"), hashlib.sha256)
    return base64.b32encode(mac.digest()[:15]).decode()
