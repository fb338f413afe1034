"""Machines that are not who they were, not there, or full."""

from __future__ import annotations

import re

import pytest

from runbook.events import ActStarted, Ran, StepEnded
from tests.faults.person import Person
from tests.faults.world import Scene

CHANGED = re.compile(
    r"Host key of (\w+) CHANGED \(was (SHA256:\S+), now (SHA256:\S+)\)\. Nothing was sent to it\."
)


def test_a_changed_host_key(scene: Scene) -> None:
    scene.up()
    known = (scene.layout.site / "known_hosts").read_bytes()
    scene.break_("host-key-changed", "backup")
    before = scene.world()
    done = scene.run("look")
    assert done.returncode == 1
    found = CHANGED.search(done.stderr)
    assert found and found[1] == "backup" and found[2] != found[3]
    told = " ".join(done.stderr.split())
    assert "Was backup rebuilt? If not, something else may answer in its place: do not go on" in told
    assert "If it was, compare on its console and trust it anew. Only then: ssh-keygen" in told
    assert done.stderr.count("CHANGED") == 2  # by the check, and as the reason why the step failed
    assert "ssh-keygen -R '203.0.113.100' -f " in done.stderr
    assert scene.world() == before
    assert (scene.layout.site / "known_hosts").read_bytes() == known


def test_a_changed_host_key_of_one_of_three(scene: Scene) -> None:
    """What cannot be planned everywhere is begun nowhere."""
    scene.up("vm1", "vm2", "vm3").break_("host-key-changed", "vm2")
    before = scene.world()
    done = scene.run("configure")
    assert done.returncode == 1
    assert {found[1] for found in CHANGED.finditer(done.stderr)} == {"vm2"}
    assert scene.world() == before


def test_an_unknown_host_key(scene: Scene) -> None:
    """Asked with its fingerprint. Nobody there, or "no": not even a login is tried."""
    scene.up()
    known = scene.folder / "known_hosts"
    site = scene.site(lambda data: data["machines"].update(known_hosts=str(known)))
    before = scene.world()
    done = scene.run("look", site=site)
    assert done.returncode == 3
    assert re.search(r"backup is not known yet\. Its host key's fingerprint is SHA256:\S+\.", done.stderr)
    assert "Compare it with the machine's console." in done.stderr

    nobody = Person(failed="stop")  # the default answer is: do not connect
    assert nobody.resumes(scene.state, site) == "stopped"
    assert nobody.kinds() == ["host_key", "failed"]
    assert not known.exists() and scene.world() == before
    assert not scene.events(Ran) and not scene.events(ActStarted)

    trusting = Person(host_key="accept")
    assert trusting.resumes(scene.state, site) == "passed"
    assert trusting.kinds().count("host_key") == 1
    (line,) = known.read_text().splitlines()
    assert line.startswith("203.0.113.100 ssh-ed25519 ")
    assert (scene.layout.home("backup", "backup-user") / "written-by-the-run").exists()


def test_three_unknown_host_keys(scene: Scene) -> None:
    """Each is asked about once, one after the other."""
    scene.up("vm1", "vm2", "vm3")
    known = scene.folder / "known_hosts"
    site = scene.site(lambda data: data["machines"].update(known_hosts=str(known)))
    before = scene.world()
    done = scene.run("configure", site=site)
    assert done.returncode == 3 and scene.world() == before
    person = Person(host_key="accept", confirm="stop")
    assert person.resumes(scene.state, site) == "stopped"
    assert person.kinds().count("host_key") == 3
    assert {q.text.split()[0] for q in person.asked if q.kind == "host_key"} == {"vm1", "vm2", "vm3"}
    assert len(known.read_text().splitlines()) == 3


def test_an_unreachable_vm(scene: Scene) -> None:
    scene.up("vm1", "vm2", "vm3").break_("vm-down", "vm2")
    before = scene.world()
    done = scene.run("configure")
    assert done.returncode == 1
    assert re.search(r"vm2 \(203\.0\.113\.12\) cannot be reached over SSH: .+\. Nothing was run", done.stderr)
    assert "Is the machine up, and its address and firewall right?" in done.stderr
    assert scene.world() == before, "and on the others nothing either"


@pytest.mark.parametrize("there", [False, True], ids=["blank", "with-an-old-one"])
def test_a_disk_that_is_full_in_the_middle(scene: Scene, there: bool) -> None:
    """The others go on; there, what was there is as it was, and nothing half is left."""
    scene.up("vm1", "vm2", "vm3")
    home = scene.layout.home("vm2")
    if there:
        (home / "openedx-ha").mkdir()
        (home / "openedx-ha" / "precious").write_text("the only copy")
    scene.break_("disk-full", "vm2")
    done = scene.run("configure")
    assert done.returncode == 1
    assert "vm2: the disk is full; openedx-ha is as it was, the half is removed." in done.stderr
    assert "Make room there (df -h; docker image prune), then try again." in done.stderr
    assert [path.name for path in home.glob("openedx-ha*")] == (["openedx-ha"] if there else [])
    if there:
        assert [path.name for path in (home / "openedx-ha").iterdir()] == ["precious"]
    for name in ("vm1", "vm3"):
        assert (scene.layout.home(name) / "openedx-ha" / "docker" / "docker-compose.yml").is_file()
    scene.mend()
    begun = len(scene.events(ActStarted))
    again = scene.runbook("resume", "--yes")
    assert again.returncode == 0, again.stderr
    retried = {event.host for event in scene.events(ActStarted)[begun:] if event.step == "unpack"}
    assert retried == {"vm2"}, "the others are already so"
    kept = [path.name for path in home.glob("openedx-ha.before-*")]
    assert len(kept) == there


def test_a_disk_that_is_full_before(scene: Scene) -> None:
    scene.up("vm1", "vm2", "vm3").break_("disk-full", "vm2")
    before = scene.world()
    done = scene.run("couchdb")
    assert done.returncode == 1
    assert "FAIL vm2: before: hosts.disk_free(min='1GB'): 0 B free" in done.stderr
    assert "expected: 1.0 GB free" in done.stderr
    assert [(e.step, e.how) for e in scene.events(StepEnded)] == [("unpack", "checked")]
    assert scene.world() == before
