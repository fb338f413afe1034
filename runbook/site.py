"""The settings of one installation: ``runbook.toml`` -> Site. Typed; secrets only by reference.

(load(), masked(), init: see below the types.)
"""

from __future__ import annotations

import msgspec


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


class Backup(_Table, frozen=True, kw_only=True):
    remote: str = "/backup"  #: on the backup VM: daily/ weekly/ monthly/ below it
    local: str = "~/openedx-backups"
    id: str = ""  #: the backup to use; empty: the newest complete one
    databases: tuple[str, ...] = ()  #: expected; empty: those the dumps hold
    #: the line in the backup VM's crontab that makes backups contains this
    schedule: str = "backup"


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
