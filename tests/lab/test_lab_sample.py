"""The sample backup and the practice site, looked at with other programs' eyes."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from runbook.lab import samplebackup, sampledata
from runbook.lab.layout import PRODUCTION
from runbook.site import model as site
from tests.lab.conftest import Lab

NOW = datetime.datetime(2026, 11, 24, 9, 30, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("backups")
    assert samplebackup.write(folder / "remote", folder / "local", NOW) == "20261124"
    return folder / "remote", folder / "local"


def test_tiers(places: tuple[Path, Path]) -> None:
    remote, local = places
    assert sorted(p.name for p in (remote / "daily").iterdir()) == [f"202611{day}" for day in range(18, 25)]
    assert sorted(p.name for p in (remote / "weekly").iterdir())[-1] == "2026-week47"
    assert len(list((remote / "weekly").iterdir())) == 4
    assert len(list((remote / "monthly").iterdir())) == 12
    assert [p.name for p in local.iterdir() if p.name != "logs"] == ["20261115"]
    assert samplebackup.newest(NOW.replace(hour=0)).day == 23


def test_dumps_are_as_couchdb_prints_them(places: tuple[Path, Path]) -> None:
    for path in (places[0] / "daily" / "20261124").glob("node-*/*.json"):
        raw = path.read_bytes()
        lines = raw.split(b"\n")
        assert lines[0].startswith(b'{"total_rows":') and lines[0].endswith(b',"offset":0,"rows":[\r')
        assert raw.endswith(b"\r\n]}\n")
        rows = [json.loads(line.rstrip(b"\r").rstrip(b",")) for line in lines[1:-2]]
        assert json.loads(raw)["total_rows"] == len(rows)
        ids = [row["id"].encode() for row in rows]
        assert ids == sorted(ids) and len(set(ids)) == len(ids)
        for row in rows:
            assert row["key"] == row["id"] == row["doc"]["_id"]
            assert row["value"]["rev"] == row["doc"]["_rev"]


def test_one_nodes_copy_lags(places: tuple[Path, Path]) -> None:
    folder = places[0] / "daily" / "20261124"
    counts = [
        json.loads((folder / f"node-{spec.internal}" / "openedx_1.json").read_bytes())["total_rows"]
        for spec in PRODUCTION
    ]
    assert counts[0] == counts[1] == counts[2] + 3


@pytest.mark.skipif(shutil.which("md5sum") is None, reason="md5sum not installed")
def test_the_checksum_is_the_platforms(tmp_path: Path) -> None:
    samplebackup.write(tmp_path / "remote", tmp_path / "local", NOW)
    folder = tmp_path / "remote" / "daily" / "20261124"
    manifest = folder / "backup_manifest.json"
    checksum = json.loads(manifest.read_bytes())["checksum"]
    manifest.write_bytes(b"")
    command = f"find '{folder}' -type f -exec md5sum {{}} \\; | LC_ALL=C sort | md5sum"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert ran.stdout.split()[0] == checksum


def test_two_backups_of_one_moment_are_equal(places: tuple[Path, Path], tmp_path: Path) -> None:
    samplebackup.write(tmp_path / "remote", tmp_path / "local", NOW)

    def hashes(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("node-*/*")
        }

    assert hashes(places[0] / "daily" / "20261124") == hashes(tmp_path / "remote" / "daily" / "20261124")


def test_no_backup_shares_files_within_itself(places: tuple[Path, Path]) -> None:
    """A tar of one folder would make hard links of them, which a careful receiver refuses."""
    for folder in places[0].glob("*/*"):
        files = [path.stat().st_ino for path in folder.rglob("*") if path.is_file()]
        assert len(set(files)) == len(files)


def test_the_configuration_has_every_default_that_hurts(places: tuple[Path, Path]) -> None:
    with tarfile.open(places[0] / "daily" / "20261124" / "node-10.0.1.11" / "config.tar.gz") as archive:
        assert {name.split("/")[0] for name in archive.getnames()} == {"docker", "config"}
        env = archive.extractfile("docker/.env").read().decode()  # type: ignore[union-attr]
        compose = archive.extractfile("docker/docker-compose.yml").read().decode()  # type: ignore[union-attr]
    assert "COUCHDB_COOKIE=monster" in env and "VM_INDEX=2" in env
    assert "NODENAME" not in env + compose


def test_a_large_upload_and_strange_names() -> None:
    uploads = dict(sampledata.everything()["edxapp_files"])
    assert len(uploads["lecture-recording.mp4"]) > 8_000_000
    assert "課題レポート.pdf" in uploads


async def test_the_practice_site_loads(lab: Lab) -> None:
    loaded = site.load(lab.layout.site_file)
    assert loaded.platform.public_through == "ssh"
    assert loaded.requests.upload is not None
    assert loaded.backup.remote == str(lab.layout.remote_backups)
    secrets = lab.layout.site / "secrets.env"
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert (lab.layout.site / "id_ed25519").stat().st_mode & 0o077 == 0
    assert sampledata.ADMIN_PASSWORD not in lab.layout.site_file.read_text()
