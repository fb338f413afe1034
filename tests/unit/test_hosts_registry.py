"""Which machines there are, and one host for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import CouldNotLook
from runbook.hosts.local import LocalHost
from runbook.hosts.registry import SiteHosts
from runbook.hosts.ssh import SshHost
from runbook.site.model import CouchDB, ListedMachine, Machines, Platform, SecretRef, Site

OUTPUTS = {"production_ips": ["203.0.113.11", "203.0.113.12", "203.0.113.13"], "backup_ip": "203.0.113.100"}


def site(**machines: Any) -> Site:
    secret = SecretRef(env="X")
    return Site(
        name="test",
        platform=Platform(domain="example.org"),
        couchdb=CouchDB(password=secret, cookie=secret, secret=secret),
        machines=Machines(**machines),
    )


def hosts(tmp_path: Path, outputs: Mapping[str, Any], ask: Any = None, **machines: Any) -> SiteHosts:
    return SiteHosts(site(**machines), lambda: outputs, jobs_dir=tmp_path / "jobs", ask_outputs=ask)


def test_machines_of_saved_outputs(tmp_path: Path) -> None:
    found = hosts(tmp_path, OUTPUTS).machines()
    assert [(m.name, m.role, m.address, m.internal, m.index) for m in found] == [
        ("vm1", "production", "203.0.113.11", "10.0.1.10", 1),
        ("vm2", "production", "203.0.113.12", "10.0.1.11", 2),
        ("vm3", "production", "203.0.113.13", "10.0.1.12", 3),
        ("backup", "backup", "203.0.113.100", "10.0.1.100", 0),
    ]


def test_listed_machines_come_first(tmp_path: Path) -> None:
    listed = (ListedMachine(address="a", internal="10.9.0.1"), ListedMachine(address="b", name="left"))
    found = hosts(tmp_path, OUTPUTS, production=listed, backup=ListedMachine(address="c")).machines()
    assert [(m.name, m.address, m.internal) for m in found] == [
        ("vm1", "a", "10.9.0.1"),
        ("left", "b", "10.0.1.11"),
        ("backup", "c", "10.0.1.100"),
    ]


def test_select(tmp_path: Path) -> None:
    some = hosts(tmp_path, OUTPUTS)

    def names(target: str) -> list[str]:
        return [machine.name for machine in some.select(target)]

    assert names("operator") == ["operator"]
    assert names("first production") == ["vm1"]
    assert names("each production") == ["vm1", "vm2", "vm3"]
    assert names("backup") == ["backup"]
    assert names("each machine") == ["vm1", "vm2", "vm3", "backup"]
    assert names("host:vm2") == ["vm2"]
    assert names("host:operator") == ["operator"]
    with pytest.raises(CouldNotLook, match=r"'host:vm9' yet \(known: vm1, vm2, vm3, backup\)"):
        some.select("host:vm9")


def test_nothing_is_known_yet(tmp_path: Path) -> None:
    none = hosts(tmp_path, {"production_ips": [], "backup_ip": ""})
    assert none.machines() == []
    assert [machine.name for machine in none.select("operator")] == ["operator"]
    for target in ("first production", "each production", "backup", "each machine", "host:vm1"):
        with pytest.raises(CouldNotLook, match="known: none"):
            none.select(target)
    assert none.shell_argv("vm1") == []


async def test_hosts_are_made_once_and_anew_for_a_new_address(tmp_path: Path) -> None:
    outputs: dict[str, Any] = dict(OUTPUTS)
    some = hosts(tmp_path, outputs, user="me", backup_user="keeper", key=str(tmp_path / "key"))
    vm1, backup = await some.open("vm1"), await some.open("backup")
    assert isinstance(vm1, SshHost) and isinstance(backup, SshHost)
    assert (vm1.options.user, backup.options.user) == ("me", "keeper")
    assert vm1.options.known_hosts is backup.options.known_hosts
    assert await some.open("vm1") is vm1
    outputs["production_ips"] = ["203.0.113.99", *OUTPUTS["production_ips"][1:]]
    other = await some.open("vm1")
    assert other is not vm1
    assert other.machine.address == "203.0.113.99"
    assert await some.open("backup") is backup
    assert some.shell_argv("vm1")[-1] == "203.0.113.99"
    await some.close()


async def test_the_operators_pc(tmp_path: Path) -> None:
    here = await hosts(tmp_path, {}).open("operator")
    assert isinstance(here, LocalHost)
    assert here.jobs_dir == str(tmp_path / "jobs")
    assert here.name == "operator"


async def test_the_world_is_asked_when_no_step_saved_anything(tmp_path: Path) -> None:
    asked = []

    async def ask() -> Mapping[str, Any]:
        asked.append(1)
        return OUTPUTS

    some = hosts(tmp_path, {}, ask)
    assert some.machines() == []
    assert (await some.open("vm3")).machine.address == "203.0.113.13"
    await some.open("vm1")
    assert len(some.machines()) == 4
    assert asked == [1]
    await some.close()
