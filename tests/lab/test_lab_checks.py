"""compose.up and the checks against the practice lab: SSH, forwards, containers, DNS, certificates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checks import compose, dns, hosts, openedx, tls
from runbook.actions.compose import Up, UpParams
from runbook.errors import ActionFailed
from runbook.hosts.registry import SiteHosts
from runbook.site import model as site
from tests.lab.conftest import Lab, until
from tests.lab.test_lab_platform import unpacked
from tests.unit.doubles import FakeSecrets, make_context

QUICK = UpParams(services=("couchdb",), steady_for="1s", every="1s", timeout="60s")
ADDRESSES = {"production_ips": ["203.0.113.11"], "backup_ip": "203.0.113.100"}


@pytest.fixture
async def vm1(lab: Lab, tmp_path: Path) -> AsyncIterator[Any]:
    """What an action on vm1 is given."""
    settings = site.load(lab.layout.site / "runbook.toml", state=lab.state)
    machines = SiteHosts(settings, lambda: ADDRESSES, jobs_dir=tmp_path / "jobs")
    context = make_context(
        await machines.open("vm1"),
        site=settings,
        mode="practice",
        secrets=FakeSecrets({"ADMIN_PASSWORD": "x"}),
    )
    try:
        yield replace(context, hosts=machines)
    finally:
        await machines.close()


async def start(context: Any, **params: Any) -> str:
    chosen = msgspec.structs.replace(QUICK, **params)
    return str((await Up().act(context, chosen, await Up().plan(context, chosen))).summary)


async def test_a_fresh_machine(lab: Lab, vm1: Any) -> None:
    assert (await hosts.reachable(vm1)).verdict == "fail"  # not there yet
    await lab.create("vm1")
    for check in (hosts.reachable, hosts.disk_free, hosts.clock_offset, hosts.sudo, compose.installed):
        found = await check(vm1)
        assert found.verdict == "pass", (check.name, found)
    assert (await compose.file_found(vm1)).verdict == "fail"

    async def started() -> bool:
        return (await hosts.cloud_init_done(vm1)).verdict == "pass"

    await until(started, 60)


async def test_services_start_and_the_world_is_told_as_it_is(lab: Lab, vm1: Any) -> None:
    await unpacked(lab, "vm1")
    assert (await compose.file_found(vm1)).verdict == "pass"
    assert (await Up().probe(vm1, QUICK)).satisfied is False
    assert "couchdb running" in await start(vm1)
    assert (await Up().probe(vm1, QUICK)).satisfied

    silent = await openedx.heartbeat(vm1)
    assert silent.verdict == "fail" and "closed without an answer" in silent.observed
    summary = await start(vm1, services=(), exclude=("caddy",))
    assert "lms running" in summary and "watchtower" not in summary
    assert (await compose.steady(vm1, over="1s", exclude="caddy")).verdict == "pass"

    empty = await openedx.heartbeat(vm1)  # LMS runs, but its data is not restored
    assert empty.verdict == "fail" and "Database does not exist" in empty.observed
    for check in (openedx.course, openedx.user, openedx.admin_login):
        assert (await check(vm1)).verdict == "fail"


async def test_dns_first_then_certificates(lab: Lab, vm1: Any) -> None:
    await unpacked(lab, "vm1")
    await start(vm1, services=("couchdb", "lms", "cms", "caddy"))
    assert (await dns.points_at_vms(vm1)).verdict == "fail"
    refused = await tls.https(vm1)
    assert refused.verdict == "fail", refused

    await lab.call("dns_point", addresses=ADDRESSES["production_ips"])
    pointed = await dns.points_at_vms(vm1)
    assert pointed.verdict == "pass", pointed
    valid = await tls.https(vm1)
    assert valid.verdict == "pass", valid
    front = await openedx.https(vm1)
    assert "/health: 200" in front.observed


async def test_the_default_cookie_is_named(lab: Lab, vm1: Any) -> None:
    await unpacked(lab, "vm1", COUCHDB_COOKIE="monster")
    with pytest.raises(ActionFailed, match="refuses the cookie `monster`"):
        await start(vm1)
    assert (await compose.steady(vm1, services="couchdb", over="1s")).verdict == "fail"
