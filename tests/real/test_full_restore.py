"""The main job on real machines: sshd, terraform, dockerd, docker-compose, and somebody else's
document server, or CouchDB itself where there is one (choice.py). What stays simulated is said in
platform.py, and of CouchDB in the last lines of the tests' output.

    pytest tests/real/test_full_restore.py         # as root; about a minute and a half
    COUCHDB_IMAGE_TAR=couchdb-3.3.2.tar pytest …   # CouchDB from that `docker save` archive
    COUCHDB_URL=http://admin:…@127.0.0.1:5984 pytest …   # a CouchDB that stands already, and empty
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook import report
from runbook.events import ActEnded, CheckDone, JobEnded, JobStarted, Noted, RunVerdict, StepEnded
from runbook.record import journal
from runbook.report.verify import verify
from tests.real.choice import Choice
from tests.real.documents import CouchServer, Url
from tests.real.facade import Facade
from tests.real.imagefile import IMAGE
from tests.real.person import Person, drive
from tests.real.platform import CRONTAB, PRODUCTION, SECRETS, Platform, platform, union

pytestmark = [
    pytest.mark.real(
        *("root", "netns", "sshd", "dockerd", "docker-compose", "terraform", "npm", "busybox"),
        *("cron", "socat", "sudo"),
    ),
    pytest.mark.timeout(1500),
]

#: restored by nobody: its documents would start replications at once
NEVER = {"_replicator"}
#: made by the server itself
OWN = {"_users": {"_design/_auth"}}
CONTAINERS = {"couchdb", "lms", "cms", "caddy", "prometheus", "grafana", "cadvisor", "node-exporter"}


@dataclass
class Drill:
    real: Platform
    person: Person
    verdict: RunVerdict
    run: Path

    @property
    def events(self) -> list[Any]:
        return [record.event for record in journal.read(self.run)]


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory, couchdb: Choice) -> Iterator[Drill]:
    """One whole run; the tests below look at what it left in the world."""
    folder = tmp_path_factory.mktemp("real") / "p"
    with platform(folder, couchdb) as real:
        person = Person(folder)
        verdict, run = asyncio.run(drive(folder, person))
        yield Drill(real, person, verdict, run)


def test_the_drill_passes(drill: Drill) -> None:
    assert drill.verdict == "passed", drill.person.problems
    assert not drill.person.problems
    ended = [event for event in drill.events if isinstance(event, StepEnded)]
    assert len(ended) == 14
    remarks = {
        check.check.partition("(")[0]: check.observed
        for check in drill.person.checks
        if check.verdict != "pass"
    }
    assert remarks.keys() == {"backup.verified", "hosts.cloud_init_done"}, remarks
    assert "Would start replications" in remarks["backup.verified"], "the sample's, restored by nobody"
    assert "no cloud-init here" in remarks["hosts.cloud_init_done"]
    assert not any(check.simulated for check in drill.person.checks)


def test_couchdb_is_the_one_that_the_tests_name(drill: Drill, record_property: Any) -> None:
    """Its version, as the VMs answer it: of the image, or of the server at COUCHDB_URL."""
    choice, found = drill.real.choice, set()
    for address in PRODUCTION.values():
        login = drill.real.couchdb.user, drill.real.secrets["COUCHDB_PASSWORD"]
        reply = CouchServer(Url(address, 5984, *login)).call("GET", "/")
        found.add(json.loads(reply.body)["version"])
    record_property("CouchDB", f"{choice.label} ({', '.join(found)})")
    assert len(found) == 1
    if choice.archive:
        assert found == {IMAGE.partition(":")[2]}
    if choice.nodes:
        assert found == {seen.version for seen in choice.nodes.values()}


def test_each_fingerprint_was_compared_once(drill: Drill) -> None:
    asked = [question.text.split()[0] for question in drill.person.asked if question.kind == "host_key"]
    assert sorted(asked) == ["backup", *PRODUCTION]
    known = (drill.real.folder / "site/known_hosts").read_text()
    for vm in drill.real.vms.values():
        kind, key = (vm.root / "etc/ssh/host_ed25519.pub").read_text().split()[:2]
        assert f"{kind} {key}" in known


def test_every_document_is_on_a_server_that_is_not_ours(drill: Drill) -> None:
    """One by one, against the union of the three nodes' dumps."""
    backup = union(drill.real.folder / "openedx-backups" / drill.real.backup_id)
    assert sum(len(found) for name, found in backup.items() if name not in NEVER) > 5000
    for database, expected in backup.items():
        if database in NEVER:
            continue
        there = drill.real.couchdb.documents(database)
        own = OWN.get(database, set())
        assert there.keys() - own == expected.keys() - own, database
        for identifier in expected.keys() - own:
            assert there[identifier] == expected[identifier], f"{database}: {identifier}"
    if isinstance(drill.real.couchdb, Facade):
        answered = drill.real.couchdb.answered
        assert answered["POST _bulk_docs"] >= 15 and answered["GET _all_docs"] >= 10, answered
        assert answered["POST _session"] >= len(PRODUCTION), "the admin logged in to it, on every VM"


def test_nodenames_and_the_cookie_arrived_in_the_containers(drill: Drill) -> None:
    for vm in (drill.real.vms[name] for name in PRODUCTION):
        (found,) = json.loads(vm.run("docker", "inspect", "couchdb"))
        env = dict(line.partition("=")[::2] for line in found["Config"]["Env"])
        assert env["NODENAME"] == vm.address
        assert env["COUCHDB_ERLANG_COOKIE"] == SECRETS["COUCHDB_COOKIE"]
    if drill.real.choice.archive is None:
        boots = drill.real.couchdb.boots
        assert {boot["NODENAME"] for boot in boots} == set(PRODUCTION.values())
        assert {boot["COUCHDB_ERLANG_COOKIE"] for boot in boots} == {SECRETS["COUCHDB_COOKIE"]}
        assert len(boots) == 3, "no container was ever restarted"


def test_all_services_run_unrestarted_on_every_vm(drill: Drill) -> None:
    for vm in (drill.real.vms[name] for name in PRODUCTION):
        ids = vm.run("docker", "ps", "-aq").split()
        found = json.loads(vm.run("docker", "inspect", *ids))
        names = {one["Name"].lstrip("/") for one in found}
        assert names == CONTAINERS, "watchtower was never started"
        for one in found:
            assert one["State"]["Status"] == "running" and one["RestartCount"] == 0, one["Name"]
            assert one["Config"]["Labels"]["com.docker.compose.project"] == "docker"


def test_each_vm_has_its_own_settings_and_the_originals_beside_them(drill: Drill) -> None:
    for index, vm in enumerate((drill.real.vms[name] for name in PRODUCTION), 1):
        folder = vm.root / "home/openedx/openedx-ha/docker"
        env = dict(
            line.partition("=")[::2] for line in (folder / ".env").read_text().splitlines() if "=" in line
        )
        assert env["VM_INDEX"] == str(index)
        assert env["COUCHDB_COOKIE"] == SECRETS["COUCHDB_COOKIE"]
        assert env["PLATFORM_NAME"] == '"Practice University"', "what was not ours to change is as it was"
        override = yaml.safe_load((folder / "docker-compose.override.yml").read_text())
        assert override["services"]["couchdb"]["environment"]["NODENAME"] == vm.address
        (before,) = folder.glob(".env.before-*")
        assert "COUCHDB_COOKIE=monster" in before.read_text()
        assert (folder / ".env").stat().st_mode & 0o777 == 0o600


def test_the_backup_vm_is_as_it_was_and_keeps_the_pin(drill: Drill) -> None:
    backup = drill.real.vms["backup"]
    assert backup.run("crontab", "-u", "backup-user", "-l") == CRONTAB
    assert not (backup.root / "backup/.runbook-lease.json").exists()
    pinned = backup.root / "backup/pinned" / drill.real.backup_id
    daily = backup.root / "backup/daily" / drill.real.backup_id
    assert sorted(p.name for p in pinned.rglob("*")) == sorted(p.name for p in daily.rglob("*"))
    assert sorted(drill.real.created) == sorted(["backup", *PRODUCTION]), "each machine was made once"


def test_the_journal_and_the_report_verify(drill: Drill) -> None:
    assert journal.verify(drill.run).ok
    report.save(drill.run)
    proved = verify(drill.run)
    assert proved.ok, proved.problems
    text = report.text(drill.run)
    assert "drill" in text and "simulated, never proves" not in text
    for step in ("freeze", "deploy", "unpack", "adapt", "couchdb", "cluster", "restore", "caddy", "verify"):
        assert step in text
    events = drill.events
    assert all(event.outcome == "done" for event in events if isinstance(event, ActEnded))
    jobs = {event.job for event in events if isinstance(event, JobStarted)}
    assert jobs == {event.job for event in events if isinstance(event, JobEnded)} and len(jobs) == 10
    judged = {event.step for event in events if isinstance(event, CheckDone) and event.phase == "after"}
    assert len(judged) == 14, "every step was judged by the world"
    copies = [e.data for e in events if isinstance(e, Noted) and e.data.get("kind") == "copies"]
    assert copies and all(one["copies"] == 3 and one["equal"] for one in copies)


def test_no_secret_is_in_any_file_the_run_leaves(drill: Drill) -> None:
    canaries = drill.real.canaries
    assert len(canaries) >= 4
    files = [path for path in drill.real.state.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        data = path.read_bytes()
        assert not [canary for canary in canaries if canary in data], path
    for vm in drill.real.vms.values():
        left = [*(vm.root / "tmp").rglob("*"), *(vm.root / "home").rglob("*job*")]
        for path in filter(Path.is_file, left):
            assert not [canary for canary in canaries if canary in path.read_bytes()], path


def test_nothing_is_left_running_on_the_machines(drill: Drill) -> None:
    """No job, no shell, no upload: only what stood there and what compose started."""
    for vm in drill.real.vms.values():
        told = vm.run("ps", "-eo", "user:20,args")
        mine = [line for line in told.splitlines() if line.split()[0] in ("openedx", "backup-user")]
        assert not mine, mine
        assert not list((vm.root / "home/openedx").glob("*.part"))
