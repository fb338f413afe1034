"""Verification of what is no backup, or meant to harm: a clear message, and nothing written anywhere."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook.backup import ledger
from runbook.backup.verify import verify
from runbook.backup.verifying import source
from runbook.cli import main
from runbook.platform import archive as archives
from tests.unit.backups import SETTINGS, archive, dump, make_backup, write_manifest

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["--state", str(tmp_path / "state"), "backup", "verify", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_an_empty_folder(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "b/20261101"
    folder.mkdir(parents=True)
    code, out, _ = command(folder)
    assert code == 1 and "DAMAGED" in out
    assert "backup_manifest.json is missing" in out and "no node folder" in out
    assert below(tmp_path / "b") == {"20261101", ledger.NAME}


@pytest.mark.parametrize("what", ["nothing there", "a file", "a loop"])
def test_what_is_no_backup_at_all(command: Command, tmp_path: Path, what: str) -> None:
    path = tmp_path / "x"
    if what == "a file":
        path.write_text("x")
    elif what == "a loop":
        path.symlink_to(path)
    before = below(tmp_path)
    code, out, err = command(path)
    assert (code, out) == (2, "") and str(path) in err
    assert "Traceback" not in err and below(tmp_path) == before


def test_links_are_not_followed_and_nothing_waits_for_a_pipe(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101")
    (folder / "loop").symlink_to(folder)
    (folder / "node-10.0.1.10/passwd.json").symlink_to("/etc/passwd")
    os.mkfifo(folder / "node-10.0.1.10/pipe.json")
    found = verify(folder, roots=[f"{tmp_path}/backup"])
    assert found.problems == () and found.way  # md5sum saw none of them either
    assert len([text for text in found.remarks if "was not followed" in text]) == 3


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101")
    victim, really = str(folder / "node-10.0.1.11/_users.json"), os.open

    def refused(path: str, *rest: int) -> int:
        if path == victim:  # root may read everything
            raise PermissionError(13, "Permission denied", path)
        return really(path, *rest)

    monkeypatch.setattr(source.os, "open", refused)
    found = verify(folder, roots=[f"{tmp_path}/backup"])
    assert "node-10.0.1.11/_users.json cannot be read: Permission denied" in found.problems
    assert found.documents["10.0.1.10/_users"] == 2  # the others were read


def test_a_manifest_of_a_gigabyte(command: Command, tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "b/20261101")
    os.truncate(folder / "backup_manifest.json", 1 << 30)
    code, out, _ = command(folder)
    assert code == 1 and "larger than 4 MB" in out


def test_names_with_newlines_and_escapes(command: Command, tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101", manifest=False)
    below = folder / "node-10.0.1.10"
    for name in ("a\nb.json", "\x1b[31mred\x1b]0;x\x07.json", "back\\slash", "\u202eltr.gz"):
        (below / name).write_bytes(dump("x")[:-3])
    (Path(os.fsdecode(os.fsencode(below) + b"/\xff\xfe.json"))).write_bytes(b"{")
    again = make_backup(tmp_path / "other/20261101")  # its manifest, made by md5sum, is of other files
    (folder / "backup_manifest.json").write_bytes((again / "backup_manifest.json").read_bytes())
    code, out, err = command(folder)
    assert code == 1 and "a␊b.json" in out
    assert not set("\x1b\x07\u202e") & set(out + err)
    code, out, _ = command(folder, "--json")
    assert code == 1 and json.loads(out)["verdict"] == "damaged"


def test_md5sum_escapes_such_names_as_we_do(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101", manifest=False)
    for name in ("a\nb", "back\\slash", "c\rd", "ü"):
        (folder / "node-10.0.1.10" / name).write_text(name)
    write_manifest(folder)
    assert verify(folder, roots=[f"{tmp_path}/backup"]).way


# ── one tar.gz ─────────────────────────────────────────────────────────────────────────────
def packed(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive(members))
    return path


def special(path: Path, **fields: object) -> Path:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo("node-10.0.1.10/openedx_1.json")
        for key, value in fields.items():
            setattr(info, key, value)
        raw.write(info.tobuf(tar.format, tar.encoding, tar.errors))  # a head whose content is not there
        tar.offset += tarfile.BLOCKSIZE
    path.write_bytes(gzip.compress(raw.getvalue()))
    return path


def test_a_bomb_by_bytes(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_LEAST_BOMB", 1_000_000)
    path = packed(tmp_path / "20261101.tar.gz", {"node-10.0.1.10/openedx_1.json": bytes(60_000_000)})
    code, out, _ = command(path)
    assert code == 1 and "unpacks to more than" in out
    assert below(tmp_path) == {path.name, ledger.NAME}


def test_a_bomb_by_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 100)
    path = packed(tmp_path / "20261101.tar.gz", {f"{n}": b"" for n in range(200)})
    assert any("more than 100 members" in text for text in verify(path).problems)


def test_a_member_that_says_it_is_huge(tmp_path: Path) -> None:
    path = special(tmp_path / "20261101.tar.gz", size=1 << 50)
    assert any("unpacks to more than" in text for text in verify(path).problems)


def test_a_name_of_a_hundred_megabytes_is_not_read(tmp_path: Path) -> None:
    path = special(tmp_path / "20261101.tar.gz", type=tarfile.GNUTYPE_LONGNAME, size=100_000_000)
    assert any("its name takes more than 1 MB" in text for text in verify(path).problems)


@pytest.mark.parametrize("name", ["/etc/cron.d/evil", "node-10.0.1.10/../../evil", "../evil"])
def test_a_member_that_would_land_elsewhere(command: Command, tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "20261101.tar.gz", {name: b"x"})
    code, out, _ = command(path)
    assert code == 1 and "Archive refused" in out
    assert below(tmp_path) == {path.name, ledger.NAME} and not Path("/etc/cron.d/evil").exists()


def test_an_archive_that_is_cut_off(tmp_path: Path) -> None:
    path = packed(tmp_path / "20261101.tar.gz", SETTINGS | {"x": os.urandom(9000)})
    path.write_bytes(path.read_bytes()[:-3000])
    found = verify(path)
    assert any("cut off" in text for text in found.problems) and found.verdict == "damaged"


def test_the_other_layout_holds_settings_and_no_data(tmp_path: Path) -> None:
    path = packed(
        tmp_path / "backup_file.tar.gz", {f"openedx-ha/{name}": data for name, data in SETTINGS.items()}
    )
    found = verify(path)
    assert "no node folder (node-<address>) in it" in found.problems
    assert any("compose file, .env, Caddyfile" in text for text in found.facts)
