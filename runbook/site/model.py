"""The settings of one installation: ``runbook.toml`` -> Site. Typed; secrets only by reference.

The types first; below them ``find``, ``load`` and ``masked``. A first file: see siteinit.py.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from runbook.errors import SiteError, UseError
from runbook.site.check import Walk

_FIRST = (
    "Write a first one with `runbook site init`, or practise without: `runbook run GUIDE --mode practice`."
)


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class SecretRef(_Table, frozen=True, kw_only=True):
    """Where a secret lives; exactly one of these forms:

    ``{ env = "NAME" }`` · ``{ file = "path" }`` (mode 0600 or stricter) ·
    ``{ env_file = "path", key = "NAME" }`` · ``{ command = ["pass", "show", "x"] }`` ·
    ``{ ask = "what to ask for" }`` (asked once a run)
    """

    env: str | None = None
    file: str | None = None
    env_file: str | None = None
    key: str | None = None
    command: tuple[str, ...] | None = None
    ask: str | None = None


class Contact(_Table, frozen=True, kw_only=True):
    name: str
    role: str = ""
    phone: str = ""
    email: str = ""
    when: str = ""


class Objectives(_Table, frozen=True, kw_only=True):
    rto: str = "4h"
    rpo: str = "24h"


class ListedMachine(_Table, frozen=True, kw_only=True):
    """A machine by hand, when OpenTofu does not make it."""

    address: str
    internal: str = ""
    name: str = ""


class Machines(_Table, frozen=True, kw_only=True):
    """Production VM n is ``vm<n>``; the backup VM is ``backup``. ``production``/``backup`` list
    them; where they are empty, OpenTofu's outputs (``production_output``, ``backup_output``) say,
    as an earlier step saved them or ``tofu output -json`` tells. ``internal_base`` gives VM n the internal
    address base+n-1 when none is listed."""

    user: str = "openedx"
    backup_user: str = "backup-user"
    key: str = ""  #: private key file; empty: ssh-agent and the ssh_config's choice
    ssh_config: str = "~/.ssh/config"
    known_hosts: str = ""  #: empty: known_hosts beside runbook.toml's state (one file a site)
    production: tuple[ListedMachine, ...] = ()
    backup: ListedMachine | None = None
    production_output: str = "production_ips"
    backup_output: str = "backup_ip"
    count: int = 3
    internal_base: str = "10.0.1.10"
    backup_internal: str = "10.0.1.100"


class Platform(_Table, frozen=True, kw_only=True):
    folder: str = "openedx-ha"  #: on each VM, relative to home
    project: str = ""  #: docker-compose project name; empty: the compose folder's own default
    domain: str
    #: how the public addresses are looked at: from this PC, or from the VM itself over SSH
    public_through: str = "direct"  #: direct | ssh
    ca_file: str = ""  #: extra certificate authority for HTTPS checks (staging, lab)
    lms_port: int = 8000
    cms_port: int = 8001
    caddy_port: int = 443


class Tofu(_Table, frozen=True, kw_only=True):
    folder: str = "infrastructure"  #: on this PC, relative to runbook.toml
    program: str = ""  #: tofu or terraform or a path; empty: tofu, else terraform, on the PATH
    workspace: str = "default"
    var_files: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    secrets: dict[str, SecretRef] = {}  #: handed over as TF_VAR_<name>


class CouchDB(_Table, frozen=True, kw_only=True):
    user: str = "admin"
    password: SecretRef
    port: int = 5984
    cookie: SecretRef
    secret: SecretRef
    q: int = 8
    n: int = 3
    max_document_size: int = 200_000_000
    node_prefix: str = "couchdb"  #: node names are <prefix>@<internal address>
    #: the nodes' addresses where they can be reached directly; empty: through SSH, on the machines
    urls: tuple[str, ...] = ()


class Backup(_Table, frozen=True, kw_only=True):
    remote: str = "/backup"  #: on the backup VM: daily/ weekly/ monthly/ below it
    local: str = "~/openedx-backups"
    id: str = ""  #: the backup to use; empty: the newest complete one
    databases: tuple[str, ...] = ()  #: expected; empty: those the dumps hold
    #: the line in the backup VM's crontab that makes backups contains this
    schedule: str = "backup"
    keep: int = 10  #: copies kept on this PC
    #: further folders with copies, a mounted drive for example; one that is not there now is no error
    copies: tuple[str, ...] = ()


class Dns(_Table, frozen=True, kw_only=True):
    #: authoritative servers as address or address:port; empty: asked of the DNS (NS records)
    servers: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  #: empty: the domain alone


class Request(_Table, frozen=True, kw_only=True):
    """One HTTP request that shows something to work: ``path`` on the LMS of a VM."""

    path: str
    method: str = "GET"
    form: dict[str, str | SecretRef] = {}
    headers: dict[str, str] = {}
    status: int = 200
    contains: str = ""
    studio: bool = False


class Requests(_Table, frozen=True, kw_only=True):
    admin_login: Request | None = None
    course: Request | None = None
    user: Request | None = None
    #: {name} stands for the upload's document id
    upload: Request | None = None


class Site(_Table, frozen=True, kw_only=True):
    name: str
    objectives: Objectives = Objectives()
    contacts: tuple[Contact, ...] = ()
    machines: Machines = Machines()
    platform: Platform
    tofu: Tofu = Tofu()
    couchdb: CouchDB
    backup: Backup = Backup()
    dns: Dns = Dns()
    requests: Requests = Requests()
    #: names of people who may confirm, for the report
    operator: str = ""


def load(path: Path, *, state: Path | None = None) -> Site:
    """The settings in that file, its paths made absolute (relative ones start at the file's
    folder). ``state`` is where known_hosts goes when none is named. Raises SiteError with every
    problem; nothing is touched, no secret is looked up."""
    path = _home(path).absolute()
    data = _read(path)
    found = Walk(SecretRef, lambda value: resolve_path(path, value)).problems(data, Site)
    if found:
        raise SiteError(str(path), found)
    site = msgspec.convert(data, Site, strict=True)
    return _absolute(site, path, state or state_folder(os.environ))


def _read(path: Path) -> dict[str, Any]:
    def refused(text: str) -> SiteError:
        return SiteError(str(path), [("the file", text)])

    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise refused(f"cannot be read: {error.strerror}; `runbook site init` writes a first one") from None
    except UnicodeDecodeError as error:
        raise refused(f"is not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise refused("is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise refused(f"is not TOML: {error}") from None


def resolve_path(site_path: Path, value: str) -> str:
    """A path of the settings, absolute: ``~`` is this user's home, others start at the folder of
    runbook.toml. An empty one stays empty."""
    return str(site_path.parent / _home(value)) if value else ""


def _home(value: str | Path) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError:  # ~somebody who is not known here: taken as it stands
        return Path(value)


def _absolute(site: Site, path: Path, state: Path) -> Site:
    def at(value: str) -> str:
        return resolve_path(path, value)

    def secret(ref: SecretRef) -> SecretRef:
        return replace(ref, file=ref.file and at(ref.file), env_file=ref.env_file and at(ref.env_file))

    def field(item: str | SecretRef) -> str | SecretRef:
        return secret(item) if isinstance(item, SecretRef) else item

    def request(one: Request | None) -> Request | None:
        return one and replace(one, form={name: field(item) for name, item in one.form.items()})

    machines, tofu, couchdb, requests = site.machines, site.tofu, site.couchdb, site.requests
    known_hosts = at(machines.known_hosts) or str(state / f"known_hosts-{slug(site.name)}")
    return replace(
        site,
        machines=replace(
            machines, key=at(machines.key), ssh_config=at(machines.ssh_config), known_hosts=known_hosts
        ),
        platform=replace(site.platform, ca_file=at(site.platform.ca_file)),
        tofu=replace(
            tofu,
            folder=at(tofu.folder),
            program=at(tofu.program) if "/" in tofu.program else tofu.program,
            var_files=tuple(map(at, tofu.var_files)),
            secrets={name: secret(ref) for name, ref in tofu.secrets.items()},
        ),
        couchdb=replace(
            couchdb,
            password=secret(couchdb.password),
            cookie=secret(couchdb.cookie),
            secret=secret(couchdb.secret),
        ),
        backup=replace(
            site.backup, local=at(site.backup.local), copies=tuple(at(one) for one in site.backup.copies)
        ),
        requests=Requests(
            admin_login=request(requests.admin_login),
            course=request(requests.course),
            user=request(requests.user),
            upload=request(requests.upload),
        ),
    )


def slug(name: str) -> str:
    """A name fit for a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "site"


def state_folder(env: Mapping[str, str], explicit: Path | None = None) -> Path:
    """Where runs and the like are kept: ``--state``, RUNBOOK_STATE, $XDG_STATE_HOME/runbook."""
    if explicit or env.get("RUNBOOK_STATE"):
        return _home(explicit or env["RUNBOOK_STATE"]).absolute()
    return _home(env.get("XDG_STATE_HOME") or "~/.local/state") / "runbook"


def find(explicit: Path | None, env: Mapping[str, str], cwd: Path) -> Path:
    """The settings to use: ``--site``, RUNBOOK_SITE, ./runbook.toml, then
    $XDG_CONFIG_HOME/runbook/runbook.toml. Raises UseError naming the places looked at."""
    for source, named in (("--site", explicit), ("RUNBOOK_SITE", env.get("RUNBOOK_SITE"))):
        if named:
            path = cwd / _home(named)
            if path.is_file():
                return path
            raise UseError(f"There is no settings file {path} (from {source}).", next=_FIRST)
    config = _home(env.get("XDG_CONFIG_HOME") or "~/.config")
    places = [cwd / "runbook.toml", config / "runbook" / "runbook.toml"]
    for path in places:
        if path.is_file():
            return path
    raise UseError(f"No settings found: neither {places[0]} nor {places[1]} exists.", next=_FIRST)


def masked(site: Site) -> dict[str, Any]:
    """The settings as JSON values, for journal and screen. Secrets are not in a Site at all, only
    their references, which are shown. ``from_record`` makes a Site of it again."""
    return cast(dict[str, Any], _without_none(msgspec.to_builtins(site)))


def from_record(data: Mapping[str, Any]) -> Site:
    """The settings that a journal holds. Raises SiteError."""
    try:
        return msgspec.convert(data, Site, strict=True)
    except msgspec.ValidationError as error:
        raise SiteError("the journal's settings", [("site", str(error))]) from None


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
