"""The safeguards: what is looked at, what is asked, and how long an answer or a look counts."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import safeguard
from runbook.backup import ledger, sums
from runbook.backup.cli import safeguards as command
from runbook.backup.ledger import Entry
from runbook.backup.safeguards import answers, permissions, seen, tofustate
from runbook.backup.safeguards.answers import Answer
from runbook.backup.safeguards.seen import Seen
from runbook.check import Finding
from runbook.context import Look
from runbook.errors import CouldNotLook, Unreachable, UseError
from runbook.hosts import localfiles
from runbook.site.model import Backup, Tofu
from runbook.workbench import Workbench
from tests.unit.backups import make_backup
from tests.unit.doubles import FakeClock, ScriptedHost, make_look, make_site

NOW = FakeClock().now()


class World:
    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, FakeClock()
        self.pc, self.drive, self.state = root / "pc", root / "drive", root / "state"
        self.copies: tuple[str, ...] = (str(self.drive),)
        self.backup = make_backup(self.pc / "20261120")
        self.vm = ScriptedHost("backup")
        self.vm.down = Unreachable("backup", "No connection.")
        self.state.mkdir()

    def look(self) -> Look:
        site = make_site(
            backup=Backup(local=str(self.pc), copies=self.copies), tofu=Tofu(folder=str(self.root / "tofu"))
        )
        return make_look(ScriptedHost("operator"), self.vm, site=site, clock=self.clock, run_dir=self.state)

    def copy(self) -> Path:
        return Path(shutil.copytree(self.backup, self.drive / "20261120"))

    def answer(self, key: str, text: str) -> None:
        made = answers.made("test", key, text, self.clock.now(), "Ada", "laptop")
        answers.add(self.state, made)

    def verified(self, folder: Path, *, days: int = 0, verdict: ledger.Verdict = "sound") -> None:
        print = sums.print_of(localfiles.manifest(folder))
        at = self.clock.now() - timedelta(days=days)
        entry = Entry(id=folder.name, path=str(folder), at=at, verdict=verdict, first="why", print=print)
        ledger.add(folder.parent, entry)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def told(found: Finding) -> tuple[str, str]:
    return found.verdict, found.observed


# ── a second copy ──────────────────────────────────────────────────────────────────────────
async def test_an_equal_copy_is_read(world: World) -> None:
    folder = world.copy()
    (folder / "calculated_checksum.txt").write_text("x")  # what the fetch script drops does not count
    found = await safeguard.second_copy(world.look())
    assert found.verdict == "pass" and "20261120 is equal, by the SHA-256 of all" in found.observed
    assert "read now" in found.observed


async def test_one_that_differs_is_found(world: World) -> None:
    folder = world.copy()
    file = folder / "node-10.0.1.10/_users.json"
    raw = bytearray(file.read_bytes())
    raw[40] ^= 1
    file.write_bytes(raw)
    found = await safeguard.second_copy(world.look())
    assert found.verdict == "fail" and "is not the same there: the SHA-256" in found.observed
    file.unlink()
    found = await safeguard.second_copy(world.look())
    assert "_users.json' is not there with the same size" in found.observed


async def test_verifications_tell_of_what_is_too_large_to_read(world: World) -> None:
    folder = world.copy()
    found = await safeguard.second_copy(world.look(), read_up_to="1kB")
    assert found.verdict == "unknown" and "verify both" in found.observed
    world.verified(world.backup)
    world.verified(folder)
    found = await safeguard.second_copy(world.look(), read_up_to="1kB")
    assert found.verdict == "pass" and "when both were verified" in found.observed


async def test_a_copy_without_the_newest(world: World) -> None:
    world.drive.mkdir()
    shutil.copytree(world.backup, world.drive / "20261101")
    found = await safeguard.second_copy(world.look())
    assert told(found) == ("fail", f"{world.drive}: 20261120 is not on it (its newest is 20261101)")


async def test_one_that_is_away_counts_for_a_quarter(world: World) -> None:
    assert (await safeguard.second_copy(world.look())).verdict == "unknown"
    world.copy()
    assert (await safeguard.second_copy(world.look())).verdict == "pass"
    shutil.rmtree(world.drive)
    found = await safeguard.second_copy(world.look())
    assert found.verdict == "pass" and "20261120 on it was equal on 2026-11-24" in found.observed
    world.clock.move(93 * 86400)
    assert (await safeguard.second_copy(world.look())).verdict != "pass"


async def test_a_newer_one_here_than_on_the_copy_that_is_away(world: World) -> None:
    world.copy()
    await safeguard.second_copy(world.look())
    shutil.rmtree(world.drive)
    make_backup(world.pc / "20261123")
    found = await safeguard.second_copy(world.look())
    assert found.verdict == "warn" and "the newest here is 20261123" in found.observed


async def test_one_good_copy_of_two(world: World) -> None:
    folder = world.copy()
    other = world.root / "other"
    shutil.copytree(world.drive, other)
    (other / "20261120/node-10.0.1.10/_users.json").write_bytes(b"x")
    world.copies = (str(other), str(world.drive))
    found = await safeguard.second_copy(world.look())
    assert found.verdict == "warn" and str(other) in found.observed and str(folder.parent) in found.evidence


async def test_no_copies_and_no_backup(world: World) -> None:
    world.copies = ()
    assert (await safeguard.second_copy(world.look())).verdict == "fail"
    with pytest.raises(CouldNotLook):
        await safeguard.detached(world.look())
    world.copies = (str(world.drive),)
    shutil.rmtree(world.pc)
    assert "no complete backup on this PC" in (await safeguard.second_copy(world.look())).observed


# ── attached all the time? ─────────────────────────────────────────────────────────────────
async def test_a_month_of_looks(world: World) -> None:
    world.drive.mkdir()
    for _ in range(27):
        assert (await safeguard.detached(world.look())).verdict == "unknown"
        world.clock.move(86400)
    world.clock.move(86400)
    found = await safeguard.detached(world.look())
    assert found.verdict == "warn" and "at every look since 2026-11-24" in found.observed
    world.drive.rmdir()
    found = await safeguard.detached(world.look())
    assert told(found) == ("pass", f"{world.drive} was away on 2026-12-22")
    world.drive.mkdir()
    assert (await safeguard.detached(world.look())).verdict == "pass"


async def test_before_a_month_a_person_may_say(world: World) -> None:
    world.drive.mkdir()
    found = await safeguard.detached(world.look())
    assert found.observed.startswith("not answered yet")
    world.answer("detached", "in the bank, but for Fridays")
    assert (await safeguard.detached(world.look())).verdict == "pass"


async def test_a_folder_that_never_was_is_no_copy_that_is_away(world: World) -> None:
    found = await safeguard.detached(world.look())
    assert found.verdict == "unknown" and "was not there at any look" in found.evidence


@given(st.lists(st.tuples(st.integers(-400, 400), st.booleans()), max_size=60))
def test_any_record_gives_a_habit(looks: list[tuple[int, bool]]) -> None:
    record = [Seen(site="s", path="p", day=NOW.date() + timedelta(days=d), there=t) for d, t in looks]
    habit, shown, days = seen.habit(record, NOW)
    known = [(d, t) for d, t in looks if d <= 1]
    counted = [(d, t) for d, t in known if d >= -31]
    assert days == len({d for d, _ in counted})
    was = bool(counted) and any(there for _, there in known)
    assert (habit != "never") == (shown is not None) == was
    assert (habit == "away") is (habit != "never" and any(not t for _, t in counted))
    if habit == "attached":
        assert min(d for d, _ in counted) <= -28


def test_the_record_stays_small_and_readable(tmp_path: Path) -> None:
    (tmp_path / seen.NAME).write_bytes(b'{"site":1}\nnonsense\n\xff\n' + b"[" * 5000 + b"\n")
    day = NOW
    for n in range(300):
        seen.note(tmp_path, "s", {"p": n % 2 == 0}, day)
        seen.note(tmp_path, "s", {"p": n % 2 == 0}, day)
        day += timedelta(days=1)
    found = seen.read(tmp_path)
    assert len(found) == seen.KEPT + 1 and found[-1].day == (day - timedelta(days=1)).date()
    seen.note(tmp_path, "s", {"p": True}, NOW)  # the clock jumped back
    assert seen.habit(seen.read(tmp_path), NOW)[2] == 1


def test_a_record_that_cannot_be_kept_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    seen.note(tmp_path / "file", "s", {"p": True}, NOW)


# ── questions ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "check", [safeguard.media, safeguard.credentials, safeguard.registrar, safeguard.notes]
)
async def test_what_is_asked_counts_for_a_quarter(world: World, check: object) -> None:
    name = check.name.removeprefix("safeguard.")  # type: ignore[attr-defined]
    assert callable(check)
    found = await check(world.look())
    assert found.verdict == "unknown" and found.observed.startswith("not answered yet")
    world.answer(name, "in the safe\x1b[2J of room 12")
    found = await check(world.look())
    assert told(found) == ("pass", "Ada on 2026-11-24: in the safe of room 12")
    world.clock.move(92 * 86400)
    assert (await check(world.look())).verdict == "pass"
    world.clock.move(60)
    found = await check(world.look())
    assert found.verdict == "unknown" and found.observed.startswith("asked again")
    world.answer(name, "No: nobody knows.")
    assert (await check(world.look())).verdict == "fail"


async def test_an_answer_from_the_future_is_asked_again(world: World) -> None:
    world.answer("media", "in the safe")
    world.clock.move(-10 * 86400)
    found = await safeguard.media(world.look())
    assert found.verdict == "unknown" and "dated in the future" in found.observed
    world.answer("media", "still there")  # the last line counts, not the latest date
    assert (await safeguard.media(world.look())).verdict == "pass"


async def test_answers_are_of_one_site(world: World) -> None:
    answers.add(world.state, answers.made("other", "media", "yes", NOW, "Bob", "pc"))
    assert (await safeguard.media(world.look())).verdict == "unknown"


async def test_notes_that_are_a_file_are_looked_at(world: World) -> None:
    file = world.root / "notes.md"
    world.answer("notes", str(file))
    assert (await safeguard.notes(world.look())).verdict == "fail"
    file.write_text("theme: blue")
    assert (await safeguard.notes(world.look())).verdict == "pass"


def test_answers_survive_what_is_broken(tmp_path: Path) -> None:
    with (tmp_path / answers.NAME).open("wb") as file:
        file.write(b'nonsense\n{"site":1}\n' + b"[" * 5000)  # cut off: no line end
    answers.add(tmp_path, answers.made("s", "media", "a\nb\udcff", NOW, "Ada", "pc"))
    assert [one.text for one in answers.read(tmp_path)] == ["a\nb?"]
    naive = Answer(site="s", key="media", at=datetime(2026, 1, 1), yes=True, text="x")
    assert answers.state([naive], "s", "media", NOW) == ("never", None)


def test_a_gigabyte_of_answers_is_read_at_its_end(tmp_path: Path) -> None:
    with (tmp_path / answers.NAME).open("wb") as file:
        file.truncate(1_000_000_000)
    answers.add(tmp_path, answers.made("s", "media", "safe", NOW, "Ada", "pc"))
    assert [one.text for one in answers.read(tmp_path)] == ["safe"]


def test_answers_are_for_this_user_alone(tmp_path: Path) -> None:
    answers.add(tmp_path / "new", answers.made("s", "media", "safe", NOW, "Ada", "pc"))
    assert (tmp_path / "new" / answers.NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("key", "text"), [("nothing", "x"), ("media", " \n"), ("media", "x" * 2001)])
def test_answers_that_are_refused(key: str, text: str) -> None:
    with pytest.raises(UseError):
        answers.made("s", key, text, NOW, "Ada", "pc")


@pytest.mark.parametrize(
    ("text", "yes"),
    [("no", False), ("No, nobody", False), ("not yet", False), ("NO!", False), ("north wing", True),
     ("notes are in the wiki", True), ("yes", True)],
)  # fmt: skip
def test_yes_or_no(text: str, yes: bool) -> None:
    assert answers.made("s", "media", text, NOW, "Ada", "pc").yes is yes


# ── permissions ────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that others come to: pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        root.chmod(0o755)
        yield root


def test_who_can_read(reachable: Path) -> None:
    folder = reachable / "backups"
    backup = make_backup(folder / "20261120", nodes=["10.0.1.10"])
    folder.chmod(0o755)
    for path in (backup, *backup.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    names = ["20261120"]
    assert [one.to for one in permissions.readable(folder, names)] == ["others", "the group"]
    folder.chmod(0o750)  # a closed door above is enough
    assert [one.to for one in permissions.readable(folder, names)] == ["the group"]
    folder.chmod(0o755)
    for path in backup.rglob("*"):
        if path.is_file():
            path.chmod(0o600)
    assert permissions.readable(folder, names) == []
    (backup / "node-10.0.1.10/_users.json").chmod(0o604)
    (found,) = permissions.readable(folder, names)
    assert found.to == "others" and found.paths == (str(backup),)
    (backup / "node-10.0.1.10").chmod(0o700)
    assert permissions.readable(folder, names) == []
    folder.chmod(0o757)
    (found,) = permissions.readable(folder, names)
    assert found.paths == (str(folder),)


def test_links_are_not_followed(reachable: Path) -> None:
    (reachable / "out").symlink_to("/etc/passwd")
    (reachable / "loop").symlink_to(reachable)
    assert permissions.readable(reachable, ["out", "loop"]) == []


async def test_permissions_as_a_check(reachable: Path) -> None:
    world = World(reachable)
    world.pc.chmod(0o700)
    assert (await safeguard.private(world.look())).verdict == "pass"
    world.pc.chmod(0o755)
    for path in world.backup.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    world.backup.chmod(0o755)
    found = await safeguard.private(world.look())
    assert found.verdict == "fail" and f"chmod -R go= '{world.backup}'" in found.observed


# ── the last verification ──────────────────────────────────────────────────────────────────
async def test_verified_within_its_term(world: World) -> None:
    found = await safeguard.verified(world.look())
    assert found.verdict == "fail" and "never verified here: runbook backup verify" in found.observed
    world.verified(world.backup, days=40)
    assert "40d00h ago" in (await safeguard.verified(world.look())).observed
    assert (await safeguard.verified(world.look(), within="60d")).verdict == "pass"
    world.verified(world.backup, days=3, verdict="doubtful")
    assert (await safeguard.verified(world.look())).verdict == "warn"
    world.verified(world.backup, verdict="damaged")
    assert told(await safeguard.verified(world.look())) == (
        "fail",
        "20261120 was verified 0s ago: damaged: why",
    )


# ── OpenTofu's state ───────────────────────────────────────────────────────────────────────
def tofu_file(path: Path, serial: int, lineage: str = "a") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"serial": serial, "lineage": lineage}))


async def test_the_state_beside_the_backups(world: World) -> None:
    found = await safeguard.tofu_state(world.look())
    assert found.verdict == "unknown" and "no *.tfstate lies beside the backups" in found.evidence
    tofu_file(world.root / "tofu/terraform.tfstate", 7)
    tofu_file(world.pc / "infrastructure/terraform.tfstate", 4)
    found = await safeguard.tofu_state(world.look())
    assert found.verdict == "warn" and "its serial is 4, the one in use has 7" in found.observed
    tofu_file(world.drive / "terraform.tfstate", 7)
    assert (await safeguard.tofu_state(world.look())).verdict == "pass"
    (world.root / "tofu/terraform.tfstate").unlink()
    assert (await safeguard.tofu_state(world.look())).verdict == "pass"


def test_states_that_are_none(tmp_path: Path) -> None:
    own = tmp_path / "tofu"
    tofu_file(own / "terraform.tfstate", 1)
    files = {
        "empty": b"",
        "list": b"[]",
        "deep": b"[" * 5000,
        "enc": b'{"encrypted_data":"x"}',
        "raw": b"\xff",
    }
    for name, raw in files.items():
        (tmp_path / f"{name}.tfstate").write_bytes(raw)
    (tmp_path / "loop").symlink_to(tmp_path)
    found = tofustate.judge(tofustate.find([tmp_path / "nowhere", tmp_path]), own)
    assert {one.current for one in found if "tofu/" not in one.path} == {False}
    assert len(found) == 5  # the empty one is none; the one in use lies there as well


# ── the command ────────────────────────────────────────────────────────────────────────────
def call(world: World, *argv: str) -> int:
    from runbook.backup.cli import main

    bench = Workbench(world.state, site=world.look().site, clock=world.clock)
    return main(["safeguards", *argv], bench)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup VM of these tests is nowhere: it is not waited for."""
    names = ["safeguard.media", "safeguard.notes", "safeguard.private"]
    monkeypatch.setattr(command, "_names", lambda: names)


def test_it_reports_and_says_what_is_due(
    world: World, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    world.pc.chmod(0o700)
    assert call(world) == 3
    out = capsys.readouterr().out
    assert "2 questions are due" in out and all(len(line) <= 80 for line in out.splitlines())
    assert call(world, "--answer", "media", "in the safe", "--answer", "notes", "in the wiki") == 0
    assert "in the safe" in capsys.readouterr().out
    given = answers.read(world.state)
    assert [(one.key, one.yes) for one in given] == [("media", True), ("notes", True)] and given[0].who
    assert call(world, "--answer", "media", "no") == 1
    capsys.readouterr()
    assert call(world, "--json") == 1
    assert {one["verdict"] for one in json.loads(capsys.readouterr().out)} == {"pass", "fail"}


def test_wrong_answers_keep_nothing(world: World, quick: None) -> None:
    with pytest.raises(UseError, match="no question 'nothing'"):
        call(world, "--answer", "media", "x", "--answer", "nothing", "x")
    assert answers.read(world.state) == []


def test_on_a_terminal_it_asks_what_is_due(
    world: World, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.pc.chmod(0o700)
    said = iter(["x" * 3000, ""])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: next(said))
    assert call(world) == 3
    assert "Not kept: The answer is longer" in capsys.readouterr().err
    said = iter(["in the bank"])

    def one(prompt: str) -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", one)
    assert call(world) == 3
    out = capsys.readouterr().out
    assert "in the bank" in out and "1 question is due" in out
