"""``runbook site init``: a good first runbook.toml from what can be known.

What it knows comes from ``tofu output -json``, the platform's ``.env`` and the checkout; the rest
is the default, as a remark. Secrets are referred to, never copied. No existing file is touched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook.errors import UseError
from runbook.platform import dotenv
from runbook.site import model as site
from runbook.site.forms import RULES
from runbook.tomltext import quote, value

#: what a first file holds until somebody sets it
EXAMPLE_DOMAIN = "openedx.example.org"
EXAMPLE_NAME = "Open edX"
_LARGEST = 1_000_000


@dataclass(frozen=True)
class _Known:
    domain: str
    user: str
    env_file: Path | None
    env_names: frozenset[str]
    tofu_folder: Path | None
    production: tuple[str, tuple[str, ...]]  #: the output's name ("" if not known), its addresses
    backup: tuple[str, tuple[str, ...]]
    cookie_is_default: bool


def init(
    out: Path, tofu_json: Path | None = None, env_file: Path | None = None, checkout: Path | None = None
) -> list[str]:
    """Write ``out`` (mode 0600); returns the keys a person should still set or look at. Without
    ``env_file``, ``docker/.env`` of the checkout is read if it is there. Raises UseError when
    ``out`` exists or something given cannot be read; then nothing was written."""
    known = _look(tofu_json, env_file, checkout)
    text, hints = _text(known)
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UseError(f"{out} exists and was left as it is.", next="Give another name.") from None
    except OSError as error:
        raise UseError(f"{out} cannot be written: {error.strerror}.") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return hints


def still_open(found: site.Site) -> list[str]:
    """What a first file leaves to a person, and no person has set."""
    left = []
    if found.name == EXAMPLE_NAME:
        left.append("name is still the example's")
    if found.platform.domain == EXAMPLE_DOMAIN:
        left.append("platform.domain is still the example's")
    return left


def _look(tofu_json: Path | None, env_file: Path | None, checkout: Path | None) -> _Known:
    folder = None
    if checkout is not None:
        checkout = checkout.expanduser().absolute()
        if not checkout.is_dir():
            raise UseError(f"There is no folder {checkout}.", next="Give the platform's checkout.")
        places = (checkout / "infrastructure", checkout)
        folder = next((place for place in places if any(place.glob("*.tf"))), None)
        beside = [checkout / "docker" / ".env", checkout / ".env"]
        env_file = env_file or next((path for path in beside if path.is_file()), None)
    values = dotenv.parse(_read(env_file)) if env_file else {}
    outputs = _outputs(tofu_json) if tofu_json else {}
    return _Known(
        domain=_fit("platform.domain", values.get("DOMAIN_NAME", "")),
        user=_fit("couchdb.user", values.get("COUCHDB_USER", "")),
        env_file=env_file.expanduser().absolute() if env_file else None,
        env_names=frozenset(name for name, held in values.items() if held),
        tofu_folder=folder,
        production=_output(outputs, site.Machines().production_output, "production"),
        backup=_output(outputs, site.Machines().backup_output, "backup"),
        cookie_is_default=values.get("COUCHDB_COOKIE") == "monster",
    )


def _read(path: Path) -> str:
    try:
        path = path.expanduser()
        if path.stat().st_size > _LARGEST:
            raise UseError(f"{path} is larger than {_LARGEST:,} bytes.", next="Is it the right file?")
        return path.read_bytes().decode()
    except OSError as error:
        raise UseError(f"{path} cannot be read: {error.strerror}.", next="Nothing was written.") from None
    except UnicodeDecodeError:
        raise UseError(f"{path} is not UTF-8 text.", next="Nothing was written.") from None


def _outputs(path: Path) -> dict[str, Any]:
    """The values of ``tofu output -json``, those marked sensitive left out."""
    try:
        data = json.loads(_read(path))
        return {
            name: each["value"]
            for name, each in data.items()
            if not each.get("sensitive") and name.isprintable()
        }
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise UseError(
            f"{path} does not hold what `tofu output -json` prints.", next="Nothing was written."
        ) from None


def _output(outputs: Mapping[str, Any], default: str, word: str) -> tuple[str, tuple[str, ...]]:
    """The output that holds addresses: the usual one, else one with that word in its name."""
    for name in [default, *sorted(name for name in outputs if word in name)]:
        found = outputs.get(name)
        addresses = [found] if isinstance(found, str) else found
        if not (isinstance(addresses, list) and addresses and _fit("machines.production_output", name)):
            continue
        if all(isinstance(item, str) and _fit("machines.backup.address", item) for item in addresses):
            return name, tuple(addresses)
    return "", ()


def _fit(key: str, value: str) -> str:
    """The value if it has that key's form, else nothing."""
    try:
        RULES[key](value)
    except ValueError:
        return ""
    return value


def _text(known: _Known) -> tuple[str, list[str]]:
    hints: list[str] = []

    def line(key: str, found: Any, default: Any, remark: str = "", *, hint: str = "") -> str:
        """A setting that is known, or its default as a remark (live, if it is ``hint``-ed)."""
        name = key.rpartition(".")[2]
        remark = f"  # {remark}" if remark else ""
        if found:
            return f"{name} = {value(found)}{remark}"
        if hint:
            hints.append(f"{key}: {hint}")
            return f"{name} = {value(default)}  # set this: {hint}"
        return f"# {name} = {value(default)}{remark}"

    def secret(key: str, name: str, ask: str, usable: bool = True) -> str:
        if known.env_file and name in known.env_names and usable:
            return f"{key} = {value({'env_file': str(known.env_file), 'key': name})}"
        hints.append(f"couchdb.{key}: asked for in every run; better name where it is kept")
        return f"{key} = {value({'ask': ask})}  # better: where it is kept"

    production, addresses = known.production
    backup, backup_address = known.backup
    cookie_remark = "# CouchDB refuses the platform's default cookie, monster: choose another.\n"
    text = f"""\
# The settings of one installation. `runbook site check` validates them, `runbook site show`
# prints them. Lines that begin with # show defaults and examples.
#
# Secrets go by reference, one of:
#   {{ env = "NAME" }}                          an environment variable
#   {{ file = "path" }}                         a file of mode 0600
#   {{ env_file = "path", key = "NAME" }}       a line of an .env file
#   {{ command = ["pass", "show", "x"] }}       what a password store prints
#   {{ ask = "what for" }}                      asked once in a run
# Paths: ~ is your home, relative ones start at this file's folder.

{line("name", known.domain, EXAMPLE_NAME, hint="a name for this installation")}
# operator = "you"  # who confirms, for the report

[objectives]
rto = {quote(site.Objectives().rto)}  # how long a recovery may take
rpo = {quote(site.Objectives().rpo)}  # how old the newest backup may be

# Whom to call; one table each.
# [[contacts]]
# name = ""
# role = "commander"
# phone = ""

[machines]
# user = "openedx"
# backup_user = "backup-user"
# key = ""  # a private key's file; empty: ssh-agent and ssh_config choose
# OpenTofu's outputs say where the machines are, so that new ones are found after a rebuild.
{line("machines.production_output", production, "production_ips", _today(addresses))}
{line("machines.backup_output", backup, "backup_ip", _today(backup_address))}
{line("machines.count", len(addresses), 3, "production machines")}
# internal_base = "10.0.1.10"  # VM 1; VM 2 is one more
# backup_internal = "10.0.1.100"

[platform]
{line("platform.domain", known.domain, EXAMPLE_DOMAIN, hint="the domain learners use")}
# folder = "openedx-ha"  # on each VM, below home

[tofu]
{line("tofu.folder", known.tofu_folder and str(known.tofu_folder), "infrastructure", "on this PC")}
# var_files = []
# [tofu.secrets]  # handed over as TF_VAR_<name>
# hcloud_token = {{ env = "HCLOUD_TOKEN" }}

[couchdb]
{line("couchdb.user", known.user, "admin")}
{secret("password", "COUCHDB_PASSWORD", "CouchDB's admin password")}
{cookie_remark if known.cookie_is_default else ""}\
{secret("cookie", "COUCHDB_COOKIE", "the cluster's Erlang cookie", not known.cookie_is_default)}
{secret("secret", "COUCHDB_SECRET", "the cluster's shared secret for logins")}

[backup]
# remote = "/backup"  # on the backup VM
# local = "~/openedx-backups"
# id = ""  # empty: the newest complete backup
# databases = []  # expected ones; empty: those the dumps hold
# schedule = "backup"  # the crontab line that makes backups contains this
# keep = 10  # copies kept on this PC
# copies = []  # further folders with copies, e.g. a drive that is attached now and then

# [dns]
# servers = []  # authoritative servers; empty: asked of the DNS

# What shows that the platform works; path on LMS (studio = true: Studio).
# [requests.course]
# path = "/courses/course-v1:ORG+COURSE+RUN/about"
# contains = "the course's title"
"""
    return text, hints


def _today(addresses: tuple[str, ...]) -> str:
    return f"today: {', '.join(addresses)}" if addresses else ""
