"""The drill report: drawn from the journal alone, and any change is seen."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from markdown_it import MarkdownIt

from runbook import report
from runbook.errors import StateError
from runbook.events import (
    ActEnded,
    ActStarted,
    Answered,
    Asked,
    AttemptStarted,
    CheckDone,
    JobStarted,
    NoteAdded,
    Noted,
    Planned,
    Probed,
    Ran,
    ReportWritten,
    RunEnded,
    RunResumed,
    RunStarted,
    Saved,
    StepEnded,
)
from runbook.record.journal import Journal, OutputFile, check, read
from runbook.redact import Redactor
from runbook.report import FILES, saving
from runbook.report.build import build
from runbook.report.verify import verify

GOLDEN = Path(__file__).parent.parent / "data" / "golden" / "run"
GUIDE = """+++
title = "Made up"
summary = "A small guide for a test."
modes = ["practice", "drill", "recovery"]
rto = "1h"
+++
# Made up

## Freeze

Prose.

```toml step
id = "freeze"
action = "backup.freeze"
on = "backup"
after = ["backup.pinned"]
```

## Restore the data

```toml step
id = "restore"
action = "couchdb.restore"
on = "first production"
before = ["hosts.disk_free(min='1GB')"]
after = ["couchdb.contents_match"]
timeout = "30m"
expected = "10m"
[with]
batch = 500
```

## Look at it

```toml step
id = "look"
after = ["openedx.heartbeat"]
```

## Never reached

```toml step
id = "last"
action = "manual"
```
"""
SITE = {
    "name": "school.example",
    "objectives": {"rto": "30m", "rpo": "24h"},
    "contacts": [{"name": "ana", "role": "commander"}],
}
HOSTILE = "\x1b[2J<img src=x>|`rm`\u202e [x](http://evil)"
FREEZE = {"step": "freeze", "attempt": 1, "host": "backup"}
RESTORE = {"step": "restore", "host": "vm1"}


class Clock:
    """Ten seconds a look."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 24, 2, 32, tzinfo=UTC)

    def now(self) -> datetime:
        self.moment += timedelta(seconds=10)
        return self.moment

    def monotonic(self) -> float:
        return 0.0


def started(mode: Any = "drill") -> RunStarted:
    return RunStarted(
        run="20261124-0232-drill-made-up", guide=GUIDE, guide_name="made-up",
        guide_sha256=hashlib.sha256(GUIDE.encode()).hexdigest(), title="Made up", site=SITE, mode=mode,
        tool="0.1.0", by="ana", pc="laptop", simulated=("everything",) if mode == "practice" else (),
    )  # fmt: skip


def checked(step: str, name: str, verdict: Any = "pass", **more: Any) -> CheckDone:
    given = {"attempt": 1, "phase": "after", "host": "vm1", "expected": "e", "observed": "o", "seconds": 0.25}
    return CheckDone(step=step, check=name, verdict=verdict, **(given | more))


async def make(folder: Path, *, mode: Any = "drill", end: bool = True) -> Path:
    """A run with a failed attempt, a skip, a remark, hostile output and a resumption."""
    redactor, clock = Redactor(), Clock()
    redactor.learn("c4nary-secret", "couchdb.password")
    journal = Journal.create(folder, clock, redactor)
    first = OutputFile(folder, "freeze.1.backup", redactor)
    first.write(b"frozen with c4nary-secret\n")
    second = OutputFile(folder, "restore.2.vm1", redactor)
    second.write(b"100%\n")
    kept = [
        dict(zip(("output", "output_bytes", "output_sha256"), file.close(), strict=True))
        for file in (first, second)
    ]
    go = {"by": "ana", "via": "tui"}
    events: list[Any] = [
        started(mode),
        AttemptStarted(step="freeze", attempt=1, hosts=("backup",)),
        Probed(**FREEZE, satisfied=False, summary="the schedule runs"),
        Planned(**FREEZE, summary="freeze it", items=("edit crontab", HOSTILE), changes="stops backups",
                digest="d" * 64),
        Asked(id="q1", step="freeze", kind="confirm", text="Freeze?", default="go"),
        Answered(id="q1", value="go", **go),
        ActStarted(**FREEZE, digest="d" * 64),
        Ran(**FREEZE, command="crontab -l", exit_status=0, seconds=0.2),
        Noted(**FREEZE, text="Backup 20261123 is used.", data={
            "kind": "backup", "id": "20261123", "time": "2026-11-23T01:00:00+00:00", "tier": "daily",
            "place": "backup VM", "path": "/b/20261123", "bytes": 1234567, "checksum": "ab12"}),
        ActEnded(**FREEZE, outcome="done", summary="frozen", **kept[0]),
        Saved(step="freeze", values={"backup_id": "20261123"}),
        checked("freeze", "backup.pinned", host="backup"),
        StepEnded(step="freeze", attempt=1, verdict="pass", how="acted"),
        AttemptStarted(step="restore", attempt=1, hosts=("vm1",)),
        checked("restore", "hosts.disk_free(min='1GB')", phase="before"),
        ActStarted(**RESTORE, attempt=1, digest="e" * 64),
        ActEnded(**RESTORE, attempt=1, outcome="failed", summary=f"refused: {HOSTILE}", next="Look."),
        Asked(id="q2", step="restore", kind="failed", text="Failed.", default="stop"),
        RunResumed(by="bea", pc="desk", tool="0.1.1"),
        AttemptStarted(step="restore", attempt=2, hosts=("vm1",)),
        JobStarted(**RESTORE, attempt=2, job="r-restore-x", command="worker"),
        ActStarted(**RESTORE, attempt=2, digest="f" * 64),
        Noted(**RESTORE, attempt=2, text="restored", data={
            "kind": "restore", "database": "openedx_1", "expected": 10, "actual": 10, "refused": []}),
        Noted(**RESTORE, attempt=2, text="restored", data={
            "kind": "restore", "database": "_users", "expected": 3, "actual": 2,
            "refused": ["org.couchdb.user:x"]}),
        Noted(**RESTORE, attempt=2, text="copies", data={
            "kind": "copies", "database": "openedx_1", "ranges": 8, "copies": 3, "equal": True}),
        ActEnded(**RESTORE, attempt=2, outcome="done", summary="restored", **kept[1]),
        checked("restore", "couchdb.contents_match", attempt=2, evidence=f"db  n\na   1\n```\n{HOSTILE}"),
        StepEnded(step="restore", attempt=2, verdict="pass", how="acted"),
        NoteAdded(kind="note", text=f"went well {HOSTILE}", by="bea"),
        NoteAdded(kind="issue", text="the hotel's uplink is slow", by="bea", step="restore"),
        AttemptStarted(step="look", attempt=1, hosts=("operator",)),
        checked("look", "openedx.heartbeat", "unknown", observed="could not look"),
        StepEnded(step="look", attempt=1, verdict="unknown", how="skipped", reason="no route", by="bea"),
    ]  # fmt: skip
    if end:
        events.append(RunEnded(verdict="completed with deviations"))
    for event in events:
        await journal.append(event)
    await journal.close()
    return folder


async def test_a_small_journal_gives_exactly_this_report(tmp_path: Path) -> None:
    """UPDATE_GOLDEN=1 writes the files anew; then read the difference."""
    run = await make(tmp_path / "run")
    saving.write(run)
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        shutil.copytree(run, GOLDEN, ignore=shutil.ignore_patterns("journal.lock"))
    for name in ("journal.jsonl", "report.md", "report.json", "output/freeze.1.backup.log"):
        assert (run / name).read_bytes() == (GOLDEN / name).read_bytes(), name


def test_the_golden_run_verifies_wherever_it_lies(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(GOLDEN, copy)
    result = verify(copy)
    assert (result.ok, result.problems, result.files, result.records) == (True, (), 4, 34)
    assert result.head == read(copy)[-1].hash


def test_all_sixteen_sections_and_nothing_hostile() -> None:
    text = report.text(GOLDEN)
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert [title.split(".")[0] for title in titles] == [f"## {number}" for number in range(1, 17)]
    assert "c4nary" not in text
    assert not set(text) & set("\x1b\u202e")
    parser = MarkdownIt("gfm-like", {"html": True})
    kinds = [token.type for token in parser.parse(text)]
    inner = [kind.type for token in parser.parse(text) for kind in token.children or ()]
    assert "html_block" not in kinds
    assert not {"link_open", "image", "html_inline"} & set(inner)
    assert kinds.count("h2") == 0 and parser.render(text).count("<h2>") == 16


def section(text: str, number: int) -> str:
    return text.split(f"\n## {number}. ")[1].split("\n## ")[0]


def test_what_a_reader_looks_for_is_there() -> None:
    text = report.text(GOLDEN)
    assert "| ana | commander |" in section(text, 3)
    goals = section(text, 4)
    assert "| RTO | 30m00 | 5m30 | 24m30 | met | from the run's start to its end" in goals
    assert "| RPO | 1d00h | 1d01h | over by 1h32 | MISSED | from the backup's time" in goals
    clock = section(text, 5)
    assert "waiting for people**: 10s" in clock and "program was away**: 10s" in clock
    assert "machine time**: 5m10" in clock
    assert "1.2 MB (1234567 bytes)" in section(text, 6)
    integrity = section(text, 7)
    assert "| openedx_1 | 10 | 10 | equal |" in integrity
    assert "| 3 | 2 | DIFFERENT | org.couchdb.user:x | observed |" in integrity
    assert "| openedx_1 | 8 | 3 | equal | observed |" in integrity
    steps = section(text, 8)
    assert "output/freeze.1.backup.log" in steps and "crontab -l" in steps
    assert "attested" in steps.split("Step look")[1]
    not_run = section(text, 9)
    assert "skipped by bea: no route" in not_run
    assert "| last | Never reached | the run ended before it (completed with deviations) |" in not_run
    assert "| skipped | The step was skipped. | no route | bea |" in section(text, 10)
    issues = section(text, 11)
    assert "hotel's uplink" in issues
    assert "(attempt 2), which passed; what was mended in between is not on record" in issues
    assert "went well" in section(text, 12)
    assert "not recorded" in section(text, 13)
    assert "its end is not on record" in section(text, 14)
    assert read(GOLDEN)[-1].hash in section(text, 15)
    assert "CP-4" in section(text, 16)


def test_json_is_raw_complete_and_harmless_to_print() -> None:
    raw = report.text(GOLDEN, "json")
    assert raw.isascii() and raw.replace("\n", "").isprintable()
    found = json.loads(raw)
    assert found["steps"][1]["attempts"][0]["hosts"][0]["summary"] == f"refused: {HOSTILE}"
    assert found["objectives"]["rto"]["margin"] == 1470.0
    assert list(found)[:4] == ["v", "identity", "scope", "people"]


async def test_practice_never_proves(tmp_path: Path) -> None:
    run = await make(tmp_path / "run", mode="practice")
    text = report.text(run)
    assert "in the practice lab: simulated, never proves" in text
    labels = {row["label"] for row in json.loads(report.text(run, "json"))["integrity"]["databases"]}
    assert labels == {"simulated"}
    assert "| observed |\n" not in text


async def test_a_run_without_an_end_is_reported_as_far_as_it_goes(tmp_path: Path) -> None:
    run = await make(tmp_path / "run", end=False)
    text = report.text(run)
    assert "This run has not ended" in text
    assert "the run has not come to it yet" in section(text, 9)
    assert "cannot be said" in section(text, 4)


async def test_an_empty_or_strange_journal_is_reported_too(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run", Clock(), Redactor())
    await journal.append(Noted(step="x", attempt=3, host="vm1", text="alone", data={"kind": "restore"}))
    await journal.append(RunStarted(
        run="r", guide="no guide at all", guide_name="g", guide_sha256="", title="T", mode="drill",
        site={"objectives": {"rto": "soon"}, "contacts": "nobody", "name": None}, tool="", by="", pc="",
    ))  # fmt: skip
    await journal.close()
    assert len(section(report.text(tmp_path / "run"), 8)) > 0
    json.loads(report.text(tmp_path / "run", "json"))
    with pytest.raises(StateError):
        report.text(tmp_path)


# ── changes are seen ───────────────────────────────────────────────────────────────────────
@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "run"))


NAMES = ["journal.jsonl", "report.md", "report.json"] + [
    f"output/{name}.log" for name in ("freeze.1.backup", "restore.2.vm1")
]


@pytest.mark.parametrize("name", NAMES)
def test_every_changed_byte_is_seen(run: Path, name: str) -> None:
    path, random = run / name, Random(name)
    whole = path.read_bytes()
    for at in [0, len(whole) - 1, *(random.randrange(len(whole)) for _ in range(15))]:
        changed = bytearray(whole)
        changed[at] ^= random.randrange(1, 256)
        path.write_bytes(changed)
        result = verify(run)
        assert not result.ok, at
        assert any(name.split(".")[0] in problem for problem in result.problems)
    for changed in (b"", whole[:-1], whole + b"\n"):
        path.write_bytes(changed)
        assert not verify(run).ok
    path.write_bytes(whole)
    assert verify(run).ok


def test_no_damage_keeps_the_report_from_being_written(run: Path) -> None:
    path, random = run / "journal.jsonl", Random(3)
    whole = path.read_bytes()
    places = [*random.sample(range(len(whole)), 60), whole.index(b'"at":"') + 8, whole.rindex(b'"at":"') + 12]
    for at in places:
        changed = bytearray(whole)
        changed[at] = random.choice(b'0zZ+:"\\{\xff')
        path.write_bytes(changed)
        assert bytes(changed) == whole or "NO EVIDENCE" in report.text(run)
        json.loads(report.text(run, "json"))


def test_files_missing_added_or_replaced_are_seen(run: Path) -> None:
    log = run / "output" / "freeze.1.backup.log"
    whole = log.read_bytes()
    log.unlink()
    assert "is missing" in verify(run).problems[0]
    log.symlink_to(run / "journal.jsonl")
    assert not verify(run).ok
    log.unlink()
    log.write_bytes(whole)
    (run / "output" / "planted.log").write_bytes(b"x")
    assert verify(run).problems == ("output/planted.log: the journal does not name this file",)


def test_records_cut_off_the_end_show_against_the_report(run: Path) -> None:
    path = run / "journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert [problem.split(":")[0] for problem in verify(run).problems] == ["report.md", "report.json"]


async def test_a_report_made_before_the_run_went_on_is_old_not_changed(run: Path) -> None:
    journal = Journal.open(run, Clock(), Redactor())
    await journal.append(NoteAdded(kind="note", text="afterwards", by="bea"))
    await journal.close()
    result = verify(run)
    assert result.ok
    assert any("made after record 34" in remark for remark in result.remarks)
    changed = (run / "report.md").read_text().replace("24m30", "25m30")
    (run / "report.md").write_text(changed)
    assert not verify(run).ok
    report.save(run)
    assert verify(run) == type(result)(True, 36, 4, read(run)[34].hash)


@pytest.fixture
async def saved(tmp_path: Path) -> Path:
    """A run whose report is on record as written."""
    folder = await make(tmp_path / "saved")
    report.save(folder)
    return folder


async def test_that_the_report_was_written_is_on_record(saved: Path) -> None:
    said = read(saved)[-1].event
    assert isinstance(said, ReportWritten) and said.records == 34
    for name in FILES.values():
        assert said.files[name] == hashlib.sha256((saved / name).read_bytes()).hexdigest()
    result = verify(saved)
    assert (result.ok, result.remarks, result.files, result.records) == (True, (), 4, 35)
    assert f"Last hash**: {result.head}" in (saved / "report.md").read_text()
    assert report.text(saved) == (saved / "report.md").read_text()


async def test_writing_it_again_changes_nothing(saved: Path) -> None:
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    report.save(saved)
    assert {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", FILES.values())
async def test_a_report_that_is_gone_or_changed_is_named(saved: Path, name: str) -> None:
    whole = (saved / name).read_bytes()
    (saved / name).unlink()
    assert verify(saved).problems == (f"{name}: is missing: the journal says that it was written",)
    (saved / name).write_bytes(whole.replace(b"9", b"8", 1))
    assert [problem.split(":")[0] for problem in verify(saved).problems] == [name]
    (saved / name).write_bytes(whole)
    assert verify(saved).ok


async def test_output_that_is_gone_is_named_with_its_report(saved: Path) -> None:
    shutil.rmtree(saved / "output")
    (saved / "report.md").unlink()
    assert [problem.split(":")[0] for problem in verify(saved).problems] == [
        "output/freeze.1.backup.log",
        "output/restore.2.vm1.log",
        "report.md",
    ]


async def test_a_report_that_was_never_written_is_a_remark(tmp_path: Path) -> None:
    result = verify(await make(tmp_path / "run"))
    assert result.ok
    assert result.remarks == tuple(f"{n}: not on record as written, and not there" for n in FILES.values())


async def test_a_report_of_another_version_of_this_program_is_still_proved(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook.report.verify.render", lambda report, form: "drawn in another way")
    assert verify(saved).ok
    (saved / "report.md").write_text("forged")
    assert not verify(saved).ok


async def test_while_another_program_has_the_run_its_report_is_written_off_the_record(saved: Path) -> None:
    journal = Journal.open(saved, Clock(), Redactor())
    await journal.append(NoteAdded(kind="note", text="afterwards", by="bea"))
    report.save(saved)
    await journal.close()
    assert isinstance(read(saved)[-1].event, NoteAdded)
    assert verify(saved).ok, "it is exactly what the journal gives"


async def test_a_report_later_makes_the_run_no_longer(saved: Path) -> None:
    """Neither its end nor its times move when its report is looked at days later."""
    before = json.loads(report.text(saved, "json"))
    opened = Journal.open(saved, Clock(), Redactor())
    opened.append_now(ReportWritten(records=34, files={}))
    opened.close_now()
    assert json.loads(report.text(saved, "json")) == before


def test_a_damaged_journal_is_reported_and_says_so(run: Path) -> None:
    path = run / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Restore the data", b"Restore the DATA"))
    text = report.text(run)
    assert "NO EVIDENCE" in text.splitlines()[2]
    assert "record 1: was changed" in section(text, 15)
    assert not check(run)[1].ok
    report.save(run)
    assert not verify(run).ok, "a new report does not mend a journal"


def test_the_same_journal_gives_the_same_bytes_in_another_process() -> None:
    script = "import sys; from pathlib import Path; from runbook import report\n" \
             "sys.stdout.buffer.write(report.text(Path(sys.argv[1]), 'json').encode())"  # fmt: skip
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    ran = subprocess.run(
        [sys.executable, "-c", script, str(GOLDEN)], capture_output=True, env=env, check=True
    )
    assert ran.stdout == (GOLDEN / "report.json").read_bytes()


def test_build_needs_only_records() -> None:
    records, proved = check(GOLDEN)
    assert build(records, proved) == build(tuple(records), proved)


async def test_a_warning_is_counted_apart_and_told_once(tmp_path: Path) -> None:
    """Of three attempts that each had it: one remark; the step passed, with warnings."""
    journal = Journal.create(tmp_path / "run", Clock(), Redactor())
    events: list[Any] = [started("practice")]
    for attempt in (1, 2, 3):
        events += [
            AttemptStarted(step="freeze", attempt=attempt, hosts=("backup",)),
            checked("freeze", "hosts.old", "warn", attempt=attempt, host="backup", observed="backup: is old"),
            checked("freeze", "backup.pinned", "pass" if attempt == 3 else "fail", attempt=attempt),
        ]
    events += [
        StepEnded(step="freeze", attempt=3, verdict="warn", how="acted"),
        RunEnded(verdict="passed"),
    ]
    for event in events:
        await journal.append(event)
    await journal.close()
    text = report.text(tmp_path / "run")
    goals = section(text, 4)
    assert "| pass, with warnings | 1 of 2 checks held in the last attempt, 1 with a warning |" in goals
    assert "| met (simulated) |" in goals
    assert "with warnings" in section(text, 5)
    assert section(text, 10).count("hosts.old on backup: is old (3 times)") == 1
    first, second = section(text, 11).split("### Issue ")[1:]
    assert "2026-11-24 02:32:40 UTC" in first  # when the check told, not when the attempt began
    assert "- **Time lost**: 10s" in first and "tried again (attempt 2);" in first
    assert "(attempt 3), which passed" in second
