"""Steadiness is a judgement over several looks."""

from __future__ import annotations

from typing import Any

from runbook.docker import Container
from runbook.steady import CRASHES, Watch, describe, overall


def container(service: str = "couchdb", **changes: Any) -> Container:
    base: dict[str, Any] = {
        "id": service, "name": service, "service": service, "project": "docker", "folder": "/",
        "image": "x:1", "status": "running", "exit_code": 0, "restarts": 0, "started": "t0",
    }  # fmt: skip
    return Container(**(base | changes))


def states(watch: Watch, *looks: list[Container]) -> list[str]:
    """The overall state after each look, one second apart."""
    return [overall(watch.see(float(at), look)) for at, look in enumerate(looks)]


def test_running_unchanged_over_the_window_is_steady() -> None:
    good = [container()]
    assert states(Watch(["couchdb"], 2), good, good, good) == ["waiting", "waiting", "steady"]


def test_three_looks_are_needed_however_short_the_window() -> None:
    good = [container()]
    assert states(Watch(["couchdb"], 0), good, good, good) == ["waiting", "waiting", "steady"]


def test_a_loop_that_is_running_at_every_look_is_not_steady() -> None:
    """The trap: State.Status says running each time, only the count and start time move."""
    looks = [[container(restarts=n, started=f"t{n}")] for n in range(6)]
    assert set(states(Watch(["couchdb"], 2), *looks)) == {"waiting"}


def test_many_restarts_are_a_crash_loop() -> None:
    watch = Watch(["couchdb"], 2, before=[])
    watch.see(0, [container(restarts=1, status="restarting", exit_code=1)])
    found = watch.see(1, [container(restarts=CRASHES, status="restarting", exit_code=1)])
    assert overall(found) == "failing"
    assert describe(found) == f"couchdb crash loop: restarted {CRASHES} times, last exit status 1"


def test_restarts_of_long_ago_do_not_count() -> None:
    old = [container(restarts=40)]
    assert states(Watch(["couchdb"], 2), old, old, old)[-1] == "steady"
    assert states(Watch(["couchdb"], 2, before=old), old, old, old)[-1] == "steady"


def test_a_service_that_comes_up_after_some_restarts_becomes_steady() -> None:
    died = [container(status="restarting", restarts=2, exit_code=1)]
    good = [container(restarts=3, started="t9")]
    assert states(Watch(["couchdb"], 2, before=[]), died, good, good, good)[-1] == "steady"


def test_ended_is_failing_at_the_second_look_unless_it_may_end() -> None:
    ended = [container("migrate", status="exited", exit_code=0)]
    assert states(Watch(["migrate"], 0), ended, ended) == ["waiting", "failing"]
    assert states(Watch(["migrate"], 0, once=["migrate"]), ended) == ["steady"]
    broken = [container("migrate", status="exited", exit_code=3, oom=True)]
    watch = Watch(["migrate"], 0, once=["migrate"])
    watch.see(0, broken)
    assert "exit status 3 (out of memory)" in describe(watch.see(1, broken))


def test_health_counts() -> None:
    sick = [container("lms", health="unhealthy", health_says="503")]
    assert set(states(Watch(["lms"], 1), sick, sick, sick, sick)) == {"waiting"}
    starting = [container("lms", health="starting")]
    well = [container("lms", health="healthy")]
    assert states(Watch(["lms"], 1), starting, starting, well)[-1] == "steady"


def test_one_bad_service_spoils_the_rest_and_a_missing_one_is_awaited() -> None:
    watch = Watch(["couchdb", "lms"], 0)
    for at in range(3):
        found = watch.see(float(at), [container()])
    assert overall(found) == "waiting"
    assert describe(found) == "couchdb running, unchanged for 2s; lms no container"


def test_a_container_that_cannot_be_created() -> None:
    stuck = [container(status="created", error="no such file")]
    assert states(Watch(["couchdb"], 0), stuck, stuck) == ["waiting", "failing"]
