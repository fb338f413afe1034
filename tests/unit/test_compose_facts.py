"""Canned answers of docker and docker-compose -> values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runbook.errors import ActionFailed, CouldNotLook
from runbook.hosts.base import Completed
from runbook.platform import compose, docker, troubles
from runbook.platform.compose import Compose, Service, misfit, wanted
from runbook.platform.docker import Engine, Fact, parse_containers
from tests.unit.here import Here

DATA = Path(__file__).parents[1] / "data" / "compose"
FACTS: dict[str, Fact[Any]] = {
    name: fact
    for module in (docker, compose)
    for name, fact in vars(module).items()
    if isinstance(fact, Fact)
}


def cases(file: str) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in yaml.safe_load((DATA / file).read_text())]


def completed(case: dict[str, Any]) -> Completed:
    out = case.get("stdout", "").encode()
    if file := case.get("stdout_file"):
        out = (DATA / file).read_bytes()
    return Completed(case.get("exit", 0), out, case.get("stderr", "").encode())


def plain(value: Any) -> Any:
    """Structs as lists, so that the data files stay plain."""
    if isinstance(value, msgspec.Struct):
        return [plain(one) for one in msgspec.structs.astuple(value)]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return list(map(plain, value)) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("case", cases("facts.yml"))
def test_fact(case: dict[str, Any]) -> None:
    fact = FACTS[case["fact"]]
    if "refused" in case:
        with pytest.raises(CouldNotLook) as caught:
            fact.parse(completed(case))
        assert case["refused"] in caught.value.what
    else:
        assert plain(fact.parse(completed(case))) == case["value"]


@pytest.mark.parametrize("case", cases("troubles.yml"))
def test_trouble(case: dict[str, Any]) -> None:
    found = troubles.explain(case["said"], getattr(troubles, case.get("table", "TOOLS")))
    assert found and case["what"] in found.what and case["next"] in found.next


def test_the_node_name_is_the_bare_address() -> None:
    found = troubles.explain("Can't set long node name!\nPlease check", troubles.SERVICES)
    assert found and "bare internal address" in found.next and "name@address" not in found.next


def test_nothing_is_explained_that_is_not_known() -> None:
    assert troubles.explain("couchdb is up-to-date") is None


def test_containers_of_a_real_inspect() -> None:
    """Recorded: a crash loop, an unhealthy service, one that ended, one that cannot start."""
    found = {
        one.name: one for one in parse_containers(Completed(0, (DATA / "inspect.json").read_bytes(), b""))
    }
    couchdb = found["couchdb"]
    assert (couchdb.status, couchdb.exit_code, couchdb.service) == ("restarting", 1, "couchdb")
    assert couchdb.restarts > 5 and couchdb.health == ""
    assert couchdb.folder == "/home/openedx/openedx-ha/docker" and couchdb.config_hash
    assert (found["sick"].status, found["sick"].health) == ("running", "unhealthy")
    assert found["sick"].health_says == "no heartbeat: connection refused"
    assert (found["ended"].status, found["ended"].exit_code) == ("exited", 3)
    assert found["docker_job_1"].status == "created" and "not found in $PATH" in found["docker_job_1"].error


def test_a_one_off_container_is_not_the_service() -> None:
    raw = msgspec.json.decode((DATA / "inspect.json").read_bytes())
    for one in raw:
        one["Config"]["Labels"]["com.docker.compose.oneoff"] = "True"
    assert parse_containers(Completed(0, msgspec.json.encode(raw), b"")) == []


@given(st.sampled_from(sorted(FACTS)), st.binary(), st.binary(), st.sampled_from([0, 1, 127, None]))
def test_wild_answers_are_read_or_refused(name: str, out: bytes, err: bytes, status: int | None) -> None:
    try:
        FACTS[name].parse(Completed(status, out, err))
    except CouldNotLook as error:
        assert error.what


@given(
    st.recursive(st.none() | st.booleans() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_wild_json_is_refused_as_inspect(value: Any) -> None:
    try:
        parse_containers(Completed(0, msgspec.json.encode([value]), b""))
    except CouldNotLook as error:
        assert error.what


ONE, TWO = Compose(("docker-compose",), "1.29.2"), Compose(("docker", "compose"), "2.21.0")


@pytest.mark.parametrize(
    ("found", "api", "least", "fatal", "word"),
    [
        (ONE, (1, 41), (1, 12), False, ""),
        (ONE, (1, 45), (1, 24), False, "ContainerConfig"),
        (ONE, (1, 52), (1, 44), True, "too old"),
        (TWO, (1, 52), (1, 44), False, ""),
    ],
)
def test_compose_1_and_newer_engines(
    found: Compose, api: tuple[int, int], least: tuple[int, int], fatal: bool, word: str
) -> None:
    result = misfit(found, Engine("x", api, least))
    assert result[0] is fatal and word in result[1] and bool(result[1]) is bool(word)


SERVICES = {
    "couchdb": Service("couchdb:3.3.2"),
    "lms": Service("lms:1"),
    "watchtower": Service("w"),
    "off": Service("off:1", "", ["debug"]),
}


def test_which_services_are_meant() -> None:
    assert wanted(SERVICES, [], []) == ("couchdb", "lms")
    assert wanted(SERVICES, [], ["couchdb"]) == ("lms",)
    assert wanted(SERVICES, ["off", "watchtower"], []) == ("off",)
    with pytest.raises(ActionFailed, match="no service cms; it has couchdb, lms"):
        wanted(SERVICES, ["cms"], [])


@pytest.mark.parametrize(
    ("listed", "asked", "found"),
    [("echo a1; echo b2", "--filter label=x\na1 b2\n", 2), ("true", "--filter label=x\n", 0)],
)
async def test_containers_are_listed_and_inspected_in_one_go(
    listed: str, asked: str, found: int, tmp_path: Path
) -> None:
    host = Here("vm1", tmp_path)
    one = '{"Id": "a1", "Name": "/a", "State": {"Status": "running"}, "Config": {}}'
    host.program(
        "docker",
        f"""case $1 in
        ps) shift 2; echo "$@" >> {tmp_path}/asked; {listed} ;;
        inspect) shift; echo "$@" >> {tmp_path}/asked; echo '[{one}, {one}]' ;;
        esac""",
    )
    assert len(await docker.INSPECT.ask(host, "--filter", "label=x")) == found
    assert (tmp_path / "asked").read_text() == asked


async def test_a_list_that_failed_is_no_empty_list(tmp_path: Path) -> None:
    host = Here("vm1", tmp_path)
    host.program("docker", "echo 'Cannot connect to the Docker daemon at x' >&2; exit 1")
    with pytest.raises(CouldNotLook, match="daemon is not running"):
        await docker.containers(host, "docker")


def test_a_configuration_that_is_nested_too_deeply_is_refused() -> None:
    for text in (b"[" * 20_000, b"services: " + b"{a: " * 20_000):
        with pytest.raises(CouldNotLook, match="docker-compose config"):
            compose.parse_config(Completed(0, text, b""))
