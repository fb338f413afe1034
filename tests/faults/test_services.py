"""CouchDB, OpenTofu and the DNS when they do not do as they should."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pexpect
import pytest

from runbook.events import ActStarted, Asked, AttemptStarted, StepEnded
from runbook.lab.samplesite import SECRETS
from tests.faults.world import WRONG_PASSWORD, Scene
from tests.lab.runs import command


def status(scene: Scene, name: str) -> tuple[str, int]:
    (found,) = [one for one in scene.call("containers", name=name) if one["Name"] == "/couchdb"]
    return found["State"]["Status"], found["RestartCount"]


def only(*names: str) -> Callable[[dict[str, Any]], None]:
    """A site of these production VMs alone."""

    def change(data: dict[str, Any]) -> None:
        machines = data["machines"]
        machines["production"] = [one for one in machines["production"] if one["name"] in names]

    return change


# ── CouchDB ────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Three CouchDBs that are one cluster, without databases of the platform."""
    made = Scene(tmp_path_factory.mktemp("cluster"))
    try:
        made.up("vm1", "vm2", "vm3")
        done = made.run("couchdb")
        assert done.returncode == 0, done.stderr
        yield made
        made.search()
    finally:
        made.down()


def test_a_wrong_couchdb_password(cluster: Scene) -> None:
    """The settings' password is not the cluster's: named with user and node, nothing is made."""
    other = cluster.secrets_file(COUCHDB_PASSWORD=WRONG_PASSWORD)
    site = cluster.site(lambda data: data["couchdb"]["password"].update(env_file=str(other)))
    before, world = cluster.databases(), cluster.world()
    done = cluster.run("databases", "--name", "wrong-password", site=site)
    assert done.returncode == 1
    assert "refused the login as 'admin'" in done.stderr
    assert "Check couchdb.user and couchdb.password in the settings" in done.stderr
    assert WRONG_PASSWORD not in done.stderr
    assert cluster.databases() == before and cluster.world() == world


def test_a_couchdb_with_a_password_of_its_own(scene: Scene) -> None:
    scene.up("vm1").break_("wrong-couch-password")
    done = scene.run("couchdb", site=scene.site(only("vm1")))
    assert done.returncode == 1
    assert "CouchDB on vm1 refused the login as 'admin'" in done.stderr
    assert scene.events(StepEnded)[-1].step == "couchdb"
    assert "cluster" not in {event.step for event in scene.events(AttemptStarted)}


def test_a_couchdb_that_dies_again_and_again(scene: Scene) -> None:
    """`up -d` exits 0 and compose says Up; the restart count tells the truth."""
    scene.up("vm1", "vm2").break_("couch-crash-loop", "vm2")
    done = scene.run("couchdb", site=scene.site(only("vm1", "vm2")))
    assert done.returncode == 1
    assert re.search(r"vm2: couchdb is not steady: crash loop: restarted \d+ times, last exit", done.stderr)
    assert "Crash dump is being written" in done.stderr, "its own last words"
    assert "Its last lines are in the output; all: docker logs couchdb." in done.stderr
    assert "The containers were left as they are" in done.stderr
    assert status(scene, "vm2")[1] >= 2
    assert status(scene, "vm1") == ("running", 0)
    assert "cluster" not in {event.step for event in scene.events(AttemptStarted)}
    scene.mend()
    again = scene.runbook("resume", "--yes")
    assert again.returncode == 0, again.stderr
    assert status(scene, "vm2")[0] == "running"


def test_the_cookie_monster_in_the_settings(scene: Scene) -> None:
    """Refused by the check of the settings; and by the step that would write it on the VMs."""
    scene.up("vm1", "vm2", "vm3")
    other = scene.secrets_file(COUCHDB_COOKIE="monster")
    site = scene.site(lambda data: data["couchdb"]["cookie"].update(env_file=str(other)))
    before = scene.world()
    done = scene.run("short-restore", site=site)
    assert done.returncode == 1
    assert "couchdb.cookie: is 'monster', the default, which CouchDB refuses" in done.stderr
    assert scene.world() == before

    done = scene.run("configure", "--name", "second", site=site)
    assert done.returncode == 1
    assert "The settings' couchdb.cookie is empty or 'monster'" in done.stderr
    assert "Nothing was changed. Set another cookie, the same for all VMs." in done.stderr
    for name in ("vm1", "vm2", "vm3"):
        folder = scene.layout.home(name) / "openedx-ha" / "docker"
        assert not (folder / "docker-compose.override.yml").exists()
        assert not [*folder.glob("*.before-*")]


def test_the_cookie_monster_on_the_machines(scene: Scene) -> None:
    scene.up("vm1").break_("cookie-monster")
    done = scene.run("couchdb", site=scene.site(only("vm1")))
    assert done.returncode == 1
    assert "CouchDB refuses the cookie `monster`, the default." in done.stderr
    assert "Give COUCHDB_COOKIE another value, the same on every VM" in done.stderr
    logs = [path.read_text() for path in (scene.state / "runs").glob("*/output/couchdb.*.vm1.log")]
    assert any("Monster detected" in text for text in logs)
    assert "cluster" not in {event.step for event in scene.events(AttemptStarted)}


# ── OpenTofu ───────────────────────────────────────────────────────────────────────────────
def tofu_state(scene: Scene) -> bytes:
    return (scene.layout.infrastructure / "terraform.tfstate").read_bytes()


def exists(scene: Scene) -> set[str]:
    machines = scene.call("status")["machines"]
    return {name for name, machine in machines.items() if machine["running"]}


def deploy(scene: Scene, *words: str) -> tuple[int, str]:
    """Against the lab's own settings: the production VMs are what OpenTofu says."""
    site = scene.site(lambda data: data["machines"].pop("production"))
    done = scene.run("deploy", *words, site=site)
    return done.returncode, done.stderr


def test_a_plan_that_would_delete_the_backup_vm(scene: Scene) -> None:
    scene.up().break_("plan-deletes-backup")
    before, state = scene.world(), tofu_state(scene)
    code, told = deploy(scene)
    assert code == 1
    assert "Refused: the plan would replace terraform_data.backup, the backup VM, while it holds" in told
    assert "Nothing was changed." in told and "Find out why OpenTofu wants that" in told
    assert tofu_state(scene) == state
    assert exists(scene) == {"backup"}
    assert scene.world() == before
    assert not scene.events(ActStarted) and not scene.events(Asked)[:-1]
    assert not [*scene.state.glob("runs/*/tofu/*")], "no plan file with secrets is left"


def test_a_plan_that_would_delete_a_vm_that_lives(scene: Scene) -> None:
    """Its name has to be typed, and --yes types none."""
    scene.up()
    code, told = deploy(scene)
    assert code == 0, told
    variables = scene.layout.infrastructure / "terraform.tfvars"
    text = variables.read_text()
    assert re.search(r"production_vm_count\s*=\s*3", text)
    variables.write_text(re.sub(r"(production_vm_count\s*=\s*)3", r"\g<1>2", text))
    before, state = scene.world(), tofu_state(scene)
    code, told = deploy(scene, "--name", "fewer")
    assert code == 3
    assert "It DESTROYS vm3. Each name has to be typed before anything is done." in told
    assert tofu_state(scene) == state and scene.world() == before
    assert exists(scene) == {"vm1", "vm2", "vm3", "backup"}


def test_a_cloud_that_has_no_more_servers(scene: Scene) -> None:
    """Failed half way, mended, resumed: what is there is what was asked for, and no more."""
    scene.up().break_("cloud-refuses")
    code, told = deploy(scene)
    assert code == 1
    assert "server type unavailable in this location (resource_unavailable)" in told
    assert "The provider has none left of what was asked for." in told
    assert "Done, and stays: nothing." in told and "terraform_data.production[2]" in told
    assert "set another server type or location in OpenTofu's variables" in told
    assert exists(scene) == {"backup"}
    scene.mend()
    again = scene.runbook("resume", "--yes")
    assert again.returncode == 0, again.stderr
    assert exists(scene) == {"vm1", "vm2", "vm3", "backup"}
    outputs = json.loads(tofu_state(scene))["outputs"]
    assert len(outputs["production_ips"]["value"]) == 3


def test_a_cloud_that_refuses_the_token_and_prints_it(scene: Scene) -> None:
    """Its reason is told, without the token; so is what was made before. (That it is nowhere is looked
    at after each of these tests.)"""
    scene.up()
    cloud = scene.layout.infrastructure / "server"
    kept = cloud.read_text()
    cloud.write_text(
        '#!/bin/sh\n[ "$2" = vm2 ] || exec sh ./server.kept "$@"\n'
        'echo "unauthorized: the token $TF_VAR_hcloud_token is invalid" >&2; exit 1\n'
    )
    (cloud.parent / "server.kept").write_text(kept)
    code, told = deploy(scene)
    assert code == 1
    assert "The provider refuses the token." in told and "the token [secret HCLOUD_TOKEN in" in told
    assert SECRETS["HCLOUD_TOKEN"] not in told
    assert "stays: create terraform_data.production[0], create terraform_data.production[2]." in told
    assert "Set a valid token" in told
    assert exists(scene) == {"vm1", "vm3", "backup"}


# ── the DNS, on a terminal ─────────────────────────────────────────────────────────────────
def test_a_stale_address_in_the_dns(scene: Scene) -> None:
    """A person says it is done; the authoritative server says it is not. Caddy is not started."""
    scene.up("vm1", "vm2", "vm3").break_("dns-stale")
    scene.call("dns_point")
    words = command(scene.state, "--site", str(scene.site()), "run", scene.guide("dns"), "--mode", "recovery")
    log = scene.folder / "terminal.log"
    child = pexpect.spawn(words[0], words[1:], encoding="utf-8", timeout=60, echo=False, dimensions=(24, 200))
    with log.open("w") as file:
        child.logfile_read = file
        child.expect(r"Do it.*\n\s+> ")
        child.sendline("go")
        child.expect("What did you do, or see\\?")
        child.expect("> ")
        child.sendline("I changed the three records")
        child.expect(r"FAIL operator: dns\.points_at_vms")
        child.expect(r"198\.51\.100\.2")
        child.expect(r"Stop and resume later.*\n\s+> ")
        child.sendline("nonsense")
        child.expect("Please one of: ")
        child.sendline("stop")
        child.expect("Run stopped. step dns failed")
        child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    said = log.read_text()
    scene.said.append(said)
    assert "Traceback" not in said
    assert "203.0.113.11 203.0.113.12 203.0.113.13, from every authoritative server" in said
    assert "caddy" not in {event.step for event in scene.events(AttemptStarted)}
