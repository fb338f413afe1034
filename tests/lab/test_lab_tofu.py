"""Infrastructure of the lab: the module with a real program and with the stand-in."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runbook.lab import control
from tests.lab.conftest import Lab

REAL = shutil.which("tofu") or shutil.which("terraform")


@pytest.fixture(params=["stand-in", "real"])
async def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    if request.param == "real" and REAL is None:
        pytest.skip("neither tofu nor terraform is installed")
    lab = Lab(tmp_path, await control.up(tmp_path, tofu="stand-in" if request.param == "stand-in" else ""))
    try:
        yield lab
    finally:
        await lab.close()
        await control.down(tmp_path)


async def tofu(lab: Lab, *argv: str, **variables: str) -> tuple[int, str]:
    environment = {
        **os.environ, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_VAR_hcloud_token": "t",
        "TF_VAR_couchdb_password": "p", **variables,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        lab.info.tofu, *argv, cwd=lab.layout.infrastructure, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def planned(lab: Lab) -> dict[str, list[str]]:
    await tofu(lab, "plan", "-input=false", "-out=plan", "-json")
    _, shown = await tofu(lab, "show", "-json", "plan")
    return {c["address"]: c["change"]["actions"] for c in json.loads(shown)["resource_changes"]}


async def exists(lab: Lab) -> list[str]:
    status = await lab.call("status")
    return [name for name, vm in status["machines"].items() if vm["exists"]]


def diagnostics(out: str) -> list[Any]:
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return [event["diagnostic"]["summary"] for event in events if event["type"] == "diagnostic"]


async def test_plan_and_apply_make_the_production_vms(cloud: Lab) -> None:
    assert (await tofu(cloud, "init", "-input=false"))[0] == 0
    assert await planned(cloud) == {
        "terraform_data.backup": ["no-op"],
        "terraform_data.production[0]": ["create"],
        "terraform_data.production[1]": ["create"],
        "terraform_data.production[2]": ["create"],
    }
    assert (await tofu(cloud, "plan", "-detailed-exitcode", "-json"))[0] == 2
    code, out = await tofu(cloud, "apply", "-input=false", "-json", "plan")
    assert code == 0, out
    assert await exists(cloud) == ["vm1", "vm2", "vm3", "backup"]
    outputs = json.loads((await tofu(cloud, "output", "-json"))[1])
    assert outputs["production_ips"]["value"] == ["203.0.113.11", "203.0.113.12", "203.0.113.13"]
    assert outputs["backup_ip"]["value"] == "203.0.113.100"
    assert (await tofu(cloud, "plan", "-detailed-exitcode", "-json"))[0] == 0
    # the plan that was applied is stale now
    code, out = await tofu(cloud, "apply", "-input=false", "-json", "plan")
    assert (code, diagnostics(out)) == (1, ["Saved plan is stale"])
    connection = await cloud.ssh("vm3")
    assert (await connection.run("hostname")).stdout == "vm3\n"


async def test_a_plan_can_delete_the_backup_vm(cloud: Lab) -> None:
    await tofu(cloud, "init", "-input=false")
    await cloud.call("break", fault="plan-deletes-backup")
    assert (await planned(cloud))["terraform_data.backup"] == ["delete", "create"]
    await cloud.call("mend")
    assert (await planned(cloud))["terraform_data.backup"] == ["no-op"]
    await cloud.call("break", fault="plan-deletes-backup")
    await planned(cloud)
    assert list((cloud.layout.remote_backups / "daily").iterdir())
    assert (await tofu(cloud, "apply", "-input=false", "-json", "plan"))[0] == 0
    # it really is another, empty machine
    assert "backup" in await exists(cloud)
    assert not cloud.layout.remote_backups.exists()


async def test_a_cloud_that_refuses_taints(cloud: Lab) -> None:
    await tofu(cloud, "init", "-input=false")
    await planned(cloud)
    await cloud.call("break", fault="cloud-refuses")
    code, out = await tofu(cloud, "apply", "-input=false", "-json", "plan")
    assert code == 1
    assert "local-exec provisioner error" in diagnostics(out)
    await cloud.call("mend")
    # nothing was made, so the tainted ones are "deleted" and made
    assert ["delete", "create"] in (await planned(cloud)).values()
    assert (await tofu(cloud, "apply", "-input=false", "-json", "plan"))[0] == 0
    assert await exists(cloud) == ["vm1", "vm2", "vm3", "backup"]


async def test_an_empty_token_is_refused(cloud: Lab) -> None:
    await tofu(cloud, "init", "-input=false")
    code, out = await tofu(cloud, "plan", "-input=false", "-json", TF_VAR_hcloud_token="")
    assert code == 1
    assert diagnostics(out) == ["Invalid value for variable"]


async def test_the_stand_in_says_so_and_locks(tmp_path: Path) -> None:
    lab = Lab(tmp_path, await control.up(tmp_path, tofu="stand-in"))
    try:
        assert lab.info.tofu == str(lab.layout.programs / "tofu")
        assert "OpenTofu: a stand-in" in lab.info.simulated
        _, version = await tofu(lab, "version")
        assert version.splitlines()[0] == "OpenTofu v1.8.0 (practice stand-in)"
        await tofu(lab, "init")
        (lab.layout.infrastructure / ".terraform.tfstate.lock.info").write_text(
            '{"ID": "x-1", "Who": "somebody"}'
        )
        code, out = await tofu(lab, "plan", "-json")
        assert (code, diagnostics(out)) == (1, ["Error acquiring the state lock"])
        assert "x-1" in out
        assert (await tofu(lab, "force-unlock", "-force", "x-1"))[0] == 0
        assert (await tofu(lab, "plan", "-json"))[0] == 0
        assert (await tofu(lab, "state", "list"))[1].splitlines() == ["terraform_data.backup"]
        assert (await tofu(lab, "workspace", "show"))[1] == "default\n"
    finally:
        await control.down(tmp_path)
