"""tofu.apply: bring the machines of the OpenTofu files into being."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.errors import ActionFailed, CouldNotLook, RunbookError, Unreachable
from runbook.hosts.base import Completed, Machine
from runbook.tofu import end as tofuend
from runbook.tofu import job as tofujob
from runbook.tofu import plan as tofuplan
from runbook.tofu import program as tofu
from runbook.tofu.plan import Change, Planned
from runbook.tofu.program import Workshop

APPLY_LIMIT = 3 * 3600.0
#: seconds it gets after TERM to finish what it is creating and write its state; KILL can lose a server
END_GRACE = 600.0


class ApplyParams(Params, frozen=True, kw_only=True):
    """Each empty: the site's. ``variables`` are added to the site's."""

    folder: str = ""
    workspace: str = ""
    variables: dict[str, str] = msgspec.field(default_factory=dict)


class Apply:
    """Plan, apply exactly that plan as a job, and see that nothing is left to do."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "probe_first"
    params: ClassVar[type[Params]] = ApplyParams
    outputs: ClassVar[tuple[str, ...]] = ("production_ips", "backup_ip", "*")

    async def probe(self, look: Look, params: ApplyParams) -> Probe:
        tofu.forget_plans(look.run_dir)
        shop = await _workshop(look, params)
        done = await shop.plan()
        if done.exit_status == 2:
            return Probe(satisfied=False, summary=f"OpenTofu plans changes: {_summary(done)}")
        if not done.ok and tofuplan.needs_init(tofu.problem(done)):
            return Probe(satisfied=False, summary=f"{shop.folder} is not initialised")
        if not done.ok:
            raise CouldNotLook(str(tofu.failed("plan", done, "Nothing was changed.")))
        values = await shop.outputs(look)
        lacking = _lacking(look, values)
        if lacking:
            return Probe(satisfied=False, summary=f"nothing to change, but no output {lacking}")
        return Probe(
            satisfied=True,
            summary=f"{shop.program.version} finds nothing to change; outputs: {', '.join(values) or 'none'}",
            evidence=_summary(done),
            outputs=values,
        )

    async def plan(self, look: Look, params: ApplyParams) -> Plan:
        tofu.forget_plans(look.run_dir)
        try:
            shop = await _workshop(look, params)
        except CouldNotLook as error:
            raise ActionFailed(error.what, next=error.next) from None
        await shop.init()
        folder = tofu.plans(look.run_dir)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = folder / "new.plan"
        fresh.touch(0o600)  # it holds the secrets
        done = await shop.plan(fresh)
        try:
            planned = await _judge(shop, done, fresh)
            danger = await _dangers(look, planned)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        fresh.rename(folder / f"{planned.digest}.plan")
        return Plan(
            summary=_counted(planned),
            items=(f"with {shop.program.version} in {shop.folder}{_stand_in(shop)}", *_items(planned)),
            changes=_changes(look) if planned.changes else "",
            danger=danger,
            data={
                "digest": planned.digest,
                "changes": len(planned.changes),
                "planned": {one.address: one.kind for one in planned.changes if one.kind != "output"},
            },
        )

    async def act(self, context: Context, params: ApplyParams, plan: Plan) -> Outcome:
        shop = await _workshop(context, params)
        if plan.data["changes"]:
            await _apply(context, shop, plan)
        else:
            tofu.forget_plans(context.run_dir)
        done = await shop.plan()
        if not done.ok:
            left = _summary(done) if done.exit_status == 2 else tofu.problem(done)
            raise ActionFailed(
                f"The apply ended well, but OpenTofu is not content with the world: {left}",
                next="Look at these machines in the cloud; then run the step again: it makes a new plan.",
            )
        values = await shop.outputs(context)
        if lacking := _lacking(context, values):
            raise ActionFailed(f"The machines are there, but {shop.folder} has no output {lacking}.")
        return Outcome(
            summary=f"{plan.summary}: done, and nothing is left to change; outputs {', '.join(values)}.",
            outputs=values,
        )


async def _workshop(look: Look, params: ApplyParams) -> Workshop:
    return await tofu.workshop(
        look, folder=params.folder, workspace=params.workspace, variables=params.variables
    )


# ── planning ───────────────────────────────────────────────────────────────────────────────
async def _judge(shop: Workshop, done: Completed, file: Path) -> Planned:
    """The plan in ``file``, if it is one that may be applied. Raises ActionFailed."""
    # a failed precondition ends with 1 and still writes the file: the status decides first
    if done.exit_status not in (0, 2):
        raise tofu.failed("plan", done, "Nothing was changed.")
    shown = await shop.call("show", "-json", "-no-color", str(file))
    try:
        planned = tofuplan.read_plan(shown.stdout)
    except ValueError as error:
        raise ActionFailed(f"OpenTofu's plan: {error}. Nothing was changed.") from None
    if done.exit_status == 2 and not planned.usable:
        raise ActionFailed(
            f"OpenTofu calls its own plan incomplete: {tofu.problem(done)}\nNothing was changed."
        )
    return planned


async def _dangers(look: Look, planned: Planned) -> tuple[str, ...]:
    """Machines that live and would be destroyed: to be typed. Raises ActionFailed for the backup VM
    while it holds the chosen backup."""
    typed: list[str] = []
    for change in (one for one in planned.changes if one.destroys):
        for machine in _machines(look, change):
            if machine.role == "backup":
                _guard_backup(look, machine, change)
            if machine.role == "backup" or await _answers(look, machine):
                typed.append(machine.name)
    return tuple(dict.fromkeys(typed))


def _machines(look: Look, change: Change) -> list[Machine]:
    known = look.hosts.machines()
    if not any(machine.role == "backup" for machine in known):
        known = [*known, Machine("backup", "backup", "", look.site.machines.backup_internal)]
    return [machine for machine in known if tofuplan.is_machine(change, machine)]


def _guard_backup(look: Look, machine: Machine, change: Change) -> None:
    held = look.output("backup_remote")
    # without a freeze step nobody knows what it holds, so it counts as holding the backup
    if held is None or held:
        what = f"the chosen backup ({held})" if held else "the backups"
        raise ActionFailed(
            f"Refused: the plan would {change.kind} {change.address}, the backup VM, while it holds {what}. "
            "Nothing was changed.",
            next="Find out why OpenTofu wants that (changed variables? a lost state?). With tofu import it "
            "can learn of a machine that is there.",
        )


async def _answers(look: Look, machine: Machine) -> bool:
    """Does it live? Anything but "not reachable" counts as yes: a wrong yes costs a typed name."""
    try:
        host = await look.hosts.open(machine.name)
        await host.run(["true"], timeout=20)
    except Unreachable:
        return False
    except RunbookError:
        return True
    return True


def _items(planned: Planned) -> list[str]:
    items = [change.words for change in planned.changes] or ["no changes"]
    items += [f"was changed outside OpenTofu: {address}" for address in planned.drifted]
    if planned.empty_state and any(change.kind == "create" for change in planned.changes):
        items.append(
            "the state is empty: machines that exist would be made twice; tofu import tells it of them"
        )
    return items


def _counted(planned: Planned) -> str:
    counts: dict[str, int] = {}
    for change in planned.changes:
        counts[change.kind] = counts.get(change.kind, 0) + 1
    words = {"output": "outputs that change:"}
    found = [f"{words.get(kind, kind)} {count}" for kind, count in counts.items()]
    return ", ".join(found) or "nothing to change"


def _stand_in(shop: Workshop) -> str:
    return " (a stand-in: no cloud is touched)" if shop.program.kind == "stand-in" else ""


def _summary(done: Completed) -> str:
    found = [e for e in tofuplan.events(done.stdout) if e.get("type") in ("change_summary", "planned_change")]
    return "; ".join(str(event.get("@message", "")) for event in found[-5:]) or "see the plan"


def _lacking(look: Look, values: dict[str, Any]) -> str:
    """The output that says where the machines are, when the site needs it and it is not there."""
    machines = look.site.machines
    wanted = [] if machines.production else [machines.production_output]
    wanted += [] if machines.backup else [machines.backup_output]
    return ", ".join(name for name in wanted if not values.get(name))


# ── applying ───────────────────────────────────────────────────────────────────────────────
async def _apply(context: Context, shop: Workshop, plan: Plan) -> None:
    file = tofu.plans(context.run_dir) / f"{plan.data['digest']}.plan"
    if not file.is_file():
        raise ActionFailed(
            "The approved plan is gone from this run's folder. Nothing was changed.",
            next="Run the step again: it makes a new plan.",
        )
    # the file's own hash too: a job found under this name is this very apply and no earlier one
    content = hashlib.sha256(await asyncio.to_thread(file.read_bytes)).hexdigest()
    events = file.with_name(f"{content[:12]}.events")
    watching = asyncio.create_task(_watch(context, events, len(plan.data["planned"])))
    try:
        done = await context.voice.job(
            [sys.executable, "-I", tofujob.PATH, str(events), shop.program.path, "apply", "-input=false",
             "-no-color", f"-lock-timeout={tofu.LOCK_TIMEOUT}", "-json", str(file)],
            name=f"apply-{plan.data['digest'][:12]}-{content[:8]}",
            host=shop.host,
            cwd=str(shop.folder),
            env=shop.environment,
            stdin=msgspec.json.encode(shop.secrets),
            timeout=APPLY_LIMIT,
            grace=END_GRACE,
        )  # fmt: skip
    except asyncio.CancelledError:
        raise  # the job may go on with the plan file; the next probe removes it
    except BaseException:
        tofu.forget_plans(context.run_dir)
        raise
    finally:
        watching.cancel()
    said = b"" if done.ok else await asyncio.to_thread(_content, events)
    tofu.forget_plans(context.run_dir)
    if not done.ok:
        ended = Completed(done.exit_status, said or done.stdout, b"")
        raise await tofuend.apply_failed(shop, ended, plan.data["planned"])


async def _watch(context: Context, events: Path, total: int) -> None:
    """Progress, as far as OpenTofu tells of it."""
    following, through, doing, shown = Following(events), 0, "OpenTofu apply", (-1, "")
    while True:
        more, last = tofuplan.progress(await asyncio.to_thread(following.news))
        through, doing = through + more, last or doing
        if (through, doing) != shown:
            shown = (through, doing)
            context.voice.progress(doing, through, total, "resources")
        await asyncio.sleep(0.5)


class Following:
    """A file of events that grows: each look reads and parses only what came since the last one."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0

    def news(self) -> list[dict[str, Any]]:
        """The events whose lines are complete by now and were not seen before. Blocking."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                raw = file.read()
        except FileNotFoundError:
            return []
        whole = raw[: raw.rfind(b"\n") + 1]  # a line that is being written is read at the next look
        self.offset += len(whole)
        return tofuplan.events(whole)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _changes(look: Look) -> str:
    if look.mode == "practice":
        return "changes the practice lab's machines"
    return "changes cloud machines, which cost money"
