"""A workbench and a session whose events are scripted; guide, state and records are the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook.clock import stamp
from runbook.errors import RunbookError, UseError
from runbook.events import (
    ActEnded,
    ActStarted,
    Answered,
    Asked,
    AttemptStarted,
    CancelConfirmed,
    CancelRequested,
    CheckDone,
    Event,
    NoteAdded,
    Option,
    Output,
    Planned,
    Probed,
    Progress,
    Record,
    RunEnded,
    RunStarted,
    RunVerdict,
    StepEnded,
)
from runbook.front import Answer, FrontEnd
from runbook.guide.model import Guide, parse
from runbook.record.runs import RunSummary
from runbook.record.state import RunState
from runbook.site.model import Contact, CouchDB, Platform, SecretRef, Site
from runbook.workbench import GuideInfo

GUIDE = """\
+++
title = "Full system restore"
summary = "Every production VM is lost. Rebuild them and bring the data back from a backup."
modes = ["practice", "drill", "recovery"]
rto = "4h"
+++
# Full system restore

Use this when every production VM is gone.

## Freeze the backups and pin one

At 01:00 the backup VM would back up a broken system, and prune the good backups to make room
for it. So the schedule is stopped **first**.

> **Departs from the original.**
> **The original says:** nothing; it goes straight to deploying.
> **We do:** stop the backup schedule first.
> **Why:** the nightly job deletes the oldest backup.
> **Evidence:** the backup VM keeps 7 dailies.

```toml step
id      = "freeze"
action  = "backup.freeze"
on      = "backup"
before  = ["hosts.reachable"]
after   = ["backup.schedule_frozen"]
timeout = "1h"
changes = "stops the backup schedule on the backup VM"
```

## Unpack the configuration on each VM

The configuration archive from the backup is listed here first, and refused if any member would
land outside its folder.

```toml step
id      = "unpack"
action  = "config.unpack"
on      = "each production"
before  = ["hosts.disk_free(min='1GB')"]
after   = ["compose.file_found"]
timeout = "15m"
changes = "replaces the platform's configuration on the production VMs"
```

## Verify that the platform works for a user

- An administrator can log in.
- A course opens.

```toml step
id    = "verify"
on    = "each production"
after = ["openedx.heartbeat"]
```
"""
CONTACT = Contact(
    name="Ana Pérez",
    role="platform owner",
    phone="+49 30 1234567",
    email="ana@example.org",
    when="day and night",
)
SITE = Site(
    name="campus",
    platform=Platform(domain="learn.example.org"),
    couchdb=CouchDB(password=SecretRef(env="A"), cookie=SecretRef(env="B"), secret=SecretRef(env="C")),
    contacts=(CONTACT,),
    operator="ana",
)
GO = (
    Option("go", "Do it", "replaces the platform's configuration on the production VMs"),
    Option("skip", "Skip this step", "a reason is asked for; the run cannot end as passed"),
    Option("stop", "Stop and resume later", "nothing is changed"),
)
VMS = ("vm1", "vm2", "vm3")


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 24, 3, 0, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return 1000.0 + self.seconds


Script = Callable[["FakeSession"], Awaitable[RunVerdict]]


class FakeSession:
    """``script`` plays the engine: it emits events and asks questions."""

    def __init__(self, script: Script, clock: FakeClock | None = None, mode: str = "practice") -> None:
        self.id, self.folder = "20261124-0300-practice-full-system-restore", Path("/runs/fake")
        self.guide: Guide = parse(GUIDE, name="full-system-restore")
        self.site, self.mode, self.state = SITE, mode, RunState()
        self.clock = clock or FakeClock()
        self.script, self.calls = script, list[tuple[Any, ...]]()
        self.front: FrontEnd | None = None
        self.shell_argv: list[str] = ["true"]
        self.answers: list[Answer] = []
        self.reports = [Path("/runs/fake/report.md"), Path("/runs/fake/report.json")]
        self._seq = self._asked = 0
        self._emit(
            RunStarted(
                run=self.id, guide=GUIDE, guide_name="full-system-restore", guide_sha256="", mode=mode,
                title=self.guide.title, site={}, tool="0", by="ana", pc="laptop",
            )
        )  # fmt: skip

    def _emit(self, event: Event) -> Record:
        self._seq += 1
        record = Record(self._seq, stamp(self.clock.now()), event, "")
        self.state.apply(record)
        return record

    # ── for scripts ────────────────────────────────────────────────────────────────────────
    def emit(self, *events: Event, seconds: float = 0.0) -> None:
        for event in events:
            self.clock.seconds += seconds
            record = self._emit(event)
            if self.front:
                self.front.record(record)

    def live(self, *what: Any) -> None:
        assert self.front
        for one in what:
            self.front.live(one)

    async def ask(self, kind: str, text: str, options: tuple[Option, ...] = (), **more: Any) -> str:
        assert self.front
        self._asked += 1
        question = Asked(
            id=f"q{self._asked}", kind=kind, text=text, options=options, **{"step": "unpack", **more}
        )
        self.emit(question)
        answer = await self.front.answer(question)
        self.answers.append(answer)
        self.emit(Answered(id=question.id, value=answer.value, by=answer.by, via=answer.via))
        return answer.value

    # ── as a Session ───────────────────────────────────────────────────────────────────────
    async def go(self, front: FrontEnd) -> RunVerdict:
        self.front = front
        verdict = await self.script(self)
        self.emit(RunEnded(verdict=verdict))
        return verdict

    async def note(self, kind: str, text: str, by: str, step: str = "") -> None:
        self.calls.append(("note", kind, text, by, step))
        self.emit(NoteAdded(kind=kind, text=text, by=by, step=step))

    async def cancel_step(self, by: str) -> bool:
        self.calls.append(("cancel", by))
        self.emit(CancelRequested(step=self.state.current, by=by))
        return True

    async def stop(self) -> None:
        self.calls.append(("stop",))

    async def recheck(self) -> list[CheckDone]:
        return [check("compose.file_found", "vm1", "fail", "no compose file"), check("x.y", "vm2")]

    async def shell(self, host: str, by: str) -> int:
        self.calls.append(("shell", host, by))
        front: Any = self.front
        return await front.lend(host, self.shell_argv)

    async def save_report(self) -> list[Path]:
        return self.reports

    async def close(self) -> None:
        self.calls.append(("close",))


class FakeWorkbench:
    operator, site_name = "ana", "campus"

    def __init__(
        self, *sessions: FakeSession, problem: str = "", runs: list[RunSummary] | None = None
    ) -> None:
        self.sessions, self.site_problem, self._runs = list(sessions), problem, runs or []
        self.started: list[tuple[str, ...]] = []
        self.report_text = "# Drill report\n\n| step | verdict |\n|---|---|\n| freeze | pass |\n"
        self.refuse: RunbookError | None = None

    def guides(self) -> list[GuideInfo]:
        guide = parse(GUIDE, name="full-system-restore")
        return [GuideInfo(guide.name, guide.title, guide.summary, guide.modes)]

    def runs(self) -> list[RunSummary]:
        return self._runs

    def contacts(self) -> tuple[Contact, ...]:
        return (CONTACT,)

    async def start(self, guide: str, mode: str, name: str = "", on_wait: Any = None) -> FakeSession:
        self.started.append(("start", guide, mode))
        return await self._open(on_wait)

    async def resume(self, run: str, on_wait: Any = None) -> FakeSession:
        self.started.append(("resume", run))
        return await self._open(on_wait)

    async def _open(self, on_wait: Any) -> FakeSession:
        if self.refuse:
            raise self.refuse
        on_wait("the practice lab: four machines are started on this PC")
        await asyncio.sleep(0)
        if not self.sessions:
            raise UseError("No session is scripted.")
        return self.sessions.pop(0)

    def report(self, run: str, form: str = "md") -> str:
        return self.report_text

    def save_report(self, run: str) -> list[Path]:
        return [Path("/runs/fake/report.md"), Path("/runs/fake/report.json")]


def summary(id: str, status: str, step: str = "", mode: str = "practice") -> RunSummary:
    return RunSummary(
        id=id, path=f"/runs/{id}", guide="full-system-restore", title="Full system restore", mode=mode,
        by="ana", started="2026-11-24T02:32:00.000+00:00", last="", status=status, step=step,
    )  # fmt: skip


def check(
    name: str,
    host: str,
    verdict: str = "pass",
    observed: str = "41 GB free",
    phase: str = "after",
    **more: Any,
) -> CheckDone:
    return CheckDone(
        **{"step": "unpack", "attempt": 1, "expected": "at least 1 GB free", **more},
        phase=phase, check=name, host=host, verdict=verdict, observed=observed,
    )  # fmt: skip


# ── scenes: the run stands still in a telling moment ───────────────────────────────────────
def frozen_step(run: FakeSession) -> None:
    """The first step has passed."""
    run.emit(AttemptStarted(step="freeze", attempt=1, hosts=("backup",)))
    run.emit(check("hosts.reachable", "backup", step="freeze", phase="before", observed="answers"), seconds=3)
    run.emit(ActStarted(step="freeze", attempt=1, host="backup", digest=""))
    run.emit(
        ActEnded(step="freeze", attempt=1, host="backup", outcome="done", summary="frozen, pinned"),
        seconds=190,
    )
    run.emit(StepEnded(step="freeze", attempt=1, verdict="pass", how="acted"))


def planned_step(run: FakeSession) -> None:
    """The second step is looked at and planned."""
    run.emit(AttemptStarted(step="unpack", attempt=1, hosts=VMS))
    for vm in VMS:
        run.emit(check("hosts.disk_free(min='1GB')", vm, phase="before"), seconds=1)
        run.emit(Probed(step="unpack", attempt=1, host=vm, satisfied=False, summary="no configuration yet"))
    for vm in VMS:
        items = ("upload config.tar.gz (1.2 MB) and list its 214 members", "move into openedx-ha/")
        plan = Planned(
            step="unpack", attempt=1, host=vm, summary="unpack node-10.0.1.10/config.tar.gz", items=items,
            changes="replaces the platform's configuration", digest="d",
        )  # fmt: skip
        run.emit(plan)


def acting(run: FakeSession) -> None:
    for vm in VMS:
        run.emit(ActStarted(step="unpack", attempt=1, host=vm, digest="d"))
    for number in range(60):
        line = f"docker/config/lms/file-{number:03}.py"
        run.live(*(Output(step="unpack", host=vm, lines=(line,)) for vm in VMS))
    run.emit(ActEnded(step="unpack", attempt=1, host="vm1", outcome="done", summary="214 files"), seconds=12)
    run.live(
        Progress(step="unpack", host="vm2", what="upload", done=4e6, total=12e6, unit="bytes", per_second=4e5)
    )


async def forever(run: FakeSession) -> RunVerdict:
    frozen_step(run)
    planned_step(run)
    acting(run)
    await asyncio.Event().wait()
    return "passed"


async def asking(run: FakeSession) -> RunVerdict:
    frozen_step(run)
    planned_step(run)
    text = "\n".join(f"{vm}: unpack node-10.0.1.10/config.tar.gz" for vm in VMS)
    await run.ask("confirm", text, GO, default="go", unattended=True)
    acting(run)
    run.emit(*(ActEnded(step="unpack", attempt=1, host=vm, outcome="done", summary="ok") for vm in VMS[1:]))
    run.emit(StepEnded(step="unpack", attempt=1, verdict="pass", how="acted"))
    run.emit(AttemptStarted(step="verify", attempt=1, hosts=VMS))
    run.emit(StepEnded(step="verify", attempt=1, verdict="pass", how="checked"))
    return "passed"


FAILED = (
    Option("retry", "Try the step again", "probed, planned and asked for anew"),
    Option("retry_failed", "Try the failed hosts again", "vm2"),
    Option("shell", "Open a shell on a machine", "on record; then this is asked again"),
    Option("by_hand", "I did it by hand", "the same checks judge"),
    Option("skip", "Skip it", "with a reason; the run cannot end as passed"),
    Option("override", "Accept it as it is", "against the checks, with a reason"),
    Option("stop", "Stop and resume later", "nothing more is changed"),
)


async def failing(run: FakeSession) -> RunVerdict:
    frozen_step(run)
    planned_step(run)
    acting(run)
    run.emit(
        ActEnded(
            step="unpack", attempt=1, host="vm2", outcome="failed", summary="No space left on /dev/vda1.",
            next="Make room on vm2, then try it again.", output="output/unpack.1.vm2.log", output_bytes=12345,
        ),
        ActEnded(step="unpack", attempt=1, host="vm3", outcome="done", summary="214 files"),
        CancelConfirmed(step="unpack", host="vm2", gone=False, detail="job x"),
    )  # fmt: skip
    text = "Step unpack did not pass. vm2: No space left on /dev/vda1. Make room on vm2, then try it again."
    await run.ask("failed", text, FAILED, default="stop")
    return "stopped"
