"""Bad backups: refused where they are looked at, and again where they would be used."""

from __future__ import annotations

import re

from runbook.events import CheckDone, StepEnded
from tests.faults.person import Person
from tests.faults.world import Scene

FROZEN = re.compile(r"^#runbook-frozen# .*openedx-backup", re.MULTILINE)


def crontab(scene: Scene) -> str:
    return (scene.layout.vm("backup") / "var" / "crontabs" / "backup-user").read_text()


def newest(scene: Scene) -> str:
    return max(path.name for path in (scene.layout.remote_backups / "daily").iterdir())


def on_production(scene: Scene) -> dict[str, str]:
    return {path: digest for path, digest in scene.world().items() if "vm/vm" in path or "container" in path}


def test_a_missing_dump(scene: Scene) -> None:
    """The newest backup lacks a database: a person chooses an older one, nobody else does."""
    scene.up("vm1", "vm2", "vm3").break_("missing-dump")
    before, id = scene.world(), newest(scene)
    done = scene.run("short-restore")
    assert done.returncode == 3
    assert f"backup {id} is not complete: node 10.0.1.10: lacks edxapp_files" in done.stderr
    assert f"The newest backup, {id}, is not complete. Which older one is used?" in done.stderr
    after = scene.world()
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    # the plan said so: the schedule is stopped before anything else, and the lease says by whom
    assert changed == {"vm/backup/var/crontabs/backup-user", "vm/backup/backup/.runbook-lease.json"}
    assert len(FROZEN.findall(crontab(scene))) == 3
    person = Person(failed="stop", choice__freeze="stop")
    assert person.resumes(scene.state, scene.site()) == "stopped"
    assert "choice" in person.kinds("freeze")
    assert scene.world().keys() == after.keys()
    older = next(q for q in person.asked if q.kind == "choice").options[0].value
    assert older < id
    chosen = Person(failed="stop", choice__freeze=older, confirm__unpack="stop")
    chosen.resumes(scene.state, scene.site())
    assert (scene.layout.backups / older / "node-10.0.1.10" / "edxapp_files.json").is_file()
    passed = {event.step for event in scene.events(StepEnded) if event.verdict in ("pass", "warn")}
    assert passed == {"freeze", "verify_backup"}


def test_a_cut_off_dump(scene: Scene) -> None:
    """Refused when the backup is verified; overridden by a person, the other nodes' copies are offered
    before the first document is written, with what can be lost by that."""
    scene.up("vm1", "vm2", "vm3").break_("cut-dump")
    before = on_production(scene)
    done = scene.run("short-restore")
    assert done.returncode == 1
    assert re.search(r"openedx_1\.json: Backup of openedx_1 is cut off after row \d+", done.stderr)
    assert "Run stopped. step verify_backup failed" in done.stderr
    assert on_production(scene) == before

    person = Person(
        failed__verify_backup="override", text="I want to see it", choice__restore="none", failed="stop"
    )
    assert person.resumes(scene.state, scene.site()) == "stopped"
    last, failed = person.asked[-2:]
    assert (last.kind, last.step) == ("choice", "restore")
    assert "copy of node 10.0.1.10 is damaged" in last.text and "cut off" in last.text
    assert "can be read; all of them are in the other copies" in last.text
    assert failed.kind == "failed" and "Nothing was restored" in failed.text
    counts = scene.databases()
    assert counts.pop("_users") == 1, "its design document is the server's own"
    assert set(counts) >= {"openedx_1", "openedx_2", "openedx_3", "edxapp_files"}
    assert not any(counts.values())


def test_an_unsafe_archive(scene: Scene) -> None:
    """Members that would land outside: nothing is unpacked, whoever overrides what."""
    scene.up("vm1", "vm2", "vm3").break_("unsafe-tar")
    before = on_production(scene)
    done = scene.run("short-restore")
    assert done.returncode == 1
    assert "Archive refused: member docker/config/certificates (link out)." in done.stderr
    assert "Nothing was unpacked." in done.stderr

    person = Person(failed__verify_backup="override", text="I want to see it", failed__unpack="stop")
    assert person.resumes(scene.state, scene.site()) == "stopped"
    last = person.asked[-1]
    assert (last.kind, last.step) == ("failed", "unpack")
    assert "Archive refused: member docker/config/certificates (link out)." in last.text
    assert on_production(scene) == before
    for name in ("vm1", "vm2", "vm3"):
        assert not [*scene.layout.vm(name).rglob("authorized_keys")]


def test_a_backup_that_is_moved_elsewhere_in_its_archive(scene: Scene) -> None:
    """Another folder's name, below openedx-ha/: found, adapted and started there."""
    scene.up("vm1", "vm2", "vm3").break_("compose-file-moved")
    person = Person(failed="stop")
    verdict = person.runs(scene.state, scene.site(), scene.guide("until-couchdb"))
    assert verdict == "passed", person.asked[-1].text
    for name in ("vm1", "vm2", "vm3"):
        folder = scene.layout.home(name) / "openedx-ha" / "deploy"
        assert (folder / "docker-compose.override.yml").is_file()
        assert not (folder.parent / "docker").exists()
    found = [event for event in scene.events(CheckDone) if event.check == "compose.file_found"]
    assert found and all("openedx-ha/deploy" in event.observed for event in found)
    assert scene.databases() == {}, "it answers; there is no cluster yet"


def test_an_archive_without_a_compose_file(scene: Scene) -> None:
    scene.up("vm1", "vm2", "vm3")
    for archive in scene.layout.backups.glob("*/node-*/config.tar.gz"):
        archive.write_bytes((archive.parent / "logs.tar.gz").read_bytes())
    before = on_production(scene)
    done = scene.run("configure")
    assert done.returncode == 1
    assert "config.tar.gz holds no compose file (docker-compose.yml, " in done.stderr
    assert "Nothing was changed." in done.stderr
    assert on_production(scene) == before


def test_a_cut_off_archive(scene: Scene) -> None:
    scene.up("vm1", "vm2", "vm3")
    for archive in scene.layout.backups.glob("*/node-*/config.tar.gz"):
        archive.write_bytes(archive.read_bytes()[:-100])
    before = on_production(scene)
    done = scene.run("configure")
    assert done.returncode == 1
    assert "config.tar.gz is damaged (cut off: " in done.stderr
    assert "nothing unpacked" in done.stderr
    assert on_production(scene) == before
