"""Everything that can be broken is broken in the world, not only by name, and mends again."""

from __future__ import annotations

import asyncio
import json
import tarfile
from pathlib import Path

import asyncssh
import pytest

from runbook.errors import EXIT_USE
from runbook.lab import LabError, cli
from runbook.lab.faults import FAULTS
from tests.lab.conftest import Lab, until
from tests.lab.test_lab_platform import compose, compose_dir, couch, fetch, inspected, unpacked


def newest(lab: Lab) -> Path:
    return max((lab.layout.remote_backups / "daily").iterdir())


async def test_disk_full(lab: Lab) -> None:
    connection = await lab.ssh("backup", "backup-user")
    await lab.call("break", fault="disk-full", machine="backup")
    for command in ("df -Pk .", "df -B1 --output=avail,size .", "df -h"):
        ran = await connection.run(command)
        assert ran.exit_status == 0
        assert all("0" in line.split() for line in ran.stdout.splitlines()[1:]), ran.stdout
    assert "No space left" in (await connection.run("tar -xzf nothing.tar.gz")).stderr
    await lab.call("mend")
    assert (await connection.run("df -Pk . | awk 'NR==2 {print $4}'")).stdout.strip() != "0"


async def test_host_key_changed(lab: Lab) -> None:
    await lab.call("break", fault="host-key-changed", machine="backup")
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await lab.ssh("backup", "backup-user")
    await lab.call("mend", fault="host-key-changed", machine="backup")
    await lab.ssh("backup", "backup-user")


async def test_couchdb_faults(lab: Lab) -> None:
    connection = await unpacked(lab, "vm1")
    await compose(lab, connection, "vm1", "up -d couchdb")

    async def restarting() -> bool:
        return bool((await inspected(connection, "couchdb"))["RestartCount"] >= 1)

    await lab.call("break", fault="couch-crash-loop", machine="vm1")
    await until(restarting)
    assert "Crash dump" in (await connection.run("docker logs couchdb")).stdout
    await lab.call("mend")
    assert (await fetch(connection, 5984, couch("GET", "/_all_dbs")))[0] == 200
    await lab.call("break", fault="wrong-couch-password")
    assert (await fetch(connection, 5984, couch("GET", "/_all_dbs")))[0] == 401
    await lab.call("mend")
    await lab.call("break", fault="cookie-monster")
    await until(restarting)
    await lab.call("mend")
    assert (await fetch(connection, 5984, couch("GET", "/_all_dbs")))[0] == 200


async def test_one_nodes_couchdb_can_be_made_to_fail(lab: Lab) -> None:
    connection = await unpacked(lab, "vm1")
    with pytest.raises(LabError, match="no CouchDB runs"):
        await lab.call("couch", name="vm1", do="fail_next", n=1, status=500)
    await compose(lab, connection, "vm1", "up -d couchdb")
    await lab.call("couch", name="vm1", do="fail_next", n=1, status=503)
    assert (await fetch(connection, 5984, couch("GET", "/_all_dbs")))[0] == 503
    assert (await fetch(connection, 5984, couch("GET", "/_all_dbs")))[0] == 200


async def test_damaged_backups(lab: Lab) -> None:
    folder = newest(lab)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    older = folder.parent / sorted(path.name for path in folder.parent.iterdir())[-2]
    old = {path: path.read_bytes() for path in older.rglob("*") if path.is_file()}

    await lab.call("break", fault="cut-dump")
    cut = (folder / "node-10.0.1.10" / "openedx_1.json").read_bytes()
    assert not cut.endswith(b"]}\n")
    checksum = json.loads((folder / "backup_manifest.json").read_bytes())["checksum"]
    assert checksum != json.loads(before[folder / "backup_manifest.json"])["checksum"]
    await lab.call("break", fault="missing-dump")
    assert not list(folder.glob("node-*/edxapp_files.json"))
    await lab.call("break", fault="unsafe-tar")
    with tarfile.open(folder / "node-10.0.1.12" / "config.tar.gz") as archive:
        assert "../../.ssh/authorized_keys" in archive.getnames()
    await lab.call("break", fault="compose-file-moved")
    with tarfile.open(folder / "node-10.0.1.12" / "config.tar.gz") as archive:
        assert "openedx-ha/deploy/docker-compose.yml" in archive.getnames()
        env = archive.extractfile("openedx-ha/deploy/.env").read().decode()  # type: ignore[union-attr]
    assert "VM_INDEX=3" in env
    await lab.call("mend")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert {path: path.read_bytes() for path in older.rglob("*") if path.is_file()} == old


async def test_slow_link(lab: Lab) -> None:
    connection = await lab.ssh("backup", "backup-user")
    loop = asyncio.get_running_loop()

    async def seconds() -> float:
        began = loop.time()
        await connection.run("true")
        return loop.time() - began

    quick = await seconds()
    await lab.call("break", fault="slow-link")
    assert await seconds() > max(0.25, quick)


async def test_a_moved_port_clash_shows_in_v1(lab: Lab) -> None:
    """docker-compose 1 adds an override's ports to those of the first file, and knows no tags."""
    connection = await unpacked(lab, "vm2")
    override = compose_dir(lab, "vm2") / "docker-compose.override.yml"
    kept = override.read_text()
    override.write_text(kept + '  node-exporter:\n    ports: ["19100:9100"]\n')
    ran = await compose(lab, connection, "vm2", "config")
    assert "19100:9100" in ran.stdout and "9101:9100" in ran.stdout
    override.write_text(kept + '  node-exporter:\n    ports: !override ["19100:9100"]\n')
    assert (await compose(lab, connection, "vm2", "config")).exit_status == 1
    override.write_text(kept.replace('version: "3.8"\n', ""))
    assert "Version mismatch" in (await compose(lab, connection, "vm2", "config")).stderr


async def test_faults_need_their_machine(lab: Lab) -> None:
    with pytest.raises(LabError, match="needs a machine"):
        await lab.call("break", fault="vm-down")
    with pytest.raises(LabError, match="does not exist yet"):
        await lab.call("break", fault="vm-down", machine="vm2")
    with pytest.raises(LabError, match="there is no fault"):
        await lab.call("break", fault="gremlins")
    listed = await lab.call("faults")
    assert {fault["name"] for fault in listed} == set(FAULTS)


@pytest.mark.parametrize("verb", ["break", "mend"])
async def test_what_there_is_not_is_refused_with_what_there_is(lab: Lab, verb: str) -> None:
    await lab.call("break", fault="dns-stale")
    for fault, machine, words in (
        ("nope", "", ", ".join(FAULTS)),
        ("vm-down", "vm9", "there is no machine 'vm9'; there are .*vm1, vm2, vm3"),
        ("dns-stale", "vm1", "about no single machine"),
    ):
        with pytest.raises(LabError, match=words) as refused:
            await lab.call(verb, fault=fault, machine=machine)
        assert refused.value.exit_code == EXIT_USE
    assert (await lab.call("status"))["faults"] == ["dns-stale"], "and nothing was changed"


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert cli.main(["break", "--list"], tmp_path) == 0
        assert "vm-down VM" in capsys.readouterr().out
        assert cli.main(["up"], tmp_path) == 0
        assert "runbook.toml" in capsys.readouterr().out
        for line in (["--json", "status"], ["status", "--json"]):
            assert cli.main(line, tmp_path) == 0
            assert json.loads(capsys.readouterr().out)["machines"]["backup"]["running"] is True
        assert cli.main(["dns", "point"], tmp_path) == 0
        assert cli.main(["break", "dns-stale"], tmp_path) == 0
        assert cli.main(["status"], tmp_path) == 0
        shown = capsys.readouterr().out
        assert "broken: dns-stale" in shown and "vm1" in shown
        assert cli.main(["mend", "disk-full", "vm1"], tmp_path) == 0
        assert capsys.readouterr().out == "disk-full vm1 was not broken; broken: dns-stale.\n"
        assert cli.main(["mend"], tmp_path) == 0
        assert capsys.readouterr().out == "Mended: dns-stale.\n"
        assert cli.main(["mend"], tmp_path) == 0
        assert capsys.readouterr().out == "Nothing was broken.\n"
    finally:
        assert cli.main(["down"], tmp_path) == 0
    assert cli.main(["down"], tmp_path) == 0
    assert "There was no practice lab." in capsys.readouterr().out
