"""tofu.apply with the real program on resources that need no provider."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook.action import Outcome, Plan
from runbook.actions.tofu import Apply, ApplyParams
from runbook.context import Context
from runbook.errors import ActionFailed, CouldNotLook, Unreachable
from runbook.hosts import jobs
from runbook.hosts.base import Completed
from runbook.hosts.local import LocalHost
from runbook.site.model import Machines, SecretRef, Tofu
from runbook.tofu import job as tofujob
from runbook.tofu import program as tofu
from tests.unit.doubles import FakeSecrets, FakeVoice, ScriptedHost, make_context, make_site

pytestmark = pytest.mark.real("terraform")

MAIN = """
variable "token" {
  type      = string
  sensitive = true
}
variable "size" { default = "small" }
variable "broken" { default = "" }
variable "gate" { default = "" }
locals { ips = ["203.0.113.11", "203.0.113.12", "203.0.113.13"] }
resource "terraform_data" "production" {
  count            = 3
  input            = { name = "vm${count.index + 1}", address = local.ips[count.index] }
  triggers_replace = [var.size]
  provisioner "local-exec" {
    command = "sh ./make '${var.gate}' '${var.broken}' vm${count.index + 1}"
  }
}
resource "terraform_data" "backup" {
  input            = { name = "backup", address = "203.0.113.100" }
  triggers_replace = [var.size == "huge" ? "huge" : "same"]
}
output "production_ips" { value = terraform_data.production[*].output.address }
output "backup_ip" { value = terraform_data.backup.output.address }
output "password" {
  value     = "pw-${var.token}"
  sensitive = true
}
"""


#: waits until the gate is open, then fails for the broken machine
MAKE = """
for i in 1 2 3 4 5 6 7 8 9 10; do [ -z "$1" ] || [ -e "$1" ] || sleep 0.3; done
[ "$2" != "$3" ]
"""
HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


class JobVoice(FakeVoice):
    """Runs jobs as the engine does: detached, followed, removed."""

    run_name = "run1"

    async def job(self, argv: Any, *, name: str, host: Any = None, **rest: Any) -> Completed:
        self.jobs.append(name)
        timeout = rest.pop("timeout", 60)
        rest.pop("grace", None)
        tail = bytearray()
        await jobs.start(host, name, argv, **rest)
        status = await jobs.follow(
            host, name, lambda chunk: (tail.extend(chunk), self.sink(chunk)), timeout=timeout
        )
        await jobs.remove(host, name)
        return Completed(status.exit_status, bytes(tail), b"")


class World:
    def __init__(self, folder: Path) -> None:
        self.files, self.run_dir = folder / "infrastructure", folder / "runs/run1"
        self.files.mkdir()
        self.run_dir.mkdir(parents=True)
        (self.files / "main.tf").write_text(MAIN)
        (self.files / "make").write_text(MAKE)
        self.host = LocalHost(jobs_dir=folder / "jobs")
        self.vms = [ScriptedHost(f"vm{n}").on("true") for n in (1, 2, 3)] + [
            ScriptedHost("backup").on("true")
        ]
        self.secrets = FakeSecrets({"TOKEN": "t0ken-value"})
        self.variables: dict[str, str] = {}
        self.outputs: dict[str, Any] = {}

    def context(self) -> Context:
        site = make_site(
            machines=Machines(),
            tofu=Tofu(folder=str(self.files), program="terraform", secrets={"token": SecretRef(env="TOKEN")}),
        )
        voice = JobVoice(self.host)
        return make_context(
            self.host, *self.vms, site=site, voice=voice, run_dir=self.run_dir,
            secrets=self.secrets, outputs=self.outputs,
        )  # fmt: skip

    async def plan(self, **variables: str) -> Plan:
        return await Apply().plan(self.context(), ApplyParams(variables=self.variables | variables))

    async def act(self, plan: Plan, **variables: str) -> tuple[Outcome, Context]:
        context = self.context()
        return await Apply().act(context, ApplyParams(variables=self.variables | variables), plan), context

    async def apply(self, **variables: str) -> tuple[Outcome, Context]:
        return await self.act(await self.plan(**variables), **variables)

    def state(self) -> str:
        return (self.files / "terraform.tfstate").read_text()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("HOME", str(tmp_path))
    yield World(tmp_path)


async def test_from_nothing_to_done(world: World) -> None:
    probe = await Apply().probe(world.context(), ApplyParams())
    assert probe.satisfied is False and "4 to add" in probe.summary

    plan = await world.plan()
    assert plan.summary == "create 4, outputs that change: 3"
    assert "create  terraform_data.production[0]" in plan.items
    assert any("the state is empty" in item for item in plan.items)
    assert not plan.danger
    (file,) = (world.run_dir / "tofu").iterdir()
    assert file.stat().st_mode & 0o077 == 0 and file.parent.stat().st_mode & 0o077 == 0
    assert "t0ken" not in json.dumps([plan.items, plan.data])

    outcome, context = await world.act(plan)
    assert outcome.outputs == {
        "production_ips": ["203.0.113.11", "203.0.113.12", "203.0.113.13"],
        "backup_ip": "203.0.113.100",
    }
    assert not list((world.run_dir / "tofu").iterdir())
    said = bytes(context.voice.raw).decode()
    assert "Apply complete! Resources: 4 added" in said and '"@message"' not in said
    assert context.voice.progressed and context.voice.progressed[0][2] == 4
    assert [secret.reveal() for secret in world.secrets.learned][-1] == "pw-t0ken-value"

    probe = await Apply().probe(world.context(), ApplyParams())
    assert probe.satisfied and probe.outputs == outcome.outputs
    plan = await world.plan()
    assert plan.summary == "nothing to change" and plan.items[-1] == "no changes"
    assert (await world.act(plan))[0].outputs == outcome.outputs


async def test_a_folder_that_was_never_initialised(world: World) -> None:
    (world.files / "m").mkdir()
    (world.files / "m/empty.tf").write_text("")
    with (world.files / "main.tf").open("a") as file:
        file.write('module "m" { source = "./m" }\n')
    probe = await Apply().probe(world.context(), ApplyParams())
    assert probe.satisfied is False and "not initialised" in probe.summary
    await world.plan()


async def test_the_digest_covers_the_changes_and_not_the_files_bytes(world: World) -> None:
    first, second = await world.plan(), await world.plan()
    assert first.digest() == second.digest()
    assert first.digest() != (await world.plan(size="large")).digest()


async def test_a_failing_machine_is_named_and_a_new_plan_goes_on(world: World) -> None:
    with pytest.raises(ActionFailed) as caught:
        await world.apply(broken="vm2")
    what = caught.value.what
    assert "terraform_data.production[1]: local-exec provisioner error: Error running command" in what
    assert "Done, and stays: create terraform_data.backup, create terraform_data.production[0]," in what
    assert "Half done, and made anew by the next apply: create terraform_data.production[1]." in what
    assert "Not done: nothing." in what and "run the step again" in caught.value.next
    assert not list((world.run_dir / "tofu").iterdir())
    plan = await world.plan()
    assert any("production[1]" in item for item in plan.items)
    await world.act(plan)
    assert (await Apply().probe(world.context(), ApplyParams())).satisfied


async def test_a_stale_plan_is_recognised(world: World) -> None:
    plan = await world.plan()
    (file,) = (world.run_dir / "tofu").iterdir()
    kept = file.read_bytes()
    await world.act(plan)
    await world.plan(size="large")
    for other in (world.run_dir / "tofu").iterdir():
        other.unlink()
    file.write_bytes(kept)
    with pytest.raises(ActionFailed, match="The state changed since you approved; a new plan is needed"):
        await world.act(plan)


async def test_living_machines_must_be_typed(world: World) -> None:
    await world.apply()
    world.vms[1].down = Unreachable("vm2", "vm2 does not answer.")
    plan = await world.plan(size="large")
    assert plan.danger == ("vm1", "vm3")
    assert plan.items[1].startswith("replace ")


@pytest.mark.parametrize(("held", "refused"), [(None, True), ("/backup/pinned/20261101", True), ("", False)])
async def test_the_backup_vm_is_not_touched_while_it_holds_the_backup(
    world: World, held: str | None, refused: bool
) -> None:
    await world.apply()
    if held is not None:
        world.outputs = {"backup_remote": held}
    if not refused:
        assert "backup" in (await world.plan(size="huge")).danger
        return
    with pytest.raises(ActionFailed, match=r"Refused: the plan would replace terraform_data\.backup"):
        await world.plan(size="huge")
    assert not list((world.run_dir / "tofu").iterdir())


async def test_a_lock_names_its_holder(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.apply()
    monkeypatch.setattr(tofu, "LOCK_TIMEOUT", "0s")
    info = {
        "ID": "11111111-2222-3333-4444-555555555555",
        "Operation": "OperationTypeApply",
        "Who": "ada@laptop",
        "Created": "2026-11-24T01:02:03Z",
    }
    (world.files / ".terraform.tfstate.lock.info").write_text(json.dumps(info))
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(world.files / "terraform.tfstate"), stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout and await holder.stdout.readline() == b"held\n"
        with pytest.raises(ActionFailed, match="State locked by ada@laptop since 2026-11-24"):
            await world.plan(size="large")
        probe = world.context()
        with pytest.raises(CouldNotLook, match="State locked by ada@laptop"):
            await Apply().probe(probe, ApplyParams())
    finally:
        holder.kill()
        await holder.wait()


async def test_a_plan_with_a_failed_precondition_is_not_applied(world: World) -> None:
    with (world.files / "main.tf").open("a") as file:
        file.write(
            'resource "terraform_data" "checked" {\n lifecycle {\n  precondition {\n'
            '   condition = var.size != "small"\n   error_message = "too small"\n  }\n }\n}\n'
        )
    with pytest.raises(ActionFailed, match="too small"):
        await world.plan()


async def test_a_workspace_is_made_and_used(world: World) -> None:
    params = ApplyParams(workspace="drill")
    plan = await Apply().plan(world.context(), params)
    await Apply().act(world.context(), params, plan)
    assert (world.files / "terraform.tfstate.d/drill/terraform.tfstate").is_file()
    assert not (world.files / "terraform.tfstate").exists()


async def test_an_apply_outlives_the_program_that_started_it(world: World, tmp_path: Path) -> None:
    """Our process dies by SIGKILL in the middle; the machines are made all the same."""
    gate = tmp_path / "gate"
    world.variables = {"gate": str(gate)}
    await world.plan()
    (file,) = (world.run_dir / "tofu").iterdir()
    script = f"""
import asyncio, os, signal
from pathlib import Path
from runbook.tofu import job as tofujob
from runbook.hosts import jobs
from runbook.hosts.local import LocalHost
import sys
async def main():
    host = LocalHost(jobs_dir={str(tmp_path / "jobs")!r})
    argv = [sys.executable, "-I", tofujob.PATH, {str(tmp_path / "events")!r}, "terraform", "apply",
            "-input=false", "-json", {str(file)!r}]
    await jobs.start(host, "apply-x", argv, cwd={str(world.files)!r}, stdin=b"{{}}")
    while not Path({str(tmp_path / "events")!r}).exists(): await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await process.wait() == -signal.SIGKILL
    gate.touch()
    status = await jobs.follow(world.host, "apply-x", lambda _: None, timeout=60)
    assert status.kind == "done" and status.exit_status == 0
    assert (await Apply().probe(world.context(), ApplyParams(variables=world.variables))).satisfied
    assert not list((world.run_dir / "tofu").iterdir()), "the plan file with its secrets is gone"
    await jobs.remove(world.host, "apply-x")


def test_the_job_program_hands_secrets_to_the_environment_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            tofujob.PATH,
            str(tmp_path / "events"),
            "sh",
            "-c",
            'echo "$TF_VAR_x"; exit 3',
        ],
        input=b'{"TF_VAR_x": "from stdin"}',
        capture_output=True,
    )
    assert done.returncode == 3 and done.stdout == b"from stdin\n"
    assert (tmp_path / "events").stat().st_mode & 0o777 == 0o600
