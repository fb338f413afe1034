"""OpenTofu (or Terraform) on this PC: which program, with what around it, and how it is called."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from runbook.context import Look
from runbook.errors import ActionFailed, CouldNotLook, RunbookError
from runbook.hosts.base import Completed, Host
from runbook.platform.troubles import CLOUD, explain
from runbook.tofu import plan as tofuplan

#: what every call gets besides; nothing of it is secret
QUIET = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
#: seconds; providers are downloaded by init, machines are looked at by plan
INIT_LIMIT = 900.0
PLAN_LIMIT = 900.0
#: how long OpenTofu itself waits for a state that is locked
LOCK_TIMEOUT = "60s"


@dataclass(frozen=True)
class Program:
    path: str
    kind: Literal["tofu", "terraform", "stand-in"]
    version: str  #: the first line of ``version``


def which(program: str) -> str | None:
    """The site's program, else tofu, else terraform, on the PATH."""
    names = (program,) if program else ("tofu", "terraform")
    return next((path for name in names if (path := shutil.which(name))), None)


async def find(look: Look) -> Program:
    """Raises CouldNotLook when there is none or it does not say what it is."""
    named = look.site.tofu.program
    path = which(named)
    if path is None:
        raise CouldNotLook(
            f"{named or 'Neither tofu nor terraform'} is not on the PATH of this PC.",
            next="Install OpenTofu (opentofu.org), or set tofu.program in runbook.toml.",
        )
    host = await look.hosts.open("operator")
    done = await host.run([path, "version"], env=QUIET, timeout=60)
    first = (done.stdout.decode(errors="replace").splitlines() or [""])[0].strip()
    if not done.ok or not first:
        raise CouldNotLook(f"{path} version: {(done.stderr or done.stdout).decode(errors='replace')[-300:]}")
    if re.search("stand-?in", first, re.IGNORECASE):
        return Program(path, "stand-in", first)
    return Program(path, "tofu" if first.startswith("OpenTofu") else "terraform", first)


def needs_tofu(folder: Path, env: Mapping[str, str] = os.environ) -> str:
    """Why only OpenTofu may touch this folder ("" = nothing says so): Terraform knows neither its
    encrypted state nor its own files."""
    if env.get("TF_ENCRYPTION"):
        return "TF_ENCRYPTION is set"
    for file in sorted([*folder.glob("*.tf"), *folder.glob("*.tofu")]):
        if file.suffix == ".tofu":
            return f"{file.name} is an OpenTofu file"
        if re.search(r"^\s*encryption\s*\{", file.read_text(errors="replace"), re.MULTILINE):
            return f"{file.name} encrypts the state"
    return ""


@dataclass(frozen=True)
class Workshop:
    """A folder of OpenTofu files with all that a call needs."""

    program: Program
    host: Host
    folder: Path
    workspace: str
    arguments: tuple[str, ...]  #: -var-file=…, -var …
    secrets: Mapping[str, str]  #: TF_VAR_<name> -> value; for a local child's environment only

    @property
    def environment(self) -> dict[str, str]:
        """Without the secrets."""
        return {**QUIET, "TF_WORKSPACE": self.workspace}

    async def call(self, *arguments: str, timeout: float = 120.0, workspace: bool = True) -> Completed:
        env = self.environment if workspace else dict(QUIET)
        return await self.host.run(
            [self.program.path, *arguments],
            cwd=str(self.folder),
            env={**env, **self.secrets},
            timeout=timeout,
            limit=256_000_000,
        )

    async def init(self) -> None:
        """Raises ActionFailed."""
        done = await self.call(
            "init", "-input=false", "-no-color", timeout=INIT_LIMIT, workspace=self.workspace == "default"
        )
        if not done.ok:
            raise failed("init", done, "Nothing was changed.")
        if self.workspace != "default":
            await self._make_workspace()

    async def _make_workspace(self) -> None:
        listed = await self.call("workspace", "list", "-no-color", workspace=False)
        names = [line.strip("* ") for line in listed.stdout.decode(errors="replace").splitlines()]
        if self.workspace not in names:
            done = await self.call("workspace", "new", "-no-color", self.workspace, workspace=False)
            if not done.ok:
                raise failed("workspace new", done, "Nothing was changed.")

    async def plan(self, out: Path | None = None) -> Completed:
        """Exit status 0 nothing to do, 2 changes, 1 error (then perhaps with a plan file all the same)."""
        saved = (f"-out={out}",) if out else ()
        return await self.call(
            "plan", "-input=false", "-no-color", f"-lock-timeout={LOCK_TIMEOUT}", "-detailed-exitcode",
            "-json", *saved, *self.arguments, timeout=PLAN_LIMIT,
        )  # fmt: skip

    async def outputs(self, look: Look) -> dict[str, Any]:
        """Every output that is not sensitive; the sensitive ones are made known to the redactor.
        Raises CouldNotLook."""
        done = await self.call("output", "-json", "-no-color")
        try:
            if not done.ok:
                raise ValueError(problem(done))
            values = msgspec.json.decode(done.stdout, type=dict[str, dict[str, Any]])
        except (ValueError, msgspec.DecodeError) as error:
            raise CouldNotLook(f"The outputs of {self.folder} cannot be read: {error}") from None
        for name, one in values.items():
            if one.get("sensitive"):
                for text in tofuplan.texts(one.get("value")):
                    if text:
                        look.secrets.learn(text, f"OpenTofu output {name}")
        return {name: one.get("value") for name, one in values.items() if not one.get("sensitive")}


async def workshop(
    look: Look, *, folder: str = "", workspace: str = "", variables: Mapping[str, str] | None = None
) -> Workshop:
    """All of it from the settings and a step's parameters. Raises CouldNotLook, SecretError."""
    tofu = look.site.tofu
    where = Path(folder or tofu.folder).expanduser()
    if folder and not where.is_absolute():
        where = Path(tofu.folder).parent / where
    if not await asyncio.to_thread(where.is_dir):
        raise CouldNotLook(
            f"There is no folder {where} with the OpenTofu files.",
            next="The backups do not hold it: take it from the platform's repository; set tofu.folder.",
        )
    program = await find(look)
    reason = await asyncio.to_thread(needs_tofu, where) if program.kind == "terraform" else ""
    if reason:
        raise CouldNotLook(
            f"{where} must be handled by OpenTofu ({reason}); here is only {program.version}.",
            next="Install OpenTofu, or set tofu.program.",
        )
    secrets = {f"TF_VAR_{n}": (await look.secrets.get(ref)).reveal() for n, ref in tofu.secrets.items()}
    merged = {**tofu.variables, **(variables or {})}
    return Workshop(
        program=program,
        host=await look.hosts.open("operator"),
        folder=where.absolute(),
        workspace=workspace or tofu.workspace or "default",
        arguments=(
            *(f"-var-file={file}" for file in tofu.var_files),
            *(f"-var={name}={value}" for name, value in merged.items()),
        ),
        secrets=secrets,
    )


def problem(done: Completed) -> str:
    """What a call that failed said, for a person."""
    return tofuplan.problems(done.stdout + b"\n" + done.stderr) or f"exit status {done.exit_status}"


def plans(run_dir: Path) -> Path:
    """Where a run keeps its plans, and what OpenTofu tells while one is applied."""
    return run_dir.absolute() / "tofu"


def forget_plans(run_dir: Path) -> None:
    """Plan files hold secrets: none stays longer than it is needed, also after a kill."""
    for file in plans(run_dir).glob("*"):
        file.unlink(missing_ok=True)


def failed(what: str, done: Completed, changed: str) -> RunbookError:
    """The error for a call that failed, recognising locks and stale plans."""
    text = problem(done)
    if held := tofuplan.lock(text):
        return ActionFailed(
            f"State locked by {held.who} since {held.since} (id {held.id}{_for(held.operation)}). {changed}",
            next="If that person or job still works, wait. If it died: tofu force-unlock with that id.",
        )
    if tofuplan.is_stale(text):
        return ActionFailed(
            "The state changed since you approved; a new plan is needed.", next="Run the step again."
        )
    trouble = explain(text, CLOUD)
    means = f"{trouble.what} It said: " if trouble else ""
    return ActionFailed(
        f"OpenTofu {what} failed. {means}{text}\n{changed}",
        next=trouble.next if trouble else "Correct what it names; then run the step again: it plans anew.",
    )


def _for(operation: str) -> str:
    return f", for {operation}" if operation else ""
