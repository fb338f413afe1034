"""Steadiness is a judgement over several looks."""

from __future__ import annotations

import math
from typing import Any

from runbook.platform.docker import Container
from runbook.platform.steady import CRASHES, Sightings, Watch, describe, overall


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


def test_a_window_goes_on_from_what_was_seen_before() -> None:
    """Whoever looked: the same start time at both ends proves the time between them."""
    good = [container()]
    seen: Sightings = {}
    first = Watch(["couchdb"], 2, seen=seen)
    assert states(first, good, good, good) == ["waiting", "waiting", "steady"]
    found = Watch(["couchdb"], 9, seen=seen).see(10.0, good)
    assert describe(found) == "couchdb running, unchanged for 10s" and overall(found) == "steady"
    assert overall(Watch(["couchdb"], 11, seen=seen).see(10.5, good)) == "waiting"


def test_a_restart_since_it_was_seen_begins_a_new_window_and_is_told() -> None:
    seen: Sightings = {}
    states(Watch(["couchdb"], 2, seen=seen), *[[container(restarts=5)]] * 3)
    again = [container(restarts=6, started="t1")]
    later = Watch(["couchdb"], 2, seen=seen)
    assert overall(later.see(10.0, again)) == "waiting"
    later.see(11.0, again)
    assert describe(later.see(12.0, again)) == "couchdb running, unchanged for 2s, restarted once"


def test_a_container_of_another_id_has_everything_before_it() -> None:
    seen: Sightings = {}
    states(Watch(["couchdb"], 2, seen=seen), *[[container()]] * 3)
    made_anew = [container(id="another")]
    assert overall(Watch(["couchdb"], 2, seen=seen).see(10.0, made_anew)) == "waiting"


def test_how_long_until_a_look_can_be_the_last() -> None:
    watch = Watch(["couchdb", "lms"], 6)
    assert watch.left(0.0) == 0.0, "nothing is there to wait for"
    watch.see(0.0, [container(), container("other")])
    watch.see(2.0, [container(), container("lms"), container("other", started="t1")])
    assert watch.left(3.0) == 5.0 and watch.left(9.0) == 0.0


def test_a_look_when_nothing_is_left_is_the_last_one_whatever_the_clock_shows() -> None:
    """To the last bit: a window that rounds to its end must not cost another pause."""
    for began in (1e5 + n / 7 for n in range(500)):
        watch = Watch(["couchdb"], 9)
        for at in (began, began + 4.5):
            watch.see(at, [container()])
        at = began + 9
        while left := watch.left(at):
            at = max(at + left, math.nextafter(at, math.inf))
        assert overall(watch.see(at, [container()])) == "steady"


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
