"""Archives from elsewhere: whatever could land outside its folder is refused, damage is named."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runbook.errors import ActionFailed
from runbook.platform import archive
from tests.unit.backups import SETTINGS
from tests.unit.backups import archive as made


def tar(path: Path, *members: tarfile.TarInfo, data: bytes = b"x") -> Path:
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            if member.isfile():
                member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    return member(name, type=kind, linkname=target)


def test_a_good_archive(tmp_path: Path) -> None:
    path = tmp_path / "config.tar.gz"
    path.write_bytes(made(SETTINGS))
    listing = archive.read_listing(path)
    assert listing.files().keys() == SETTINGS.keys()
    assert listing.bytes == sum(map(len, SETTINGS.values()))
    assert listing.top() == ""
    with path.open("rb") as file:
        assert archive.count_gzip(file, path.name) > 1000


def test_one_folder_around_everything(tmp_path: Path) -> None:
    path = tmp_path / "backup_file.tar.gz"
    path.write_bytes(made({f"./openedx-ha/{name}": data for name, data in SETTINGS.items()}))
    listing = archive.read_listing(path)
    assert listing.top() == "openedx-ha"
    assert listing.files(strip="openedx-ha").keys() == SETTINGS.keys()
    path.write_bytes(made({"docker/docker-compose.yml": b""}))
    assert archive.read_listing(path).top() == ""


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([member("/etc/cron.d/x")], "absolute"),
        ([member("docker/../../x")], "'..'"),
        ([member("..")], "'..'"),
        ([link("docker/x", "/etc/passwd")], "link out"),
        ([link("docker/x", "../../etc")], "link out"),
        ([link("docker/x", "../etc/passwd", tarfile.LNKTYPE)], "link out"),
        ([link("docker/here", "."), link("docker/y", "here/../..")], "link out"),
        ([link("docker/x", "../config"), member("docker/x/evil")], "behind a link"),
        ([member("dev", type=tarfile.CHRTYPE)], "device"),
        ([member("dev", type=tarfile.BLKTYPE)], "device"),
        ([member("pipe", type=tarfile.FIFOTYPE)], "device"),
        ([member("docker/su", mode=0o4755)], "setuid"),
        ([member("docker/sg", mode=0o2755)], "setuid"),
    ],
)
def test_unsafe_members_are_refused(tmp_path: Path, members: list[tarfile.TarInfo], why: str) -> None:
    path = tar(tmp_path / "config.tar.gz", member("docker/fine"), *members)
    with pytest.raises(ActionFailed) as caught:
        archive.read_listing(path)
    assert "Archive refused: member" in caught.value.what
    assert why in caught.value.what
    assert "Nothing was unpacked" in caught.value.what


def test_links_inside_are_fine(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar.gz", member("config/a"), link("docker/a", "../config/a"))
    assert [one.kind for one in archive.read_listing(path).members] == ["file", "link"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda raw: raw[: len(raw) // 2], "cut off"),
        (lambda raw: raw[:-4], "cut off"),
        (lambda raw: b"", "damaged"),
        (lambda raw: b"<html>not found</html>", "damaged"),
        (lambda raw: raw[:-6] + b"\0\0" + raw[-4:], "CRC"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[bytes], bytes], why: str) -> None:
    path = tmp_path / "config.tar.gz"
    path.write_bytes(damage(made(SETTINGS)))
    with pytest.raises(ActionFailed) as caught:
        archive.read_listing(path)
    assert why in caught.value.what and "nothing unpacked" in caught.value.what.lower()


GOOD = made(SETTINGS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.integers(10, len(GOOD) - 1), st.binary(max_size=4))
@example(len(GOOD) - 1, b"")
def test_no_damage_passes_unseen(tmp_path: Path, at: int, put: bytes) -> None:
    raw = GOOD[:at] + put
    path = tmp_path / "config.tar.gz"
    path.write_bytes(raw)
    if raw == GOOD:
        return
    with pytest.raises(ActionFailed):
        archive.read_listing(path)


def test_a_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 100_000)
    path = tar(tmp_path / "config.tar.gz", member("docker/zeros"), data=b"\0" * 1_000_000)
    with pytest.raises(ActionFailed, match="unpacks to more than"):
        archive.read_listing(path)
