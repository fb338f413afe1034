"""What a verification says of backups that are good, or good enough, or not: judged, on record, told."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook.backup import ledger, sums
from runbook.backup.verify import Verified, verify
from runbook.backup.verifying import actionitems, pool, uploads
from runbook.cli import main
from runbook.errors import UseError
from tests.unit.backups import NODES, SETTINGS, archive, make_backup, write_manifest

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


def rows(docs: dict[str, dict[str, object]], rev: str = "1-a") -> bytes:
    text = ",\r\n".join(
        json.dumps({"id": id, "key": id, "value": {"rev": rev}, "doc": {"_id": id, "_rev": rev, **doc}})
        for id, doc in sorted(docs.items())
    )
    return f'{{"total_rows":{len(docs)},"offset":0,"rows":[\r\n{text}\r\n]}}\n'.encode()


def backup(tmp_path: Path, dumps: dict[str, bytes] | None = None, id: str = "20261101") -> Path:
    """On every node, besides the usual."""
    folder = make_backup(tmp_path / "backup/daily" / id, manifest=False)
    for node in NODES:
        for name, data in (dumps or {}).items():
            (folder / f"node-{node}" / name).write_bytes(data)
    write_manifest(folder)
    return folder


def judged(folder: Path, **more: object) -> Verified:
    root = str(folder.parent.parent)
    return verify(folder, roots=[root], **more)  # type: ignore[arg-type]


# ── contents ───────────────────────────────────────────────────────────────────────────────
def test_references_to_what_is_not_there(tmp_path: Path) -> None:
    docs: dict[str, dict[str, object]] = {
        "course-1": {"type": "course"},
        "user.ada": {"type": "user", "username": "ada"},
        "enrolment.1": {"type": "enrolment", "username": "ada", "course": "course-1"},
        "enrolment.2": {"type": "enrolment", "username": "bob", "course": "course-1"},
        "progress.1": {"type": "progress", "username": "ada", "course": "course-2"},
    }
    found = judged(backup(tmp_path, {"openedx_1.json": rows(docs)}))
    assert found.verdict == "doubtful" and len(found.remarks) == 2
    assert "refer to 1 users that are not in this backup: bob" in found.remarks[0]
    assert "refer to 1 courses that are not in this backup: course-2" in found.remarks[1]


@pytest.mark.parametrize(
    "doc",
    [
        {"type": "enrolment", "username": 7, "course": ["x"]},
        {"type": {"a": 1}, "username": "bob"},
        {"kind": "enrolment", "user": "bob"},
        {"type": "enrolment", "username": "1e400"},
    ],
)
def test_unknown_shapes_are_not_judged(tmp_path: Path, doc: dict[str, object]) -> None:
    dump = rows({"a": doc}).replace(b'"1e400"', b"1e400")  # which is JSON, and no number of Python's
    found = judged(backup(tmp_path, {"openedx_1.json": dump}))
    assert found.verdict == "sound"
    assert any(text.startswith("relations: not judged") for text in found.unproven)


def test_uploads_are_counted_and_decoded(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(5000)
    good = {
        "a.pdf": {"data": base64.b64encode(data).decode(), "size": 5000},
        "b.pdf": {"data": base64.encodebytes(data).decode()},  # in lines
        "c.pdf": {"data": ""},
    }
    found = judged(backup(tmp_path, {"edxapp_files.json": rows(good)}))
    assert found.verdict == "sound"
    assert any("3 uploads, 10.0 kB, all decodable" in text for text in found.facts)
    bad = good | {
        "d.pdf": {"data": "abc"},
        "e.pdf": {"data": "ab=c"},
        "f.pdf": {"data": "a*cd"},
        "g.pdf": {"data": "aaaa", "size": 9},
    }
    shutil.rmtree(tmp_path / "backup")
    found = judged(backup(tmp_path, {"edxapp_files.json": rows(bad)}))
    assert "3 uploads cannot be decoded, their base64 is invalid: d.pdf, e.pdf, f.pdf" in found.problems[0]
    assert "1 uploads have another length than noted with them: g.pdf" in found.remarks[0]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 1000, (1 << 18) + 1])
def test_base64_is_judged_as_a_decoder_would(size: int) -> None:
    text = base64.b64encode(bytes(range(256)) * (size // 256 + 1))[: size // 3 * 4 + 4]
    seed = random.Random(size)
    for _ in range(200):
        raw = bytearray(text)
        if raw and seed.random() < 0.8:
            raw[seed.randrange(len(raw))] = seed.choice(b"=*-_ Aa0+/\n")
        try:
            expected: int | None = len(base64.b64decode(bytes(raw), validate=True))
        except ValueError:
            expected = None
        assert uploads.decoded(memoryview(bytes(raw))) == expected, bytes(raw[-8:])


def test_settings_of_another_site_and_what_they_lack(tmp_path: Path) -> None:
    env = {"docker/.env": b'DOMAIN_NAME="learn.other.org"\n'}
    without = {name: data for name, data in SETTINGS.items() if "Caddyfile" not in name} | env
    found = judged(backup(tmp_path, {"config.tar.gz": archive(without)}), domain="learn.example.org")
    assert found.verdict == "doubtful"
    assert any("config.tar.gz lacks the Caddyfile" in text for text in found.remarks)
    assert any(
        "of the domain learn.other.org, not of this site's learn.example.org" in text
        for text in found.remarks
    )


def test_what_a_rebuild_would_lack(tmp_path: Path) -> None:
    assert {"scripts/", "OpenTofu's state", "Caddy's certificates"} <= set(judged(backup(tmp_path)).lacks)
    assert "versions of all images" not in judged(tmp_path / "backup/daily/20261101").lacks
    more = {
        "scripts/backup.sh": b"x",
        "infrastructure/main.tf": b"x",
        "infrastructure/terraform.tfstate": b"{}",
        "caddy/certificates/acme/x.crt": b"x",
        "docker/docker-compose.yml": b"services:\n  lms:\n    image: openedx/lms:latest\n",
    }
    shutil.rmtree(tmp_path / "backup")
    found = judged(backup(tmp_path, {"config.tar.gz": archive(SETTINGS | more)}))
    assert set(found.lacks) == {
        "versions of all images",
        "attachments' contents",
        "_security and revision limits of the databases",
    }


def test_no_users_and_no_uploads(tmp_path: Path) -> None:
    folder = make_backup(tmp_path / "backup/daily/20261101", manifest=False)
    for path in [*folder.glob("*/_users.json"), *folder.glob("*/edxapp_files.json"), *folder.glob("*/*.gz")]:
        path.unlink()
    write_manifest(folder)
    found = judged(folder)
    assert found.verdict == "doubtful"
    for words in ("no dump of _users", "no dump of edxapp_files", "no configuration archive"):
        assert any(words in text for text in found.remarks), words
    assert any("no logs" in text for text in found.notes)
    assert "lacks _users" in judged(folder, expected=("_users",)).problems[0]


# ── the nodes' copies, and the backup before ───────────────────────────────────────────────
def test_copies_that_have_nothing_in_common_are_a_question(tmp_path: Path) -> None:
    folder = backup(tmp_path)
    for number, node in enumerate(NODES):
        docs: dict[str, dict[str, object]] = {f"n{number}-{n}": {"n": n} for n in range(9)}
        (folder / f"node-{node}/_users.json").write_bytes(rows(docs))
    write_manifest(folder)
    found = judged(folder)
    assert found.verdict == "doubtful" and "hold different documents" in found.remarks[0]


def test_a_copy_that_lags_is_no_doubt(tmp_path: Path) -> None:
    folder = backup(tmp_path)
    docs: dict[str, dict[str, object]] = {f"n{n}": {"n": n} for n in range(9)}
    for node in NODES[:2]:
        (folder / f"node-{node}/_users.json").write_bytes(rows(docs))
    del docs["n8"]
    (folder / f"node-{NODES[2]}/_users.json").write_bytes(rows(docs))
    write_manifest(folder)
    found = judged(folder)
    assert found.verdict == "sound"
    assert any(
        text.startswith("_users: 9 documents of 3 copies") and "lacks 1" in text for text in found.facts
    )


def test_beside_the_backup_before_it(tmp_path: Path) -> None:
    many: dict[str, dict[str, object]] = {f"n{n:03}": {"n": n} for n in range(100)}
    backup(tmp_path, {"openedx_1.json": rows(many), "more.json": rows(many)}, "20261031")
    backup(tmp_path, {"openedx_1.json": rows(many)}, "20261030")
    fewer = dict(list(many.items())[:85])
    folder = backup(tmp_path, {"openedx_1.json": rows(fewer)})
    found = judged(folder)
    assert found.earlier == "20261031"
    assert "more was in 20261031, and is gone" in found.problems
    assert "openedx_1 has 85 documents, 15% fewer than 20261031 had (100)" in found.remarks
    shutil.rmtree(folder.with_name("20261031"))
    assert judged(folder, share=0.2).verdict == "sound"


# ── at work ────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Large enough for processes."""
    text = "x" * 50_000
    docs: dict[str, dict[str, object]] = {f"n{n:04}": {"text": text} for n in range(400)}
    return backup(tmp_path, {"openedx_1.json": rows(docs)})


def test_processes_find_what_one_finds(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, int]] = []
    (large / f"node-{NODES[1]}/_users.json").write_bytes(b"{")
    many = judged(large, tick=lambda done, total: heard.append((done, total)))
    assert heard[-1][0] == heard[-1][1] and heard == sorted(heard)
    monkeypatch.setattr(pool, "WORTH", 1 << 40)
    assert judged(large) == many and many.problems


@pytest.mark.parametrize("worth", [0, 1 << 40])
def test_it_can_be_stopped(large: Path, monkeypatch: pytest.MonkeyPatch, worth: int) -> None:
    monkeypatch.setattr(pool, "WORTH", worth)
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedError):
        judged(large, stop=stop)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    assert b"spawn_main" not in b"".join(_command(pid) for pid in children.read_text().split())


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runbook.backup.verifying import feed

    folder, read = backup(tmp_path), 0
    really = feed.Feed.readinto

    def counting(self: feed.Feed, target: object) -> int:
        nonlocal read
        count = really(self, target)
        read += count
        return count

    monkeypatch.setattr(feed.Feed, "readinto", counting)
    opened = []
    monkeypatch.setattr("runbook.couch.reading.dumptext.opened", opened.append)  # nothing else reads a dump
    assert judged(folder).verdict == "sound"
    assert read == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) and not opened


# ── on record, and told ────────────────────────────────────────────────────────────────────
def test_the_verdict_goes_on_record_beside_the_backup(command: Command, tmp_path: Path) -> None:
    folder = backup(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, out, err = command(folder, "--root", tmp_path / "backup")
    assert (code, err) == (0, "") and "SOUND" in out and "only a restore proves that" in out
    assert max(len(line) for line in out.splitlines()[:-1]) <= 80
    (entry,) = ledger.read(folder.parent)
    assert (entry.id, entry.verdict, entry.problems) == ("20261101", "sound", 0)
    assert entry.print == judged(folder).print and entry.bytes == sum(map(len, before.values()))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    code, out, _ = command(folder, "--root", tmp_path / "backup", "--json")
    told = json.loads(out)
    assert (told["verdict"], told["restore_test"]) == ("sound", None)


def test_a_ledger_that_cannot_be_written_is_told(command: Command, tmp_path: Path) -> None:
    folder = backup(tmp_path)
    (folder.parent / ledger.NAME).symlink_to(tmp_path / "elsewhere")
    code, out, _ = command(folder, "--root", tmp_path / "backup")
    assert code == 0 and "NOT on record" in out and not (tmp_path / "elsewhere").exists()


def test_a_damaged_one_says_what_next(command: Command, tmp_path: Path) -> None:
    for id in ("20261029", "20261030"):
        backup(tmp_path, id=id)
        assert command(tmp_path / "backup/daily" / id, "--root", tmp_path / "backup")[0] == 0
    folder = backup(tmp_path)
    (folder / f"node-{NODES[0]}/_users.json").write_bytes(b"")
    code, out, _ = command(
        folder, "--root", tmp_path / "backup", "--action", "fetch it again", "--owner", "Ada"
    )
    assert code == 1 and "DAMAGED" in out
    assert "runbook backup fetch --id 20261101" in out
    assert "take an older one: 20261030 was verified sound" in out
    (item,) = actionitems.read(folder.parent, "20261101")
    assert (item.text, item.owner) == ("fetch it again", "Ada") and "owner Ada" in out
    assert command(folder, "--action", "x")[0] == 2


def test_damage_from_the_start_is_not_mended_by_fetching(command: Command, tmp_path: Path) -> None:
    backup(tmp_path, id="20261031")
    folder = backup(tmp_path)
    path = folder / f"node-{NODES[0]}/_users.json"
    path.write_bytes(path.read_bytes()[:-9])
    write_manifest(folder)  # the script hashed what it had written
    code, out, _ = command(folder, "--root", tmp_path / "backup")
    assert code == 1 and "another copy will be the same" in " ".join(out.split())
    assert "20261031 is the one before" in out and "backup fetch" not in out


def test_a_list_is_written_for_good_ones_alone(command: Command, tmp_path: Path) -> None:
    folder = backup(tmp_path)
    path = folder / f"node-{NODES[0]}/_users.json"
    good = path.read_bytes()
    path.write_bytes(good[:-9])
    assert command(folder, "--root", tmp_path / "backup", "--write-sums")[0] == 1
    assert not sums.path_beside(folder).exists()
    path.write_bytes(good)
    assert command(folder, "--root", tmp_path / "backup", "--write-sums")[0] == 0
    assert sums.parse_text(sums.path_beside(folder).read_bytes()).keys() == {
        f"20261101/{one.relative_to(folder)}" for one in folder.rglob("*") if one.is_file()
    }
    with pytest.raises(Exception, match="is there already"):
        sums.store(folder, {})


def test_wrong_use(command: Command, tmp_path: Path) -> None:
    assert command(tmp_path, "--reduced")[0] == 2
    with pytest.raises(UseError):
        verify(tmp_path / "nothing")
    with pytest.raises(SystemExit):
        command(tmp_path, "--share", "many")
