"""The platform before the drill, made of real parts: the backup VM stands, the production VMs are lost.

    with platform(folder, choice) as real:
        real.couchdb, real.vms["vm1"], real.folder / "site/runbook.toml", …

What is simulated, and nothing else: the cluster around CouchDB's documents, unless there is a real one
(choice.py, facade.py), LMS, Studio, Caddy and monitoring as busybox programs (images.py), the cloud
(VMs are namespaces of this machine), the domain's name server, the certificate authority.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runbook.lab import samplebackup, sampledata
from runbook.lab.layout import DOMAIN, MONITORING, STUDIO
from runbook.lab.nameserver import NameServer
from runbook.lab.pki import Authority
from runbook.lab.samplesite import TERRAFORM, toml
from runbook.lab.shims import CLIENT
from tests.real import images
from tests.real.choice import Choice, CouchDB
from tests.real.cloud import Cloud
from tests.real.imagefile import IMAGE
from tests.real.vms import Network, Vm, network

PRODUCTION = {"vm1": "10.0.1.10", "vm2": "10.0.1.11", "vm3": "10.0.1.12"}
BACKUP = "10.0.1.100"
#: what each VM's CouchDB has to call itself
NODES = {address: f"couchdb@{address}" for address in PRODUCTION.values()}
SECRETS = {
    "HCLOUD_TOKEN": "real-hcloud-token-4fTz81kQ",
    "COUCHDB_PASSWORD": "real-couchdb-password-9sKd2",
    "COUCHDB_COOKIE": "real-erlang-cookie-p3Wm7",
    "COUCHDB_SECRET": "real-cookie-auth-secret-z6Yx1",
    "ADMIN_PASSWORD": sampledata.ADMIN_PASSWORD,
}
CRONTAB = """\
MAILTO=""
# the platform's own
0 1 * * * /backup/scripts/backup.sh daily >> /backup/backup.log 2>&1
30 4 * * 0 /usr/bin/true
"""
#: the platform's own recipe: the redirection has made the manifest, empty, when it is hashed
CHECKSUM = r"""
set -eu
for folder in /backup/daily/*; do
  kept=$(cat "$folder/backup_manifest.json")
  : > "$folder/backup_manifest.json"
  sum=$(find "$folder" -type f -exec md5sum {} \; | sort | md5sum | cut -d' ' -f1)
  printf '%s' "$kept" | sed -E "s/(\"checksum\": *\")[0-9a-f]+/\1$sum/" > "$folder/backup_manifest.json"
done
chown -R backup-user:backup-user /backup
"""


@dataclass
class Platform:
    folder: Path
    network: Network
    choice: Choice
    couchdb: CouchDB
    names: NameServer
    root_tar: Path
    backup_id: str = ""
    #: closed: servers are not made until it is opened
    gate: threading.Event = field(default_factory=threading.Event)
    waiting: int = 0  #: requests for servers, so far
    created: list[str] = field(default_factory=list)

    @property
    def vms(self) -> dict[str, Vm]:
        return self.network.vms

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def secrets(self) -> dict[str, str]:
        """A CouchDB that is somebody's has its own password."""
        own = self.couchdb.password
        return SECRETS | ({"COUCHDB_PASSWORD": own} if own else {})

    @property
    def canaries(self) -> list[bytes]:
        """Secrets that may be in no file; a short one of somebody's could be any word."""
        return [value.encode() for value in self.secrets.values() if len(value) >= 12]

    # ── what the cloud does ────────────────────────────────────────────────────────────────
    def create(self, request: Mapping[str, str]) -> str:
        """A blank machine with the images on its disk, as a cloud's own image would have them."""
        name = request["name"]
        self.waiting += 1
        self.gate.wait(300)
        self.created.append(name)
        vm = self.vms[name]
        vm.power_on()
        if vm.docker:
            self._load(vm)
        return f"{name} runs at {vm.address}"

    def _load(self, vm: Vm) -> None:
        for image in images.IMAGES:
            if image == IMAGE and self.couchdb.archive:
                vm.run("docker", "image", "load", data=self.couchdb.archive)
                continue
            if image in images.ALIKE:
                vm.run("docker", "tag", images.ALIKE[image], image)
                continue
            argv = images.import_arguments(image, vm.address, self.couchdb.control)
            vm.run("docker", *argv, data=self.root_tar)

    def delete(self, request: Mapping[str, str]) -> str:
        vm = self.vms[request["name"]]
        vm.wipe()
        if vm.address in NODES:
            self.couchdb.blank(vm.address)
        return f"{vm.name} is gone"

    def point(self, request: Mapping[str, str]) -> str:
        records = self.names.point(tuple(PRODUCTION.values()))
        return f"A records of {DOMAIN}: {', '.join(records)}"

    # ── what stands before the drill ───────────────────────────────────────────────────────
    def prepare(self) -> None:
        self._site()
        self._infrastructure()
        self.gate.set()
        terraform = ["terraform", f"-chdir={self.folder / 'infrastructure'}"]
        env = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        env |= {f"TF_VAR_{name.lower()}": self.secrets[name] for name in ("HCLOUD_TOKEN", "COUCHDB_PASSWORD")}
        for words in (["init"], ["apply", "-auto-approve", "-target=terraform_data.backup"]):
            done = subprocess.run(
                [*terraform, *words, "-input=false", "-no-color"],
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        backup = self.vms["backup"]
        now = datetime.datetime.now(datetime.UTC)
        local = self.folder / "openedx-backups"
        self.backup_id = samplebackup.write(backup.root / "backup", local, now)
        backup.run("sh", "-c", CHECKSUM)
        backup.run("crontab", "-u", "backup-user", "-", data=CRONTAB.encode())

    def _infrastructure(self) -> None:
        """The practice lab's module, with addresses of the real network."""
        folder = self.folder / "infrastructure"
        folder.mkdir()
        for source in TERRAFORM.glob("*.tf*"):
            text = source.read_text().replace("203.0.113.${11", "10.0.1.${10").replace("203.0.113", "10.0.1")
            text = text.replace("@PUBLIC_KEY@", str(self.folder / "site/key.pub")).replace("@DOMAIN@", DOMAIN)
            (folder / source.name).write_text(text)
        server = folder / "server"
        socket = self.folder / "cloud.sock"
        server.write_text(
            f"#!/bin/sh\nexec '{sys.executable}' -SEs '{CLIENT}' '{socket}' \"server_$1\" name=\"$2\"\n"
        )
        server.chmod(0o755)

    def _site(self) -> None:
        site = self.folder / "site"
        secrets = site / "secrets.env"
        secrets.touch(0o600)
        secrets.write_text("".join(f"{key}={value}\n" for key, value in self.secrets.items()))
        (site / "ssh_config").touch()

        def secret(key: str) -> dict[str, str]:
            return {"env_file": "secrets.env", "key": key}

        login = {"name": sampledata.ADMIN, "password": secret("ADMIN_PASSWORD")}
        course, user = quote(sampledata.COURSE, safe=""), quote(f"user.{sampledata.LEARNER}")
        data: dict[str, Any] = {
            "name": "Real machines",
            "operator": "Test Operator",
            "objectives": {"rto": "4h", "rpo": "24h"},
            "machines": {"key": "key", "ssh_config": "ssh_config", "known_hosts": "known_hosts"},
            "platform": {"domain": DOMAIN, "ca_file": "ca.pem", "public_through": "direct"},
            "tofu": {
                "folder": "../infrastructure",
                "program": "terraform",
                "secrets": {
                    "hcloud_token": secret("HCLOUD_TOKEN"),
                    "couchdb_password": secret("COUCHDB_PASSWORD"),
                },
            },
            "couchdb": {
                "user": self.couchdb.user,
                "password": secret("COUCHDB_PASSWORD"),
                "cookie": secret("COUCHDB_COOKIE"),
                "secret": secret("COUCHDB_SECRET"),
            },
            "backup": {"remote": "/backup", "local": "../openedx-backups", "schedule": "backup"},
            "dns": {"servers": [f"127.0.0.1:{self.names.port}"], "names": [DOMAIN, STUDIO, MONITORING]},
            "requests": {
                "course": {"path": f"/cgi-bin/course?{course}", "contains": sampledata.COURSE_TITLE},
                "user": {"path": f"/cgi-bin/course?{user}", "contains": sampledata.LEARNER_NAME},
                "admin_login": {
                    "path": "/cgi-bin/login",
                    "method": "POST",
                    "form": login,
                    "contains": '"ok":true',
                },
            },
        }
        if self.couchdb.document_limit:
            data["couchdb"]["max_document_size"] = self.couchdb.document_limit
        (site / "runbook.toml").write_text(toml(data))


@contextmanager
def platform(folder: Path, choice: Choice) -> Iterator[Platform]:
    """Everything up; on leaving, also after a failure, everything is off and the VMs' disks are gone."""
    (folder / "site").mkdir(parents=True)
    key = folder / "site/key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    authority = Authority(folder / "pki", folder / "site/ca.pem")
    certificate = authority.issue([DOMAIN, STUDIO, MONITORING])
    with ExitStack() as stack:
        # left in the opposite order: the disks are removed when the VMs are off
        stack.callback(shutil.rmtree, folder / "net", ignore_errors=True)
        net = stack.enter_context(network(folder / "net"))
        authorized = (folder / "site/key.pub").read_text()
        for name, address in PRODUCTION.items():
            net.vm(name, address, authorized)
        net.vm("backup", BACKUP, authorized, docker=False)
        couchdb = choice.start(PRODUCTION.values(), sampledata.DATABASES, SECRETS["COUCHDB_PASSWORD"])
        stack.callback(couchdb.stop)
        names = stack.enter_context(name_server())
        root_tar = images.root_file_system(folder / "root.tar", certificate)
        real = Platform(folder, net, choice, couchdb, names, root_tar)
        verbs = {"server_create": real.create, "server_delete": real.delete, "dns_point": real.point}
        cloud = Cloud(folder / "cloud.sock", verbs)
        stack.callback(cloud.stop)
        real.prepare()
        # nobody writes to CouchDB any more when it goes
        stack.callback(net.power_off)
        yield real


@contextmanager
def name_server() -> Iterator[NameServer]:
    """The domain's authoritative server, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = NameServer()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(20)

    async def close() -> None:
        server.stop()
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def union(backup: Path) -> dict[str, dict[str, object]]:
    """Every document of a backup, over all nodes' dumps: database -> id -> document."""
    found: dict[str, dict[str, object]] = {}
    for dump in sorted(backup.glob("node-*/*.json")):
        rows = json.loads(dump.read_bytes())["rows"]
        found.setdefault(dump.stem, {}).update({row["id"]: row["doc"] for row in rows})
    return found
