"""compose.up and the compose checks, on a scripted host."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checks import compose as checks
from runbook import catalog
from runbook.actions.compose import Up, UpParams
from runbook.errors import ActionFailed, CouldNotLook
from runbook.hosts.base import Completed
from runbook.platform import compose, docker
from runbook.site.model import Platform
from tests.unit.doubles import ScriptedHost, make_context, make_site

DATA = Path(__file__).parents[1] / "data" / "compose"
CONFIG = (DATA / "config-v1.yml").read_bytes()
INSPECT = shlex.join(docker.INSPECT.command)
UP = "docker-compose -p docker -f docker-compose.yml -f docker-compose.override.yml"
QUICK = UpParams(services=("couchdb",), steady_for="0s", every="0s", timeout="5s")


def inspected(service: str = "couchdb", **state: Any) -> dict[str, Any]:
    restarts = state.pop("restarts", 0)
    project = state.pop("project", "docker")
    labels = {"com.docker.compose.service": service, "com.docker.compose.project": project}
    labels["com.docker.compose.config-hash"] = "h1"
    return {
        "Id": f"{service}0123456789", "Name": f"/{service}", "RestartCount": restarts,
        "State": {"Status": "running", "ExitCode": 0, "StartedAt": f"t{restarts}", **state},
        "Config": {"Image": "couchdb:3.3.2", "Labels": labels},
    }  # fmt: skip


def inspect(*containers: dict[str, Any]) -> bytes:
    return msgspec.json.encode(containers)


def vm(*looks: bytes) -> ScriptedHost:
    """vm1 with compose 1, the platform unpacked, and containers as ``looks`` tell one after the other."""
    host = ScriptedHost("vm1")
    host.on("docker compose version", 125).on("docker-compose version", "1.29.2\n")
    host.on("ls -1A -- openedx-ha/docker", ".env\ndocker-compose.override.yml\ndocker-compose.yml\n")
    host.on(f"{UP} config", CONFIG).on(f"{UP} config '--hash=*'", "couchdb h1\n").on(f"{UP} up", 0)
    host.on(INSPECT, list(looks) or "")
    host.on("docker image inspect", b"[{}]")
    return host


def context(host: ScriptedHost, **more: Any) -> Any:
    return make_context(host, outputs={"compose_dir": "openedx-ha/docker"}, **more)


async def act(host: ScriptedHost, params: UpParams = QUICK, **more: Any) -> Any:
    here = context(host, **more)
    plan = await Up().plan(here, params)
    return here, await Up().act(here, params, plan)


def test_it_is_found_by_its_name() -> None:
    assert isinstance(catalog.action("compose.up"), Up)
    assert catalog.check("compose.steady").on == "step"


async def test_up_runs_as_a_job_and_is_believed_only_after_several_looks() -> None:
    host = vm(inspect(inspected()))
    here, outcome = await act(host)
    assert host.ran(f"{UP} up") == [[*UP.split(), "up", "-d", "couchdb"]]
    assert host.cwds[host.calls.index(host.ran(f"{UP} up")[0])] == "openedx-ha/docker"
    assert here.voice.jobs and here.voice.jobs[0].startswith("compose-up-")
    assert "couchdb running, unchanged" in outcome.summary
    assert here.voice.waits and here.voice.notes


async def test_the_cookie_monster_is_named_though_up_exits_0() -> None:
    dying = [inspect(inspected(Status=s, restarts=n, ExitCode=1)) for n, s in enumerate(["restarting"] * 4)]
    host = vm(b"[]", *dying).on(
        "docker logs", Completed(0, b"", b"Monster detected ohno!, aborting startup.\n")
    )
    here = context(host)
    with pytest.raises(ActionFailed) as caught:
        await Up().act(here, QUICK, await Up().plan(here, QUICK))
    what = caught.value.what
    assert "vm1" in what and "couchdb" in what and "restarted 2 times" in what and "exit status 1" in what
    assert "refuses the cookie `monster`" in what and "Monster detected" not in what
    assert "couchdb: Monster detected ohno!, aborting startup." in here.voice.said
    assert here.voice.waits[-1][0] == "couchdb (restarted once, last exit status 1) to be steady"
    assert "COUCHDB_COOKIE" in caught.value.next and "docker logs couchdb" in caught.value.next


async def test_a_service_that_never_gets_well_fails_at_the_limit() -> None:
    health = {"Status": "unhealthy", "Log": [{"Output": "503\n"}]}
    host = vm(inspect(inspected(Health=health))).on("docker logs", "waiting for mysql\n")
    with pytest.raises(ActionFailed, match=r"not steady within 0s: running but unhealthy: 503.*mysql"):
        await act(host, msgspec.structs.replace(QUICK, timeout="0s"))


async def test_the_errors_of_compose_are_explained() -> None:
    host = vm().on(f"{UP} up", Completed(1, b"", b"ERROR: for couchdb  'ContainerConfig'\n"))
    with pytest.raises(ActionFailed, match=r"exit status 1.*cannot recreate.*no container") as caught:
        await act(host)
    assert "version 2" in caught.value.next
    host.on(f"{UP} up", Completed(1, b"", b"something new\n"))
    with pytest.raises(ActionFailed, match="It said: something new"):
        await act(host)


async def test_a_bad_exit_status_alone_is_not_believed_either() -> None:
    host = vm(inspect(inspected())).on(f"{UP} up", Completed(1, b"", b"orphan containers\n"))
    here, outcome = await act(host)
    assert "running" in outcome.summary
    assert any("ended with exit status 1, but" in text for text, _ in here.voice.notes)


async def test_the_plan_says_all_and_holds_no_passwords() -> None:
    host = vm(inspect(inspected(), inspected("grafana")))
    host.on("docker image inspect", Completed(1, b"", b"No such image"))
    plan = await Up().plan(context(host), UpParams(services=("couchdb", "lms", "watchtower")))
    text = "\n".join([plan.summary, *plan.items])
    assert f"{UP} up -d couchdb lms" in text
    assert "couchdb: image couchdb:3.3.2 (to be pulled); a container is there" in text
    assert "lms: image couchdb:3.3.2 (to be pulled); container is new; also starts couchdb" in text
    assert "watchtower: left out" in text and "other containers here: grafana" in text
    assert b"password" not in msgspec.json.encode(plan)
    again = await Up().plan(context(host), UpParams(services=("couchdb", "lms", "watchtower")))
    assert plan.digest() == again.digest()


async def test_loose_versions_are_pointed_out() -> None:
    config = CONFIG.replace(b"image: couchdb:3.3.2", b"image: registry:5000/couchdb")
    host = vm().on(f"{UP} config", config)
    plan = await Up().plan(context(host), QUICK)
    assert any("version NOT pinned" in item for item in plan.items)


async def test_a_taken_container_name_stops_the_plan() -> None:
    host = vm(inspect(inspected(project="openedx-ha")))
    with pytest.raises(ActionFailed, match="taken by a container of project openedx-ha") as caught:
        await Up().plan(context(host), QUICK)
    assert "platform.project" in caught.value.next


async def test_an_unknown_service_stops_the_plan_and_leaves_the_probe_open() -> None:
    params = UpParams(services=("nosvc",))
    with pytest.raises(ActionFailed, match="no service nosvc"):
        await Up().plan(context(vm()), params)
    with pytest.raises(CouldNotLook, match="no service nosvc"):
        await Up().probe(context(vm()), params)


async def test_the_probe() -> None:
    assert (await Up().probe(context(vm()), QUICK)).satisfied is False
    good = vm(inspect(inspected()))
    watching = msgspec.structs.replace(QUICK, steady_for="0.05s", every="0.01s")
    probe = await Up().probe(context(good), watching)
    assert probe.satisfied, probe.summary
    assert "couchdb running restarts=0" in probe.evidence

    stale = vm(inspect(inspected())).on(f"{UP} config '--hash=*'", "couchdb h2\n")
    probe = await Up().probe(context(stale), watching)
    assert probe.satisfied is False and "made from another configuration: couchdb" in probe.summary


async def test_where_the_compose_file_is_looked_for() -> None:
    host = vm().on("ls -1A -- openedx-ha/docker", Completed(2, b"", b"No such file"))
    host.on("ls -1A -- openedx-ha", "docker-compose.yml\n")
    project = await compose.find_project(make_context(host))
    assert (project.folder, project.name, project.files) == (
        "openedx-ha",
        "openedx-ha",
        ("docker-compose.yml",),
    )
    with pytest.raises(CouldNotLook, match=r"Searched openedx-ha/docker for docker-compose.yml"):
        await compose.find_project(context(host))


async def test_the_project_name() -> None:
    host = vm()
    assert (await compose.find_project(context(host))).name == "docker"
    host.files["openedx-ha/docker/.env"] = b"COUCHDB_PASSWORD=x\nCOMPOSE_PROJECT_NAME=edx\n"
    assert (await compose.find_project(context(host))).name == "edx"
    site = make_site(platform=Platform(domain="x.org", project="mine"))
    assert (await compose.find_project(context(host, site=site))).name == "mine"


async def test_the_plugin_is_preferred_and_none_is_said() -> None:
    host = vm().on("docker compose version", "v2.21.0\n")
    project = await compose.find_project(context(host))
    assert project.argv("up")[:4] == ["docker", "compose", "-p", "docker"]
    host.on("docker compose version", 125).on("docker-compose version", 127)
    with pytest.raises(CouldNotLook, match="neither 'docker compose' nor"):
        await compose.find_project(context(host))


def test_params_are_checked_early() -> None:
    with pytest.raises(msgspec.ValidationError, match="not a duration"):
        msgspec.convert({"timeout": "soon"}, UpParams)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"service": ["couchdb"]}, UpParams)


# ── checks ─────────────────────────────────────────────────────────────────────────────────
async def test_installed() -> None:
    host = vm().on("docker version", (DATA / "docker-version.json").read_bytes())
    found = await checks.installed(context(host))
    assert found.verdict == "pass" and "docker-compose 1.29.2, engine 20.10" in found.observed
    newer = (
        (DATA / "docker-version.json")
        .read_bytes()
        .replace(b'"MinAPIVersion":"1.12"', b'"MinAPIVersion":"1.44"')
    )
    host.on("docker version", newer)
    assert (await checks.installed(context(host))).verdict == "fail"
    host.on("docker version", Completed(1, b'{"Server":null}', b"Cannot connect to the Docker daemon at x"))
    found = await checks.installed(context(host))
    assert found.verdict == "fail" and "not running" in found.observed and "systemctl" in found.evidence
    host.on("docker-compose version", 127)
    assert (await checks.installed(context(host))).verdict == "fail"


async def test_file_found() -> None:
    found = await checks.file_found(context(vm()))
    assert (found.verdict, found.observed) == (
        "pass", "openedx-ha/docker: docker-compose.yml, docker-compose.override.yml",
    )  # fmt: skip
    empty = vm().on("ls -1A -- openedx-ha/docker", "")
    assert (await checks.file_found(context(empty))).verdict == "fail"


async def test_steady_and_healthy() -> None:
    host = vm(inspect(inspected(Health={"Status": "healthy"}), inspected("lms")))
    assert (await checks.steady(context(host), services="couchdb, lms", over="0s")).verdict == "pass"
    assert (await checks.healthy(context(host), services="couchdb")).verdict == "pass"
    assert (await checks.healthy(context(host), services="couchdb,lms")).verdict == "warn"
    loop = vm(*[inspect(inspected(restarts=n)) for n in range(5)])
    found = await checks.steady(context(loop), services="couchdb", over="0s")
    assert found.verdict == "fail" and "restarted 2 times" in found.observed
    gone = await checks.healthy(context(vm()), services="couchdb")
    assert (gone.verdict, gone.observed) == ("fail", "couchdb no container")


async def test_a_check_goes_on_from_what_the_action_saw() -> None:
    """The same container needs no second window: one look. On another connection it does."""
    host = vm(inspect(inspected()))
    await act(host, msgspec.structs.replace(QUICK, steady_for="0.05s", every="0.01s"))
    before = len(host.ran(INSPECT))
    found = await checks.steady(context(host), services="couchdb", over="0.05s")
    assert found.verdict == "pass" and len(host.ran(INSPECT)) == before + 1
    assert "looks of this check: 1" in found.evidence
    elsewhere = await checks.steady(context(vm(inspect(inspected()))), services="couchdb", over="0.05s")
    assert "looks of this check: 3" in elsewhere.evidence


async def test_a_service_that_died_since_the_action_saw_it_is_watched_anew_and_remarked() -> None:
    well, again = inspect(inspected()), inspect(inspected(restarts=1))
    host = vm(well)
    await act(host)
    host.on(INSPECT, again)
    found = await checks.steady(context(host), services="couchdb", over="0s")
    assert found.verdict == "warn" and "restarted once" in found.observed
    dies = vm(well)
    await act(dies)
    dies.on(INSPECT, [inspect(inspected(restarts=n)) for n in range(1, 20)])
    found = await checks.steady(context(dies), services="couchdb", over="0s")
    assert found.verdict == "fail", found.observed


async def test_without_names_it_is_about_every_service_but_the_excluded() -> None:
    host = vm(inspect(inspected(), inspected("lms"), inspected("watchtower")))
    found = await checks.steady(context(host), over="0s", exclude="job, caddy")
    assert found.verdict == "warn" and found.expected.startswith("couchdb, lms: running")
    assert "watchtower is running" in found.observed
    nothing = await checks.steady(context(host), over="0s", exclude="couchdb,lms,job")
    assert nothing.verdict == "fail" and "none of the services" in nothing.observed


async def test_a_service_that_never_got_a_container_is_missed() -> None:
    host = vm(inspect(inspected(), inspected("lms")))
    found = await checks.steady(context(host), over="0s")
    assert found.verdict == "fail" and "job no container" in found.observed
    assert "watchtower" not in found.expected  # its profile is off
    healthy = await checks.healthy(context(host))
    assert healthy.verdict == "fail" and "job no container" in healthy.observed
    assert (await checks.healthy(context(host), exclude="job")).verdict == "warn"
    nowhere = await checks.steady(context(vm()), over="0s")
    assert nowhere.verdict == "fail" and "couchdb no container" in nowhere.observed


async def test_a_silent_daemon_is_unknown_not_fail() -> None:
    host = vm().on(INSPECT, Completed(1, b"", b"Cannot connect to the Docker daemon at x"))
    with pytest.raises(CouldNotLook, match="vm1: The Docker daemon is not running"):
        await checks.steady(context(host), services="couchdb", over="0s")
