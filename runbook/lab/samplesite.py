"""The practice installation's settings and its OpenTofu checkout, as files in the lab's folder."""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import asyncssh

from runbook.lab import sampledata
from runbook.lab.layout import BACKUP, DOMAIN, MONITORING, PRODUCTION, SPECS, STUDIO, Layout
from runbook.lab.shims import CLIENT, quoted

HERE = Path(__file__).parent
TERRAFORM = HERE / "terraform"
#: learned by every redactor test: none of these may ever be printed
SECRETS = {
    "HCLOUD_TOKEN": "practice-hcloud-token-8Zk2vQ7LxW",
    "COUCHDB_PASSWORD": "practice-couchdb-password-5tRw9",
    "COUCHDB_COOKIE": "practice-erlang-cookie-x7Hq3",
    "COUCHDB_SECRET": "practice-cookie-auth-secret-m2Yp8",
    "ADMIN_PASSWORD": sampledata.ADMIN_PASSWORD,
}
SIMULATED = (
    "virtual machines: folders on this PC behind real SSH servers",
    "docker, docker-compose, df, cloud-init, crontab and sudo on the VMs",
    "CouchDB: a stand-in that speaks its protocol",
    "LMS, Studio, Caddy and the monitoring services",
    "DNS: an authoritative server for the practice domain only",
    "the certificate authority",
)


def write_secrets(layout: Layout) -> None:
    path = layout.site / "secrets.env"
    path.touch(0o600)
    path.write_text("".join(f"{key}={value}\n" for key, value in SECRETS.items()))


def write_key(layout: Layout) -> None:
    """The key pair that the practice site logs in with."""
    key = asyncssh.generate_private_key("ssh-ed25519", comment="practice-lab")
    private = layout.site / "id_ed25519"
    private.touch(0o600)
    key.write_private_key(private)
    key.write_public_key(layout.site / "id_ed25519.pub")


def write_ssh(layout: Layout, ports: dict[str, int], keys: dict[str, asyncssh.SSHKey]) -> None:
    """ssh_config maps the public addresses to loopback; known_hosts knows the VMs' keys under the
    address and under the loopback port."""
    config, known = [], []
    ours = {"UserKnownHostsFile": layout.site / "known_hosts", "IdentityFile": layout.site / "id_ed25519"}
    files = "".join(f'    {key} "{path}"\n' for key, path in ours.items())
    for name, spec in SPECS.items():
        config.append(
            f"Host {spec.public} {name}\n    HostName 127.0.0.1\n    Port {ports[name]}\n"
            f"    HostKeyAlias {spec.public}\n{files}    IdentitiesOnly yes\n"
        )
        public = keys[name].export_public_key("openssh").decode().strip()
        key = " ".join(public.split()[:2])
        known.append(f"{spec.public},[{spec.public}]:{ports[name]},[127.0.0.1]:{ports[name]} {key}\n")
    (layout.site / "ssh_config").write_text("\n".join(config))
    (layout.site / "known_hosts").write_text("".join(known))


def write_site(layout: Layout, dns_port: int, tofu: str) -> None:
    """``runbook.toml`` of the practice site. Every path is absolute: it works from anywhere."""
    secrets = layout.site / "secrets.env"

    def secret(key: str) -> dict[str, str]:
        return {"env_file": str(secrets), "key": key}

    data: dict[str, Any] = {
        "name": "Practice lab",
        "operator": "Practice Operator",
        "objectives": {"rto": "4h", "rpo": "24h"},
        "contacts": [
            {"name": "Practice Lead", "role": "incident lead", "phone": "+49 30 5550100", "when": "always"},
            {"name": "Practice Registrar", "role": "domain and DNS", "email": "dns@example.test"},
        ],
        "machines": {
            "user": "openedx",
            "backup_user": "backup-user",
            "key": str(layout.site / "id_ed25519"),
            "ssh_config": str(layout.site / "ssh_config"),
            "known_hosts": str(layout.site / "known_hosts"),
            # the backup VM lives; the production VMs are what OpenTofu's outputs say
            "backup": {"address": BACKUP.public, "internal": BACKUP.internal, "name": "backup"},
        },
        "platform": {
            "folder": "openedx-ha",
            "domain": DOMAIN,
            "public_through": "ssh",
            "ca_file": str(layout.site / "ca.pem"),
        },
        "tofu": {
            "folder": str(layout.infrastructure),
            "program": tofu,
            "secrets": {
                "hcloud_token": secret("HCLOUD_TOKEN"),
                "couchdb_password": secret("COUCHDB_PASSWORD"),
            },
        },
        "couchdb": {
            "user": "admin",
            "password": secret("COUCHDB_PASSWORD"),
            "cookie": secret("COUCHDB_COOKIE"),
            "secret": secret("COUCHDB_SECRET"),
        },
        "backup": {
            "remote": str(layout.remote_backups),
            "local": str(layout.backups),
            "schedule": "openedx-backup",
            "databases": [name for name in sampledata.DATABASES if name != "_replicator"],
        },
        "dns": {"servers": [f"127.0.0.1:{dns_port}"], "names": [DOMAIN, STUDIO, MONITORING]},
        "requests": {
            "admin_login": {
                "path": "/user_api/v1/account/login_session/",
                "method": "POST",
                "form": {"email": sampledata.ADMIN_EMAIL, "password": secret("ADMIN_PASSWORD")},
                "contains": '"success": true',
            },
            "course": {"path": f"/courses/{sampledata.COURSE}/about", "contains": sampledata.COURSE_TITLE},
            "user": {
                "path": f"/api/user/v1/accounts/{sampledata.LEARNER}",
                "contains": sampledata.LEARNER_NAME,
            },
            "upload": {"path": "/uploads/{name}"},
        },
    }
    layout.site_file.write_text(
        "# The practice lab's site. Written anew at each start of the lab.\n" + toml(data)
    )


def toml(table: dict[str, Any], prefix: str = "") -> str:
    """TOML of plain values, tables and lists; enough for the site (a JSON string is a TOML one)."""
    plain = {key: value for key, value in table.items() if not _is_table(value)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    text = "\n".join(lines) + "\n" if lines else ""
    for key, value in table.items():
        if isinstance(value, dict) and _is_table(value):
            text += f"\n[{prefix}{key}]\n{toml(value, f'{prefix}{key}.')}"
        elif isinstance(value, list) and _is_table(value):
            text += "".join(f"\n[[{prefix}{key}]]\n{toml(item)}" for item in value)
    return text


def _is_table(value: Any) -> bool:
    """Small flat dicts (secret references) are written inline."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict)
    return isinstance(value, dict) and "env_file" not in value


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def write_infrastructure(layout: Layout) -> None:
    """The platform's infrastructure folder: a real module whose provisioners start and remove the
    lab's VMs, and a state in which the backup VM is there and the production VMs are not."""
    folder = layout.infrastructure
    folder.mkdir(parents=True)
    for source in TERRAFORM.glob("*.tf*"):
        shutil.copyfile(source, folder / source.name)
    script = folder / "server"
    python, client, control = quoted(sys.executable), quoted(CLIENT), quoted(layout.socket)
    script.write_text(
        "#!/bin/sh\n# server create|delete NAME: asks the practice lab for a VM, as one asks a cloud.\n"
        f"exec '{python}' -SEs '{client}' '{control}' \"server_$1\" name=\"$2\"\n"
    )
    script.chmod(0o755)
    public_key = quoted(layout.site / "id_ed25519.pub")
    text = (
        (folder / "terraform.tfvars")
        .read_text()
        .replace("@PUBLIC_KEY@", public_key)
        .replace("@DOMAIN@", DOMAIN)
    )
    (folder / "terraform.tfvars").write_text(text)
    (folder / "terraform.tfstate").write_text(json.dumps(seeded_state(), indent=2) + "\n")


def seeded_state() -> dict[str, Any]:
    """A state file as tofu and terraform write it, holding the backup VM alone."""
    given = {"address": BACKUP.public, "name": "backup", "server_type": "cpx21"}
    typed = {"value": given, "type": ["object", dict.fromkeys(given, "string")]}
    trigger = {"value": ["cpx21"], "type": ["tuple", ["string"]]}
    attributes = {
        "id": str(uuid.uuid4()), "input": typed, "output": typed, "triggers_replace": trigger,
    }  # fmt: skip
    instance = {"schema_version": 0, "attributes": attributes, "sensitive_attributes": []}
    return {
        "version": 4,
        "terraform_version": "1.6.0",
        "serial": 7,
        "lineage": str(uuid.uuid4()),
        "outputs": {
            "backup_ip": {"value": BACKUP.public, "type": "string"},
            "production_ips": {"value": [], "type": ["tuple", []]},
        },
        "resources": [
            {
                "mode": "managed",
                "type": "terraform_data",
                "name": "backup",
                "provider": 'provider["terraform.io/builtin/terraform"]',
                "instances": [instance],
            }
        ],
        "check_results": None,
    }


def addresses() -> list[str]:
    return [spec.public for spec in PRODUCTION]
