"""compose.up against a real dockerd and docker-compose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checks import compose as checks
from runbook.actions.compose import Up, UpParams
from runbook.errors import ActionFailed
from runbook.hosts.local import LocalHost
from runbook.platform.docker import containers
from tests.real.choice import choose
from tests.real.dockerd import Daemon, private_dockerd
from tests.real.imagefile import IMAGE, tags_in
from tests.unit.doubles import FakeVoice, machine, make_context

pytestmark = pytest.mark.real("root", "netns", "busybox", "dockerd", "docker-compose")

GOOD = "echo couchdb is up; exec sleep 1000"
MONSTER = "echo 'Monster detected ohno!, aborting startup.' >&2; exit 1"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with private_dockerd() as one:
        one.import_busybox("couchdb:3.3.2", "openedx/lms:1")
        yield one


class Vm:
    """This machine as vm1, with a compose folder of its own."""

    def __init__(self, folder: Path, daemon: Daemon) -> None:
        self.folder, self.daemon = folder, daemon
        self.host = LocalHost(machine("vm1"))

    def write(self, couchdb: str, **extra: Any) -> None:
        services: dict[str, Any] = {
            "couchdb": {
                "image": "couchdb:3.3.2",
                "container_name": "couchdb",
                "network_mode": "none",
                "restart": "unless-stopped",
                "command": ["sh", "-c", couchdb],
            },
            "watchtower": {"image": "never/pulled:1", "network_mode": "none"},
            **extra,
        }
        text = msgspec.json.encode({"version": "3.8", "services": services})
        (self.folder / "docker-compose.yml").write_bytes(text)

    def context(self) -> Any:
        return make_context(self.host, voice=FakeVoice(self.host), outputs={"compose_dir": str(self.folder)})


@pytest.fixture
def vm(tmp_path: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vm]:
    monkeypatch.setenv("DOCKER_HOST", daemon.address)
    folder = tmp_path / "docker"
    folder.mkdir()
    yield Vm(folder, daemon)
    if ids := daemon.docker("ps", "-aq").split():
        daemon.docker("rm", "-f", *ids)


QUICK = UpParams(services=("couchdb",), steady_for="1s", every="0.3s", timeout="2m")


async def test_a_good_service_becomes_steady_and_is_then_found_so(vm: Vm) -> None:
    vm.write(GOOD)
    context = vm.context()
    assert (await Up().probe(context, QUICK)).satisfied is False

    plan = await Up().plan(context, QUICK)
    assert any("image couchdb:3.3.2 (here)" in item for item in plan.items)
    outcome = await Up().act(context, QUICK, plan)

    assert "couchdb running, unchanged" in outcome.summary
    probe = await Up().probe(context, QUICK)
    assert probe.satisfied, probe.summary
    assert (await checks.steady(context, services="couchdb", over="1s")).verdict == "pass"


async def test_up_exits_0_and_yet_the_crash_loop_is_named(vm: Vm) -> None:
    vm.write(MONSTER)
    context = vm.context()
    plan = await Up().plan(context, QUICK)

    with pytest.raises(ActionFailed) as caught:
        await Up().act(context, QUICK, plan)

    assert "cookie `monster`" in caught.value.what and "restarted" in caught.value.what
    assert any("Monster detected ohno!" in line for line in context.voice.said)
    assert "COUCHDB_COOKIE" in caught.value.next
    assert bytes(context.voice.raw).count(b"done"), "docker-compose itself was content"


async def test_a_crash_loop_without_a_known_cause_is_named_too(vm: Vm) -> None:
    vm.write("echo something odd; exit 7")
    params = msgspec.structs.replace(QUICK, timeout="3s")
    context = vm.context()
    plan = await Up().plan(context, params)
    # between two restarts it is seen as ended, with its exit status; or, rarely, while it runs
    with pytest.raises(ActionFailed, match=r"(last exit status 7|restarted \d+ times).*something odd"):
        await Up().act(context, params, plan)


async def test_a_changed_file_makes_the_running_container_outdated(vm: Vm) -> None:
    vm.write(GOOD)
    context = vm.context()
    await Up().act(context, QUICK, await Up().plan(context, QUICK))
    vm.write(GOOD, couchdb_extra={"image": "couchdb:3.3.2", "network_mode": "none", "command": ["true"]})
    assert (await Up().probe(context, QUICK)).satisfied

    vm.write("echo another; " + GOOD)
    probe = await Up().probe(context, QUICK)
    assert not probe.satisfied and "another configuration: couchdb" in probe.summary


async def test_a_name_taken_by_another_project_is_found_before_anything_runs(vm: Vm) -> None:
    vm.write(GOOD)
    vm.daemon.docker(
        "run", "-d", "--name", "couchdb", "--network", "none",
        "--label", "com.docker.compose.project=openedx-ha", "couchdb:3.3.2", "sleep", "1000",
    )  # fmt: skip
    with pytest.raises(ActionFailed, match="taken by a container of project openedx-ha"):
        await Up().plan(vm.context(), QUICK)


async def test_a_one_shot_that_ends_well_and_one_that_does_not(vm: Vm) -> None:
    migrate = {"image": "openedx/lms:1", "network_mode": "none", "command": ["sh", "-c", "exit 0"]}
    vm.write(GOOD, migrate=migrate)
    params = msgspec.structs.replace(QUICK, services=(), once=("migrate",))
    context = vm.context()
    outcome = await Up().act(context, params, await Up().plan(context, params))
    assert "migrate ended well" in outcome.summary

    vm.write(GOOD, migrate={**migrate, "command": ["sh", "-c", "echo no table; exit 3"]})
    with pytest.raises(ActionFailed, match=r"migrate.*exit status 3.*no table"):
        await Up().act(context, params, await Up().plan(context, params))
    assert len(await containers(vm.host, "docker")) == 2


def test_the_engines_couchdb_image_is_found_and_saved(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what the whole guide is then run on (test_full_restore.py)."""
    monkeypatch.setenv("DOCKER_HOST", daemon.address)
    taken = choose({"DOCKER_HOST": daemon.address}, tmp_path, {}, ())
    assert taken.label.startswith("CouchDB: image couchdb:3.3.2 (sha256:")
    assert taken.archive and tags_in(taken.archive) == [IMAGE]
