"""Two hundred damaged backups: each is found, or told as what cannot be known.

The backups are made by a plain shell script with the platform's own recipe, in a folder that is moved
afterwards. Damage comes after the manifest was made (then its checksum finds it), or before (then only
what is in the files can): a backup script that met trouble hashes what it wrote, damaged or not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tabulate import tabulate

from runbook.backup import sums
from runbook.backup.verify import Verified, verify
from tests.unit.backups import NODES, SETTINGS, archive

#: the platform's recipe; $1 the folder, $2 its date
RECIPE = r"""
set -eu
cd "$1/.."; id=$(basename "$1")
nodes=$(for n in "$1"/node-*; do printf ',"%s"' "${n##*/node-}"; done)
: > "$1/backup_manifest.json"
sum=$(find "$1" -type f -exec md5sum {} \; | sort | md5sum | cut -d' ' -f1)
printf '{"backup_date": "%s", "backup_type": "daily", "nodes": [%s], "checksum": "%s"}\n' \
  "$2" "${nodes#,}" "$sum" > "$1/backup_manifest.json"
"""
PEOPLE = 40


def row(id: str, doc: dict[str, object], rev: str = "") -> str:
    rev = rev or f"1-{hashlib.md5(id.encode()).hexdigest()}"
    text = {"id": id, "key": id, "value": {"rev": rev}, "doc": {"_id": id, "_rev": rev, **doc}}
    return json.dumps(text, separators=(",", ":"))


def dumped(rows: list[str]) -> bytes:
    body = ",\r\n".join(rows)
    return f'{{"total_rows":{len(rows)},"offset":0,"rows":[\r\n{body}\r\n]}}\n'.encode()


def contents(day: int) -> dict[str, bytes]:
    seed = random.Random(7)
    learners = [f"learner{n:03}" for n in range(PEOPLE)]
    course = [row("course-v1:X", {"type": "course", "day": day}, f"{day}-{day:032x}")]
    refers = [
        row(f"enrolment.{n:03}", {"type": "enrolment", "username": name, "course": "course-v1:X"})
        for n, name in enumerate(learners)
    ]
    design = [row("_design/by_course", {"views": {}})]
    found = {
        f"openedx_{n}.json": dumped([*design, *course, *refers, row("page", {"n": n})]) for n in (1, 2, 3)
    }
    found["_users.json"] = dumped([row(f"org.couchdb.user:{name}", {"name": name}) for name in learners])
    uploads = [
        row(
            f"file{n:02}.pdf",
            {"content_type": "x", "size": 900, "data": base64.b64encode(seed.randbytes(900)).decode()},
        )
        for n in range(12)
    ]
    found["edxapp_files.json"] = dumped(uploads)
    found["config.tar.gz"] = archive(SETTINGS)
    found["logs.tar.gz"] = archive({"lms.log": b"a line\n" * 500})
    return found


def made(folder: Path, day: int) -> Path:
    for node in NODES:
        (folder / f"node-{node}").mkdir(parents=True)
        for name, data in contents(day).items():
            (folder / f"node-{node}" / name).write_bytes(data)
    manifest(folder)
    return folder


def manifest(folder: Path) -> None:
    day = f"{folder.name[:4]}-{folder.name[4:6]}-{folder.name[6:]}T01:00:07+00:00"
    subprocess.run(["sh", "-c", RECIPE, "sh", str(folder), day], check=True)


# ── damage ─────────────────────────────────────────────────────────────────────────────────
# each takes (folder, another day's folder, randomness), and says of which file; it must change something
Damage = Callable[[Path, Path, random.Random], None]


def pick(folder: Path, seed: random.Random, pattern: str) -> Path:
    return seed.choice(sorted(folder.glob(pattern)))


def flip(pattern: str) -> Damage:
    def damage(folder: Path, other: Path, seed: random.Random) -> None:
        path = pick(folder, seed, pattern)
        raw = bytearray(path.read_bytes())
        raw[seed.randrange(len(raw))] ^= 1 << seed.randrange(8)
        path.write_bytes(raw)

    return damage


def cut(pattern: str) -> Damage:
    def damage(folder: Path, other: Path, seed: random.Random) -> None:
        path = pick(folder, seed, pattern)
        raw = path.read_bytes()
        path.write_bytes(raw[: seed.randrange(1, len(raw) - 4)])

    return damage


def emptied(folder: Path, other: Path, seed: random.Random) -> None:
    pick(folder, seed, "node-*/*").write_bytes(b"")


def swapped(folder: Path, other: Path, seed: random.Random) -> None:
    path = pick(folder, seed, "node-*/openedx_*.json")
    shutil.copyfile(other / path.relative_to(folder), path)


def missing(folder: Path, other: Path, seed: random.Random) -> None:
    pick(folder, seed, "node-*/*").unlink()


def missing_node(folder: Path, other: Path, seed: random.Random) -> None:
    shutil.rmtree(pick(folder, seed, "node-*"))


def added(folder: Path, other: Path, seed: random.Random) -> None:
    (pick(folder, seed, "node-*") / f"more{seed.randrange(99)}.txt").write_text("x")


def manifest_field(key: str, value: object) -> Damage:
    def damage(folder: Path, other: Path, seed: random.Random) -> None:
        path = folder / "backup_manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return damage


def without_row(*, adjusted: bool, everywhere: bool = False) -> Damage:
    def damage(folder: Path, other: Path, seed: random.Random) -> None:
        name = seed.choice(["openedx_1.json", "openedx_2.json", "_users.json"])
        number = seed.randrange(3, 20)
        node = seed.choice(NODES)
        for path in folder.glob(f"node-{'*' if everywhere else node}/{name}"):
            head, *rows, end = path.read_bytes().split(b"\r\n")
            del rows[number]
            rows[-1] = rows[-1].removesuffix(b",")
            if adjusted:
                head = head.replace(b"%d" % (len(rows) + 1), b"%d" % len(rows), 1)
            path.write_bytes(b"\r\n".join([head, *rows, end]))

    return damage


def bad_base64(folder: Path, other: Path, seed: random.Random) -> None:
    path = pick(folder, seed, "node-*/edxapp_files.json")
    raw = path.read_bytes()
    at = [place for place in range(len(raw)) if raw.startswith(b'"data":"', place)]
    place = seed.choice(at) + len(b'"data":"') + seed.randrange(900)
    path.write_bytes(raw[:place] + b"*" + raw[place + 1 :])


def bad_trailer(folder: Path, other: Path, seed: random.Random) -> None:
    path = pick(folder, seed, "node-*/*.gz")
    raw = bytearray(path.read_bytes())
    raw[-seed.randrange(1, 9)] ^= 1 << seed.randrange(8)
    path.write_bytes(raw)


#: kind -> (damage, how often, the manifest is made after it, can it be known?). What one node lacks may be
#: damage, or a write that had not come to it yet.
KINDS: dict[str, tuple[Damage, int, bool, bool]] = {
    "bit flipped in a dump": (flip("node-*/*.json"), 16, False, True),
    "bit flipped in a config": (flip("node-*/config.tar.gz"), 10, False, True),
    "bit flipped in a log": (flip("node-*/logs.tar.gz"), 10, False, True),
    "file cut": (cut("node-*/*"), 14, False, True),
    "file emptied": (emptied, 8, False, True),
    "swapped with another day's": (swapped, 8, False, True),
    "file missing": (missing, 8, False, True),
    "node missing": (missing_node, 3, False, True),
    "file added": (added, 6, False, True),
    "row removed, total_rows left": (without_row(adjusted=False), 8, False, True),
    "row removed, total_rows adjusted": (without_row(adjusted=True), 8, False, True),
    "invalid base64": (bad_base64, 8, False, True),
    "gzip trailer wrong": (bad_trailer, 8, False, True),
    "manifest: checksum edited": (manifest_field("checksum", "0" * 32), 3, False, True),
    "manifest: no checksum": (manifest_field("checksum", ""), 2, False, True),
    "manifest: a node more": (manifest_field("nodes", [*NODES, "10.0.1.13"]), 3, False, True),
    "manifest: no node": (manifest_field("nodes", []), 2, False, True),
    "manifest: another month": (manifest_field("backup_date", "2026-08-01T01:00:07Z"), 2, False, True),
    "manifest: another type": (manifest_field("backup_type", "weekly"), 3, False, False),
    # as a script leaves it that hashes what it wrote
    "cut dump, hashed so": (cut("node-*/*.json"), 12, True, True),
    "cut archive, hashed so": (cut("node-*/*.gz"), 8, True, True),
    "emptied, hashed so": (emptied, 6, True, True),
    "row removed, total_rows left, hashed so": (without_row(adjusted=False), 8, True, True),
    "invalid base64, hashed so": (bad_base64, 8, True, True),
    "gzip trailer wrong, hashed so": (bad_trailer, 6, True, True),
    "swapped day on one node, hashed so": (swapped, 6, True, False),
    "row removed on one node, adjusted, hashed so": (without_row(adjusted=True), 6, True, False),
    "row removed everywhere, adjusted, hashed so": (
        without_row(adjusted=True, everywhere=True),
        10,
        True,
        False,
    ),
}


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dailies on the backup VM."""
    root = tmp_path_factory.mktemp("vm") / "backup"
    made(root / "daily/20261031", 1)
    made(root / "daily/20261101", 2)
    return root


def judged(path: Path, root: Path) -> Verified:
    return verify(path, roots=[str(root)], now=datetime(2026, 11, 1, 12, tzinfo=UTC), rpo=86400)


@pytest.mark.parametrize(
    "where", ["pc/20261101", "usb/backup/daily/20261101", "renamed/2026-week44", "a b/20261101"]
)
def test_good_ones_are_whole_wherever_they_lie(vm: Path, tmp_path: Path, where: str) -> None:
    path = tmp_path / where
    shutil.copytree(vm / "daily/20261101", path)
    found = judged(path, vm)
    assert (found.problems, found.remarks, found.notes) == ((), (), ())
    assert found.verdict == "sound" and found.way and "manifest hashed while empty" in found.way


@pytest.mark.parametrize("top", ["20261101", "."])
def test_good_ones_are_whole_as_one_archive(vm: Path, tmp_path: Path, top: str) -> None:
    source = vm / "daily" if top != "." else vm / "daily/20261101"
    path = tmp_path / "20261101.tar.gz"
    subprocess.run(["tar", "-C", source, "-czf", path, top], check=True)
    found = judged(path, vm)
    assert (found.problems, found.remarks) == ((), ()), found.problems
    assert found.verdict == "sound" and found.way and found.backup.id == "20261101"
    assert found.print == judged(vm / "daily/20261101", vm).print  # the same content
    assert [one.name for one in tmp_path.iterdir()] == [path.name]  # nothing was unpacked


def test_every_damage_is_found_or_told_as_not_provable(
    vm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, results = random.Random(4), dict[str, Counter[str]]()
    whole = {
        path.relative_to(vm / "daily/20261101"): path.read_bytes() for path in _files(vm / "daily/20261101")
    }
    silent = []
    for kind, (damage, count, hashed, knowable) in KINDS.items():
        results[kind] = Counter()
        for number in range(count):
            root = tmp_path / kind.replace("/", " ") / str(number)
            folder = root / "backup/daily/20261101"
            shutil.copytree(vm / "daily/20261101", folder)
            damage(folder, vm / "daily/20261031", seed)
            changed = {path.relative_to(folder): path.read_bytes() for path in _files(folder)}
            assert changed != whole, kind
            if hashed:
                manifest(folder)
            moved = root / "pc/20261101"
            moved.parent.mkdir()
            folder.rename(moved)
            found = judged(moved, root / "backup" if hashed else vm)
            outcome = _outcome(found)
            results[kind][outcome] += 1
            if outcome == "silent" or (knowable and outcome != "found"):
                silent.append(f"{kind}: {outcome}; {found.findings}")
            shutil.rmtree(root)
    columns = ("found", "told", "not provable", "silent")
    rows = [(kind, *(counts[name] or "" for name in columns)) for kind, counts in results.items()]
    total = [sum(counts[name] for counts in results.values()) for name in columns]
    with capsys.disabled():
        print("\n" + tabulate([*rows, ("in all", *total)], headers=("damage", *columns)))
    assert sum(total) >= 200 and total[-1] == 0
    assert not silent, "\n".join(silent)


def _outcome(found: Verified) -> str:
    """``told``: the nodes' copies are said to differ. ``not provable``: it is said what no look can tell."""
    if found.problems or found.remarks:
        assert found.verdict in ("damaged", "doubtful")
        return "found"
    if any("lacks" in text or "older revision" in text for text in found.facts):
        return "told"
    said = ("itself, which its own checksum leaves out", "before the checksums were made")
    if all(any(words in text for text in found.unproven) for words in said):
        return "not provable"
    return "silent"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_list_of_ours_proves_what_the_manifest_cannot(vm: Path, tmp_path: Path) -> None:
    path = tmp_path / "20261101"
    shutil.copytree(vm / "daily/20261101", path)
    before = {one: one.read_bytes() for one in _files(path)}
    found = judged(path, vm)
    assert not found.listed
    written = sums.store(path, found.sums)
    assert {one: one.read_bytes() for one in _files(path)} == before  # it lies beside
    subprocess.run(["sha256sum", "-c", "--quiet", "--strict", written.name], cwd=tmp_path, check=True)
    again = judged(path, vm)
    assert again.listed and again.verdict == "sound"
    assert not any("leaves out" in text for text in again.unproven)
    (path / "calculated_checksum.txt").write_text("left by the fetch script")
    assert judged(path, vm).verdict == "sound"
    manifest_field("backup_type", "weekly")(path, path, random.Random(1))
    (problem,) = judged(path, vm).problems
    assert "backup_manifest.json differs from its SHA-256" in problem
