"""manual: work that only a person can do, with what they saw or did as evidence."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shlex
import sys
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from runbook.action import Outcome, Params, Plan, Probe, Repeat, Scope
from runbook.context import Context, Look
from runbook.errors import ActionFailed
from runbook.events import Option
from runbook.platform.lastwords import last_words

#: how often an answer that is none is asked for again
TRIES = 5
#: a screenshot or a log, not a dump
MOST_BYTES = 200_000_000


class ManualParams(Params, frozen=True, kw_only=True):
    """``evidence``: what the person gives when it is done: a sentence, a file, or only their word.
    ``practice``: a command that plays their part in practice mode."""

    instructions: str = ""
    evidence: Literal["text", "file", "none"] = "text"
    practice: list[str] = msgspec.field(default_factory=list)


class Manual:
    """Show what to do, wait for the person, keep what they bring; the checks after it judge."""

    scope: ClassVar[Scope] = "whole"
    repeat: ClassVar[Repeat] = "probe_first"
    params: ClassVar[type[Params]] = ManualParams
    outputs: ClassVar[tuple[str, ...]] = ()

    async def probe(self, look: Look, params: ManualParams) -> Probe:
        # not False: a resumed run would take that for work that was undone
        return Probe(satisfied=None, summary="work by hand; the checks after it will tell")

    async def plan(self, look: Look, params: ManualParams) -> Plan:
        items = [line for line in params.instructions.splitlines() if line.strip()]
        if _plays(look, params):
            items.append(f"practice: {shlex.join(params.practice)} plays the person's part")
            return Plan(summary="by hand; the practice lab does it", items=tuple(items))
        bring = {
            "text": "then say what you did or saw",
            "file": "then name a file that shows it (it is copied into this run)",
            "none": "then say that it is done",
        }
        return Plan(summary="by hand", items=(*items, bring[params.evidence]))

    async def act(self, context: Context, params: ManualParams, plan: Plan) -> Outcome:
        if _plays(context, params):
            return await _practise(context, params)
        if params.evidence == "none":
            return await _word(context, params)
        refused = ""
        for _ in range(TRIES):
            text = "\n".join(part for part in (refused, params.instructions, _question(params)) if part)
            answer = (await context.voice.ask("evidence", text)).strip()
            if params.evidence == "text" and answer:
                context.voice.note(f"Done by hand: {answer}", kind="evidence", said=answer)
                return Outcome(summary=f"done by hand: {answer}")
            if params.evidence == "file" and answer:
                try:
                    return await _attach(context, Path(answer).expanduser())
                except OSError as error:
                    refused = f"{answer}: {error.strerror or error}."
            else:
                refused = "Nothing was said."
        raise ActionFailed(
            f"No evidence after {TRIES} answers. {refused}", next="Run the step again when there is some."
        )


def _question(params: ManualParams) -> str:
    return "Which file shows it?" if params.evidence == "file" else "What did you do, or see?"


async def _word(context: Context, params: ManualParams) -> Outcome:
    answer = await context.voice.ask(
        "evidence",
        params.instructions or "Is it done?",
        (
            Option("done", "It is done", "the checks after it judge"),
            Option("not", "It could not be done", "the step fails"),
        ),
        default="done",
    )
    if answer != "done":
        raise ActionFailed("The person says that it could not be done.", next="Say why in a note.")
    context.voice.note("Done by hand.", kind="evidence")
    return Outcome(summary="done by hand")


async def _attach(context: Context, path: Path) -> Outcome:
    kept, digest, count = await asyncio.to_thread(_copy, path, context.run_dir / "evidence", context.step)
    name = str(kept.relative_to(context.run_dir))
    context.voice.note(
        f"Evidence attached: {path.name}", kind="evidence", file=name, sha256=digest, bytes=count
    )
    return Outcome(summary=f"done by hand; evidence {name}")


def _copy(path: Path, folder: Path, step: str) -> tuple[Path, str, int]:
    """(the copy, its SHA-256, its bytes); 0600, never over another. Raises OSError."""
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file")
    with path.open("rb") as source:
        data = source.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise OSError(27, f"is larger than {MOST_BYTES // 10**6} MB")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    plain = re.sub(r"[^\w.-]+", "_", path.name)[-100:]
    number = 1
    while True:
        target = folder / f"{step}-{number}-{plain}"
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            break
        except FileExistsError:
            number += 1
    with open(descriptor, "wb") as file:  # noqa: PTH123 - made with its mode
        file.write(data)
        os.fsync(file.fileno())
    return target, hashlib.sha256(data).hexdigest(), len(data)


# ── practice ───────────────────────────────────────────────────────────────────────────────
def _plays(look: Look, params: ManualParams) -> bool:
    return look.mode == "practice" and bool(params.practice)


async def _practise(context: Context, params: ManualParams) -> Outcome:
    """A run's folder is <state>/runs/<run>: the lab belongs to the same state."""
    argv, env = list(params.practice), {"RUNBOOK_STATE": str(context.run_dir.absolute().parent.parent)}
    if argv[0] == "runbook":
        argv = [sys.executable, "-m", "runbook.cli", *argv[1:]]
    host = await context.hosts.open("operator")
    done = await context.voice.run(argv, host=host, env=env, timeout=300)
    line = shlex.join(params.practice)
    if not done.ok:
        raise ActionFailed(
            f"{line}, which plays the person's part, failed: {last_words(done)}",
            next="Is the practice lab up? See runbook lab status.",
        )
    context.voice.note(f"Simulated: {line} played the person's part.", kind="evidence", simulated=True)
    return Outcome(summary=f"simulated: {line} played the person's part")
