"""The journal: what is in it stays as it was, and a change is seen."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.errors import JournalDamaged, JournalLocked, StateError
from runbook.events import CheckDone, JournalRepaired, Noted, RunEnded, RunResumed, RunStarted, Unknown
from runbook.record import chain, journal
from runbook.record.journal import Journal, OutputFile
from runbook.redact import Redactor


class Clock:
    """Goes on by a second with every look."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 24, 2, 32, tzinfo=UTC)

    def now(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment

    def monotonic(self) -> float:
        return 0.0


def note(text: str, **data: Any) -> Noted:
    return Noted(step="restore", attempt=1, host="vm1", text=text, data=data)


STARTED = RunStarted(
    run="r",
    guide="# guide",
    guide_name="full-system-restore",
    guide_sha256="0" * 64,
    title="Full system restore",
    site={},
    mode="practice",
    tool="0.1.0",
    by="ana",
    pc="pc",
)


async def write(folder: Path, *events: Any, redactor: Redactor | None = None) -> list[Any]:
    opened = (
        Journal.open(folder, Clock(), redactor or Redactor())
        if folder.exists()
        else Journal.create(folder, Clock(), redactor or Redactor())
    )
    try:
        return [await opened.append(event) for event in events]
    finally:
        await opened.close()


async def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "runs" / "r"
    written = await write(folder, STARTED, note("ä 東京", n=1, deep={"list": [1, None, "x"]}))
    written += await write(folder, RunEnded(verdict="passed"))
    assert journal.read(folder) == written
    assert [record.seq for record in written] == [1, 2, 3]
    assert written[0].at == "2026-11-24T02:32:01.000+00:00"
    proved = journal.verify(folder)
    assert (proved.ok, proved.records, proved.head) == (True, 3, written[-1].hash)


async def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "runs" / "r"
    await write(folder, STARTED)
    for path in (folder.parent.parent, folder.parent, folder):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_secrets_do_not_get_in_and_words_of_ours_survive_them(tmp_path: Path) -> None:
    folder, redactor = tmp_path / "r", Redactor()
    redactor.learn("c4nary-secret", "couchdb.password")
    for ours in ("noted", "restore", "check_done", "pass_", "unknown", "after"):
        redactor.learn(ours, "odd")
    check = CheckDone(
        step="restore",
        attempt=1,
        phase="after",
        check="a.b",
        host="vm1",
        verdict="unknown",
        expected="e",
        observed="saw c4nary-secret",
    )
    secret = redactor.learn("an0ther-one", "cookie")
    records = await write(
        folder,
        STARTED,
        check,
        note(
            "is c4nary-secret", key={"c4nary-secret": ["c4nary-secret"]}, s=secret, path=PurePosixPath("/x")
        ),
        redactor=redactor,
    )
    raw = (folder / "journal.jsonl").read_bytes()
    assert b"c4nary" not in raw and b"an0ther" not in raw
    assert records[1].event.verdict == "unknown"
    assert records[2].event.data["path"] == "/x"
    assert journal.read(folder) == records


@given(text=st.text(st.characters(exclude_categories=()), max_size=40), number=st.integers())
@settings(max_examples=50)
def test_any_text_can_be_recorded(text: str, number: int) -> None:
    raw, digest = chain.line(
        1, "t", chain.FIRST, {"type": "note_added", "kind": "note", "text": text, "by": "n"}
    )
    other, _ = chain.line(2, "t", digest, {"type": "newer", "n": number, "t": [text]})
    scanned = chain.scan(raw + other)
    assert scanned.problems == []
    assert isinstance(scanned.records[1].event, Unknown)


async def test_events_of_a_newer_program_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    first = await write(folder, STARTED)
    newer = {"type": "signed_off", "by": "bea", "list": [1, 2]}
    raw, _ = chain.line(2, "2026-11-24T03:00:00.000+00:00", first[0].hash, newer)
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(raw)
    await write(folder, note("after it"))
    records = journal.read(folder)
    assert records[1].event == Unknown("signed_off", b'{"type":"signed_off","by":"bea","list":[1,2]}')
    assert journal.verify(folder).ok


async def test_every_changed_byte_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    await write(folder, STARTED, note("one"), note("two"))
    path = folder / "journal.jsonl"
    whole = path.read_bytes()
    random = Random(1)
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= random.randrange(1, 256)
        path.write_bytes(changed)
        assert not journal.verify(folder).ok, at


async def test_lines_taken_out_put_in_or_swapped_are_seen(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    await write(folder, STARTED, note("one"), note("two"))
    path = folder / "journal.jsonl"
    a, b, c = path.read_bytes().splitlines(keepends=True)
    for lines in ((a, c), (b, c), (a, c, b), (a, b, b, c), (a, b, c, b"\n"), (b"", b"{}\n")):
        path.write_bytes(b"".join(lines))
        assert not journal.verify(folder).ok
        with pytest.raises(JournalDamaged) as caught:
            journal.read(folder)
        assert "record" in caught.value.what
        with pytest.raises(JournalDamaged):
            Journal.open(folder, Clock(), Redactor())
        assert path.read_bytes() == b"".join(lines), "a damaged journal is not touched"
        assert not ({found.name for found in folder.iterdir()} - {"journal.jsonl", "journal.lock"})


async def test_a_cut_off_last_line_is_set_aside_wherever_it_was_cut(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    await write(folder, STARTED, note("one"))
    path = folder / "journal.jsonl"
    whole = path.read_bytes()
    good = whole.index(b"\n") + 1
    for cut in range(good + 1, len(whole)):
        path.write_bytes(whole[:cut])
        assert len(journal.read(folder)) == 1
        assert not journal.verify(folder).ok
        opened = Journal.open(folder, Clock(), Redactor())
        await opened.close()
        _, repaired = journal.read(folder)
        assert isinstance(repaired.event, JournalRepaired)
        assert repaired.event.dropped_bytes == cut - good
        kept = folder / repaired.event.kept_as
        assert kept.read_bytes() == whole[good:cut]
        assert journal.verify(folder).ok
        kept.unlink()


async def test_only_one_writer(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    await write(folder, STARTED)
    opened = Journal.open(folder, Clock(), Redactor())
    script = (
        "import sys; from pathlib import Path\n"
        "from runbook.record.journal import Journal; from runbook.redact import Redactor\n"
        "from runbook.clock import SystemClock; from runbook.errors import JournalLocked\n"
        "try: Journal.open(Path(sys.argv[1]), SystemClock(), Redactor())\n"
        "except JournalLocked as error: print(error)\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(folder), stdout=subprocess.PIPE
    )
    told, _ = await child.communicate()
    assert f"process {os.getpid()} on " in told.decode()
    with pytest.raises(JournalLocked):
        Journal.open(folder, Clock(), Redactor())
    await opened.close()
    await write(folder, note("free again"))
    with pytest.raises(StateError, match="closed"):
        await opened.append(note("late"))


async def test_appends_keep_their_order_and_outlive_a_cancelled_caller(tmp_path: Path) -> None:
    opened = Journal.create(tmp_path / "r", Clock(), Redactor())
    tasks = [asyncio.ensure_future(opened.append(note(str(number)))) for number in range(20)]
    await asyncio.sleep(0)
    tasks[7].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await opened.close()
    texts = [record.event.text for record in journal.read(tmp_path / "r")]
    assert texts == [str(number) for number in range(20)]


async def test_a_full_disk_is_told_and_leaves_the_journal_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Journal.create(tmp_path / "r", Clock(), Redactor())
    await opened.append(STARTED)
    before = (tmp_path / "r" / "journal.jsonl").read_bytes()
    real = os.write

    def half(file: int, data: Any) -> int:
        if len(data) > 20:
            return real(file, bytes(data)[:20])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal.os, "write", half)
        with pytest.raises(StateError, match="No space left on device"):
            await opened.append(note("lost"))
    assert (tmp_path / "r" / "journal.jsonl").read_bytes() == before
    await opened.append(note("kept"))
    await opened.close()
    assert [type(record.event) for record in journal.read(tmp_path / "r")] == [RunStarted, Noted]
    assert journal.verify(tmp_path / "r").ok


async def test_a_journal_that_something_else_wrote_to_is_not_written_on(tmp_path: Path) -> None:
    opened = Journal.create(tmp_path / "r", Clock(), Redactor())
    await opened.append(STARTED)
    with (tmp_path / "r" / "journal.jsonl").open("ab") as file:
        file.write(b"{}\n")
    for _ in range(2):
        with pytest.raises(StateError, match="Something else"):
            await opened.append(note("x"))
    await opened.close()


def test_no_journal_is_said(tmp_path: Path) -> None:
    for look in (journal.read, journal.verify, lambda folder: Journal.open(folder, Clock(), Redactor())):
        with pytest.raises(StateError, match="no journal"):
            look(tmp_path)


async def test_a_taken_folder_is_not_touched(tmp_path: Path) -> None:
    await write(tmp_path / "r", STARTED)
    with pytest.raises(StateError, match="already"):
        Journal.create(tmp_path / "r", Clock(), Redactor())


# ── output files ───────────────────────────────────────────────────────────────────────────
def test_output_is_redacted_hashed_and_never_written_over(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.learn("c4nary-secret", "p")
    for number in (1, 2):
        file = OutputFile(tmp_path, "deploy.1.vm1", redactor)
        assert file.path == ""
        for chunk in (b"\x1b[1mpass c4na", b"ry-sec", b"ret\n", b"c4nary"):
            file.write(chunk)
        path, count, digest = file.close()
        assert path == ("output/deploy.1.vm1.log" if number == 1 else "output/deploy.1.vm1-2.log")
        raw = (tmp_path / path).read_bytes()
        assert raw == b"\x1b[1mpass [secret p]\nc4nary"
        assert count == len(raw)
        assert digest == hashlib.sha256(raw).hexdigest()
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o600


def test_no_output_no_file(tmp_path: Path) -> None:
    file = OutputFile(tmp_path, "../../etc/x y", Redactor())
    assert file.close() == ("", 0, "")
    assert list(tmp_path.iterdir()) == []
    file = OutputFile(tmp_path, "../../etc/x y", Redactor())
    file.write(b"x")
    assert file.close()[0] == "output/etc-x-y.log"


def test_a_full_disk_does_not_stop_the_act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = OutputFile(tmp_path, "a", Redactor())
    file.write(b"first\n")

    def full(handle: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("runbook.record.output.os.write", full)
        file.write(b"second\n")
    file.write(b"third\n")
    assert file.close()[1] == 6
    assert "No space left" in file.problem


# ── runs ───────────────────────────────────────────────────────────────────────────────────
async def test_runs_are_listed_newest_first_with_their_state(tmp_path: Path) -> None:
    assert journal.runs(tmp_path) == []
    clock = Clock()
    ids = []
    for events in (
        (RunEnded(verdict="passed"),),
        (note("x" * 200_000), RunEnded(verdict="stopped"), RunResumed(by="ana", pc="pc", tool="1")),
        (note("y"), RunEnded(verdict="stopped")),
        (),
    ):
        run = journal.new_run_id(tmp_path, "full-system-restore", "practice", clock)
        ids.append(run)
        opened = Journal.create(tmp_path / "runs" / run, clock, Redactor())
        for event in (STARTED, *events):
            await opened.append(event)
        await opened.close()
    assert ids[:2] == [
        "20261124-0232-practice-full-system-restore",
        "20261124-0232-practice-full-system-restore-2",
    ]
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "odd").mkdir()
    (tmp_path / "runs" / "odd" / "journal.jsonl").write_bytes(b"\xff\xfe")
    found = journal.runs(tmp_path)
    assert [run.id for run in found[:4]] == [*reversed(ids)]
    # a run whose journal is gone is not hidden
    assert sorted(run.id for run in found[4:]) == ["empty", "odd"]
    assert [run.status for run in found] == ["unfinished", "stopped", "unfinished", "passed"] + [
        "unreadable"
    ] * 2
    assert found[1].step == "restore"
    assert found[0].title == "Full system restore" and found[0].started == found[0].last
    opened = Journal.open(tmp_path / "runs" / ids[-1], clock, Redactor())
    assert journal.runs(tmp_path)[0].status == "running"
    await opened.close()


async def test_a_damaged_journal_is_listed_as_one(tmp_path: Path) -> None:
    for name in ("small", "large", "cut", "first"):
        events = [note("y" * 500) for _ in range(200 if name == "large" else 3)]
        await write(tmp_path / "runs" / name, STARTED, *events, RunEnded(verdict="passed"))

    def change(name: str, how: Any) -> None:
        path = tmp_path / "runs" / name / "journal.jsonl"
        path.write_bytes(how(path.read_bytes()))

    def listed() -> dict[str, tuple[str, str]]:
        return {run.id: (run.status, run.problem) for run in journal.runs(tmp_path)}

    assert set(listed().values()) == {("passed", "")}
    change("small", lambda data: data.replace(b"passed", b"failed"))
    change("large", lambda data: b"".join(data.splitlines(True)[:-2] + data.splitlines(True)[-1:]))
    change("cut", lambda data: data + b'{"v":1,"seq":6')
    change("first", lambda data: data.replace(b"Full system restore", b"Half system restore"))
    found = listed()
    assert found["small"] == ("damaged", "record 5: was changed (its hash does not fit its text)")
    assert found["large"][0] == "damaged"
    assert found["large"][1].startswith("record 201: does not follow the record before it")
    assert found["cut"] == ("passed", ""), "what a kill leaves is no damage"
    assert found["first"] == ("damaged", "record 1: was changed (its hash does not fit its text)")
    assert not any(run.unfinished for run in journal.runs(tmp_path))


async def test_the_list_reads_little_of_a_long_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it costs does not grow with the journal; `report verify` reads all of it."""
    folder = tmp_path / "runs" / "long"
    await write(folder, STARTED, *(note("y" * 500) for _ in range(400)), RunEnded(verdict="passed"))
    proved: list[int] = []

    def counting(raw: bytes) -> Any:
        proved.append(len(raw))
        return parse(raw)

    parse = chain.parse
    monkeypatch.setattr("runbook.record.chain.parse", counting)
    assert journal.runs(tmp_path)[0].status == "passed"
    assert sum(proved) < 40_000 < (folder / "journal.jsonl").stat().st_size


async def test_a_last_record_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    await write(tmp_path / "runs" / "r", STARTED, note("z" * 300_000))
    await write(tmp_path / "runs" / "r", RunEnded(verdict="stopped", reason="z" * 200_000))
    assert journal.runs(tmp_path)[0].status == "stopped"


def test_names_of_runs_are_safe(tmp_path: Path) -> None:
    clock = Clock()
    assert journal.new_run_id(tmp_path, "g", "drill", clock, "Übung Q4/2026 ../x") == "Ubung-Q4-2026-..-x"
    (tmp_path / "runs" / "drill-2026Q4").mkdir(parents=True)
    with pytest.raises(StateError, match="already"):
        journal.new_run_id(tmp_path, "g", "drill", clock, "drill-2026Q4")
    assert journal.slug("..") == "run"
