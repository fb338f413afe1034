"""command: any command line as a step's action, here or on machines."""

from __future__ import annotations

import hashlib
import shlex
from typing import ClassVar, Literal

import msgspec

from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.errors import ActionFailed, OutcomeUnknown
from runbook.hosts.base import Completed
from runbook.platform.lastwords import last_words
from runbook.secrets import Secret
from runbook.units import Duration, parse_duration


class Expect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question the program asks. ``pattern`` is a regular expression for its prompt; ``text`` the
    question in our words."""

    pattern: str
    kind: Literal["text", "secret", "confirm"] = "text"
    text: str = ""


class CommandParams(Params, frozen=True, kw_only=True):
    """``argv`` is run as it stands, without a shell. ``unless``: a read-only command whose exit
    status 0 says that there is nothing to do. ``limit``: how long it may run."""

    argv: list[str]
    cwd: str = ""
    stdin: str = ""
    expect: list[Expect] = msgspec.field(default_factory=list)
    unless: list[str] = msgspec.field(default_factory=list)
    limit: Duration = "1h"


class Command:
    """Run it as a job, which outlives this program; or on a terminal when it asks questions."""

    scope: ClassVar[Scope] = "per_host"
    repeat: ClassVar[Repeat] = "never"
    params: ClassVar[type[Params]] = CommandParams
    outputs: ClassVar[tuple[str, ...]] = ()

    async def probe(self, look: Look, params: CommandParams) -> Probe:
        if not params.unless:
            # not False: a resumed run would take that for work that was undone
            return Probe(satisfied=None, summary="a command; the checks after it will tell")
        done = await look.host.run(params.unless, cwd=params.cwd or None, timeout=60)
        words = f"{shlex.join(params.unless)}: exit status {done.exit_status}"
        if done.exit_status is None:
            return Probe(satisfied=None, summary=f"{words}: unknown, the connection was lost")
        return Probe(satisfied=done.ok, summary=words, evidence=_tail(done))

    async def plan(self, look: Look, params: CommandParams) -> Plan:
        if not params.argv or not params.argv[0]:
            raise ActionFailed(
                "The step's command is empty. Nothing was run.", next="Correct the guide: argv."
            )
        if params.expect and look.host.machine.role != "operator":
            raise ActionFailed(
                f"Questions of a program can be answered on this PC only, not on {look.host.name}. "
                "Nothing was run.",
                next="Let the command read its answers from stdin, or run it on = 'operator'.",
            )
        line = shlex.join(params.argv)
        items = [f"in {params.cwd}: {line}" if params.cwd else line]
        items += [f"it asks: {one.text or one.pattern}" for one in params.expect]
        if params.stdin:
            items.append(f"its input: {len(params.stdin.encode())} bytes from the guide")
        return Plan(summary=f"run {params.argv[0]} on {look.host.name}", items=tuple(items))

    async def act(self, context: Context, params: CommandParams, plan: Plan) -> Outcome:
        done = await (_converse if params.expect else _job)(context, params)
        where = context.host.name
        if done.exit_status is None:
            raise OutcomeUnknown(
                where, f"The connection to {where} was lost; outcome unknown.", next="Look before repeating."
            )
        if problem := _never_ran(params.argv[0], done):
            raise ActionFailed(
                f"The program {params.argv[0]} {problem} on {where}; nothing was run.",
                next="Install it there, or correct the step's argv (it is looked for in PATH and cwd).",
            )
        if not done.ok:
            raise ActionFailed(
                f"{where}: {shlex.join(params.argv)} ended with {_status(done)}: {last_words(done)}",
                next="What it changed before that is not known: see its output.",
            )
        return Outcome(summary=f"{params.argv[0]} ended with exit status 0")


async def _job(context: Context, params: CommandParams) -> Completed:
    work = msgspec.json.encode([params.argv, params.cwd, params.stdin])
    return await context.voice.job(
        params.argv,
        name=f"command-{hashlib.sha256(work).hexdigest()[:12]}",
        host=context.host,
        cwd=params.cwd or None,
        stdin=params.stdin.encode(),
        timeout=parse_duration(params.limit),
    )


async def _converse(context: Context, params: CommandParams) -> Completed:
    from runbook.hosts.asking import Expected, converse  # pexpect: only for programs that ask

    voice, asked = context.voice, 0

    async def ask(rule: Expected, line: str) -> str | Secret:
        nonlocal asked
        asked += 1
        question = rule.text or line
        if rule.kind == "secret":
            return await voice.ask_secret(question, f"answer {asked} to {params.argv[0]}")
        return await voice.ask("text", question)

    voice.note(f"Run on a terminal: {shlex.join(params.argv)}", kind="command")
    return await converse(
        params.argv,
        expected=[Expected(one.pattern, one.kind, one.text) for one in params.expect],
        ask=ask,
        cwd=params.cwd or None,
        sink=voice.sink,
        timeout=parse_duration(params.limit),
        seems_to_wait=lambda line: voice.waiting(
            f"{params.argv[0]} seems to wait for an answer: {line}", parse_duration(params.limit)
        ),
    )


def _never_ran(program: str, done: Completed) -> str:
    """Why the program could not be started; empty when it ran, however it ended."""
    problem = {126: "cannot be executed", 127: "was not found"}.get(done.exit_status or 0, "")
    lines = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    # a program that ran may end so too: only the job's own shell, and nothing else, must have spoken
    own = [line for line in lines if line.startswith("job: ") and f"{program}: " in line]
    return problem if lines and own == lines else ""


def _status(done: Completed) -> str:
    status = done.exit_status or 0
    return f"exit status {status}" if status > 0 else f"signal {-status}"


def _tail(done: Completed) -> str:
    return "\n".join((done.stdout + done.stderr).decode(errors="replace").splitlines()[-5:])
